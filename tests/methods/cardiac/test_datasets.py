import logging

import nibabel as nib
import numpy as np
import pytest
import torch
from transeg.data.datasets import SliceDataset
from transeg.data.samplers import UnpairedBatchSampler
from transeg.errors import StudiesError
from transeg.methods.cardiac.datasets import TwoModalityDataset, TwoModalityStudies
from transeg.methods.cardiac.volumes import CardiacVolumes
from transeg.transforms.slices import LoadSliced

from data_prep.mmwhs import prepare
from data_prep.phantoms.heart import heart_phantom, write_heart

CUT = CardiacVolumes(pixdim=8.0, size=(24, 24, 16))
LOAD = LoadSliced(spatial_dims=3, classes=True)


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
    with pytest.raises(ValueError, match=r"volume\(s\) without a label: a; remove"):
        TwoModalityDataset([{"value": 1, "case": "a", "modality": "ct"}], load)
    with pytest.raises(ValueError, match=r"neither \"ct\" nor \"mr\": b; correct"):
        TwoModalityDataset([{"value": 1, "case": "b", "label": "l", "modality": "us"}], load)


def write_study(folder, name, modality):
    """A study and its label in a folder of its own, as MONAI Label keeps it, under a name that tells nothing."""
    phantom = heart_phantom((9, sum(name.encode())), modality, (40, 40, 32), 6.0)
    paths = {"image": folder / f"{name}.nii.gz", "label": folder / "labels" / "final" / f"{name}.nii.gz"}
    for key, path in paths.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(getattr(phantom, key), phantom.affine), path)
    return {key: str(path) for key, path in paths.items()}


@pytest.fixture
def studies(tmp_path):
    """A labelled study of each modality, and one that has no label."""
    found = {modality: write_study(tmp_path, f"study_{modality}", modality) for modality in ("ct", "mr")}
    (tmp_path / "bare.nii.gz").write_bytes((tmp_path / "study_ct.nii.gz").read_bytes())
    return found


def test_studies_become_volumes_of_the_modality_that_they_show(studies, tmp_path, caplog):
    data = [*studies.values()]
    made = TwoModalityStudies(data, CUT, tmp_path / "datalist.json", tmp_path / "slices")
    dataset = TwoModalityDataset(data, LOAD, made)
    assert [(item["case"], item["modality"]) for item in (*dataset.data, *dataset.absence)] == [
        ("study_ct", "ct"),
        ("study_mr", "mr"),
    ]
    pair = dataset[0, 0]
    assert pair["ct"].shape == pair["mr_label"].shape == (1, 24, 24, 16)
    assert pair["ct_label"].max() == 5
    assert {item["modality"] for item in SliceDataset([], LOAD, made)} == {"ct", "mr"}
    caplog.clear()
    assert [item["modality"] for item in SliceDataset([studies["mr"]], LOAD, made)] == ["mr"]
    assert "no CT left for validation" in caplog.text


def test_a_modality_without_a_study_comes_from_prepared_volumes(studies, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    data, place = [studies["ct"]], tmp_path / "prepared" / "datalist.json"
    made = TwoModalityStudies(data, CUT, place, tmp_path / "slices")
    with pytest.raises(StudiesError, match=r"no MR among the labelled studies.*label a study of MR too"):
        TwoModalityDataset(data, LOAD, made)
    with pytest.raises(StudiesError, match="in MONAI Label submit a label"):
        TwoModalityDataset([], LOAD, TwoModalityStudies([], CUT, place, tmp_path / "slices"))

    (tmp_path / "raw").mkdir()
    for modality in ("ct", "mr"):
        for k in range(2):
            write_heart(heart_phantom((0, k), modality, (40, 40, 32), 6.0), tmp_path / "raw", k)
    prepare(tmp_path / "raw", place.parent, pixdim=8.0, size=(24, 24, 16), validation=1, test=0)
    dataset = TwoModalityDataset(data, LOAD, made)
    [first], [second] = dataset.data, dataset.absence
    assert (first["case"], second["modality"]) == ("study_ct", "mr")
    assert dataset[0]["mr"].shape == (1, 24, 24, 16)
    assert [item["modality"] for item in SliceDataset(data, LOAD, made)] == ["ct", "mr"]


def test_prepared_volumes_stay_as_they_are(tmp_path):
    prepared = [{**item, "image": "a.npy", "index": 0} for item in items(1, 0, "ct") + items(1, 0, "mr")]
    made = TwoModalityStudies(prepared, CUT, tmp_path / "none.json", tmp_path / "slices")
    assert TwoModalityDataset(prepared, load, made).data == prepared[:1]
    assert made.validation(prepared[1:]) == prepared[1:]
    assert made.validation([]) == []
