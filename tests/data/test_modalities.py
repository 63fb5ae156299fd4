import numpy as np
import pytest
import torch
from transeg.data import TwoModalityDataset, UnpairedBatchSampler


def load(item):
    value = float(item["value"])
    return {**item, "image": torch.full((1, 2, 2, 2), value), "label": torch.full((1, 2, 2, 2), value / 100)}


def items(count, first, modality):
    return [{"value": first + i, "label": "l", "modality": modality} for i in range(count)]


def both(ct, mr):
    return TwoModalityDataset(items(ct, 100, "ct") + items(mr, 200, "mr"), load)


def values(item):
    return {key: round(float(tensor[0, 0, 0, 0]), 2) for key, tensor in item.items()}


def test_a_pair_holds_both_modalities_whichever_has_more():
    more_ct = both(3, 2)
    assert values(more_ct[2, 0]) == {"ct": 102, "ct_label": 1.02, "mr": 200, "mr_label": 2.0}
    assert values(more_ct[2])["mr"] == 200
    more_mr = both(2, 3)
    assert values(more_mr[2, 0]) == {"ct": 100, "ct_label": 1.0, "mr": 202, "mr_label": 2.02}


@pytest.mark.parametrize("counts", [(7, 3), (3, 7)])
def test_an_epoch_shows_the_larger_modality_once_and_the_other_evenly(counts):
    dataset = both(*counts)
    sampler = UnpairedBatchSampler(dataset, 1, seed=3)
    assert len(sampler) == 7
    seen, pairs = {"ct": [], "mr": []}, []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        drawn = [values(dataset[pair]) for [pair] in sampler]
        pairs.append([(item["ct"], item["mr"]) for item in drawn])
        for key in seen:
            seen[key] += [item[key] for item in drawn]
    more, fewer = ("ct", "mr") if counts[0] == 7 else ("mr", "ct")
    assert all(len(set(seen[more][7 * epoch : 7 * epoch + 7])) == 7 for epoch in range(3))
    assert np.unique(seen[fewer], return_counts=True)[1].tolist() == [7, 7, 7]
    assert pairs[0] != pairs[1]


def test_volumes_that_cannot_train_are_refused():
    with pytest.raises(ValueError, match=r"no MR volume.*both modalities"):
        both(2, 0)
    with pytest.raises(ValueError, match=r"volume\(s\) without a label: a; leave"):
        TwoModalityDataset([{"value": 1, "case": "a", "modality": "ct"}], load)
    with pytest.raises(ValueError, match=r"neither \"ct\" nor \"mr\": b; correct"):
        TwoModalityDataset([{"value": 1, "case": "b", "label": "l", "modality": "us"}], load)
