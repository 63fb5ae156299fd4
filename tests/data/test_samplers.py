from collections import Counter

import ignite.distributed as idist
import pytest
from torch.utils.data import DataLoader
from transeg.data.datasets import UnpairedDataset
from transeg.data.samplers import UnpairedBatchSampler


def dataset(presence=10, absence=7, labelled=(2, 5), weights=None):
    data = [{"id": i, **({"label": "l"} if i in labelled else {})} for i in range(presence)]
    healthy = [{"id": j, **({"weight": weights[j]} if weights else {})} for j in range(absence)]
    return UnpairedDataset(data, healthy, dict)


def epochs(sampler, count):
    for epoch in range(count):
        sampler.set_epoch(epoch)
        yield list(sampler)


def test_natural_epoch_shows_every_presence_slice_and_only_full_batches():
    sampler = UnpairedBatchSampler(dataset(), 4)
    for batches in epochs(sampler, 5):
        assert len(batches) == len(sampler) == 3
        assert all(len(batch) == 4 for batch in batches)
        shown = Counter(i for batch in batches for i, _ in batch)
        assert set(shown) == set(range(10))
        assert max(shown.values()) <= 2


def test_absence_slices_are_used_evenly():
    sampler = UnpairedBatchSampler(dataset(), 4)
    used = Counter(j for batches in epochs(sampler, 7) for batch in batches for _, j in batch)
    assert set(used.values()) == {3 * 4 * 7 // 7}


def test_same_seed_and_epoch_give_the_same_batches_and_others_do_not():
    first, second, third = (list(epochs(UnpairedBatchSampler(dataset(), 4, seed=s), 3)) for s in (1, 1, 2))
    assert first == second
    assert first != third
    assert first[0] != first[1]
    resumed = UnpairedBatchSampler(dataset(), 4, seed=1)
    resumed.set_epoch(2)
    assert list(resumed) == first[2]


def test_fixed_epochs_go_on_in_the_permutation():
    sampler = UnpairedBatchSampler(dataset(), 3, batches_per_epoch=1)
    shown = [i for batches in epochs(sampler, 10) for batch in batches for i, _ in batch]
    assert set(Counter(shown).values()) == {3}


def test_labelled_share_of_a_batch():
    sampler = UnpairedBatchSampler(dataset(), 4, labelled_per_batch=1)
    assert len(sampler) == 4  # 10 slices, three to a batch
    drawn = Counter()
    for batches in epochs(sampler, 2):
        assert set(range(10)) == {i for batch in batches for i, _ in batch[1:]}
        drawn.update(batch[0][0] for batch in batches)
    assert drawn == {2: 4, 5: 4}


def test_batches_larger_than_the_data_set_cycle():
    [batch] = UnpairedBatchSampler(dataset(3, 2, labelled=(1,)), 7, labelled_per_batch=2)
    assert Counter(i for i, _ in batch[2:]).keys() == {0, 1, 2}
    assert [i for i, _ in batch[:2]] == [1, 1]
    assert len(batch) == 7


def test_weights_choose_absence_slices():
    sampler = UnpairedBatchSampler(dataset(weights=[0, 0, 3, 0, 1, 0, 0]), 4, batches_per_epoch=100)
    drawn = Counter(j for batch in sampler for _, j in batch)
    assert drawn.keys() == {2, 4}
    assert 0.7 < drawn[2] / 400 < 0.8


def test_without_absence_domain_plain_indices():
    plain = UnpairedDataset([{"label": 1}] * 5, None, dict)
    sampler = UnpairedBatchSampler(plain, 2)
    assert sorted(i for batch in sampler for i in batch)[0] == 0
    assert all(isinstance(i, int) for batch in sampler for i in batch)


@pytest.mark.parametrize("weights", [None, [1] * 7])
def test_ranks_share_the_batches_that_one_process_draws(weights, monkeypatch):
    def draw():
        return list(UnpairedBatchSampler(dataset(16, weights=weights), 6, labelled_per_batch=3))

    whole, shares = draw(), []
    monkeypatch.setattr(idist, "get_world_size", lambda: 2)
    for rank in range(2):
        monkeypatch.setattr(idist, "get_rank", lambda rank=rank: rank)
        shares.append(draw())
    for batch, *parts in zip(whole, *shares, strict=True):
        assert [len(part) for part in parts] == [3, 3]
        assert sorted(batch) == sorted(parts[0] + parts[1])
        assert [i for i, _ in parts[0][:2]] == [batch[0][0], batch[2][0]]  # the labelled ones, to one and the other
    with pytest.raises(ValueError, match="batch of 5 cannot be split equally across 2 processes"):
        UnpairedBatchSampler(dataset(), 5)


def test_loader_takes_it():
    data = UnpairedDataset(
        [{"id": i} for i in range(6)],
        [{"id": j} for j in range(6)],
        lambda item: {"image": item["id"], "label": 0, "labelled": False},
    )
    loader = DataLoader(data, batch_sampler=UnpairedBatchSampler(data, 3))
    batches = list(loader)
    assert sorted(i for batch in batches for i in batch["image"].tolist()) == list(range(6))
    assert sorted(j for batch in batches for j in batch["absence"].tolist()) == list(range(6))


def test_errors_say_what_to_do():
    with pytest.raises(ValueError, match=r"no labelled volume: none of the 10 .* larger labelled fraction"):
        UnpairedBatchSampler(dataset(labelled=()), 4, labelled_per_batch=1)
    with pytest.raises(ValueError, match="set batches_per_epoch"):
        UnpairedBatchSampler(dataset(), 2, labelled_per_batch=2)
    with pytest.raises(ValueError, match="must lie between"):
        UnpairedBatchSampler(dataset(), 2, labelled_per_batch=3)
    with pytest.raises(ValueError, match="weights"):
        UnpairedBatchSampler(dataset(weights=[0] * 7), 2)
