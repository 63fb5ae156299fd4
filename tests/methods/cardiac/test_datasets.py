import json
import logging

import nibabel as nib
import numpy as np
import pytest
import torch
from transeg.data.datasets import SliceDataset, held_out_pairs
from transeg.data.samplers import UnpairedBatchSampler
from transeg.errors import DataError, StudiesError
from transeg.methods.cardiac.datasets import (
    TwoDomainDataset,
    TwoDomainStudies,
    unlabelled_domains,
    validation_volumes,
)
from transeg.methods.cardiac.recipe import HEART
from transeg.methods.cardiac.volumes import CardiacVolumes
from transeg.transforms.slices import LoadSliced

from data_prep.mmwhs import prepare
from data_prep.phantoms.heart import heart_phantom, write_heart

BOTH = ["ct", "mr"]
CUT = CardiacVolumes(HEART | {"pixdim": 8.0, "image_size": (24, 24, 16)})
LOAD = LoadSliced(spatial_dims=3, classes=True)


def load(item):
    value = float(item["value"])
    image, label = (torch.full((1, 2, 2, 2), number) for number in (value, value / 100))
    return {**item, "image": image, "label": label, "labelled": "label" in item}


def items(count, first, modality):
    return [{"value": first + i, "label": "l", "domain": modality} for i in range(count)]


def both(ct, mr):
    return TwoDomainDataset(items(ct, 100, "ct") + items(mr, 200, "mr"), load, BOTH)


def values(item):
    return {key: round(float(x[0, 0, 0, 0]), 2) for key, x in item.items() if torch.is_tensor(x)}


def test_held_out_pairs_of_both_modalities_whichever_has_more():
    mr = [{"value": 300 + k, "label": "l", "domain": "mr"} for k in range(2)]
    for dataset in (both(2, 3), both(3, 2)):
        pairs = held_out_pairs(dataset, mr, load, 2)
        assert (values(pairs[0])["a"], values(pairs[0])["b"]) == (100, 300)
        assert not any(pair["a_labelled"] or pair["b_labelled"] for pair in pairs)


def test_a_pair_holds_both_modalities_whichever_has_more():
    more_ct = both(3, 2)
    assert values(more_ct[2, 0]) == {"a": 102, "a_label": 1.02, "b": 200, "b_label": 2.0}
    assert values(more_ct[2])["b"] == 200
    more_mr = both(2, 3)
    assert values(more_mr[2, 0]) == {"a": 100, "a_label": 1.0, "b": 202, "b_label": 2.02}


@pytest.mark.parametrize("counts", [(7, 3), (3, 7)])
def test_an_epoch_shows_the_larger_modality_once_and_the_other_evenly(counts):
    dataset = both(*counts)
    sampler = UnpairedBatchSampler(dataset, 1, seed=3)
    assert len(sampler) == 7
    seen, pairs = {"a": [], "b": []}, []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        drawn = [values(dataset[pair]) for [pair] in sampler]
        pairs.append([(item["a"], item["b"]) for item in drawn])
        for key in seen:
            seen[key] += [item[key] for item in drawn]
    more, fewer = "ab" if counts[0] == 7 else "ba"
    assert all(len(set(seen[more][7 * epoch : 7 * epoch + 7])) == 7 for epoch in range(3))
    assert np.unique(seen[fewer], return_counts=True)[1].tolist() == [7, 7, 7]
    assert pairs[0] != pairs[1]


def test_volumes_that_cannot_train_are_refused():
    with pytest.raises(DataError, match=r"no MR volume.*both domains"):
        both(2, 0)
    with pytest.raises(DataError, match=r"neither ct nor mr: b; correct"):
        TwoDomainDataset([{"value": 1, "case": "b", "label": "l", "domain": "us"}], load, BOTH)
    bare = [{"value": 1, "domain": name} for name in BOTH]
    with pytest.raises(DataError, match="no training volume has a label"):
        TwoDomainDataset(bare, load, BOTH)


def test_volumes_without_a_label_are_trained_on():
    bare = [{"value": 300, "domain": "mr"}]
    dataset = TwoDomainDataset(items(2, 100, "ct") + bare, load, BOTH)
    assert (dataset[1]["a_labelled"], dataset[1]["b_labelled"]) == (True, False)
    assert values(dataset[1])["b"] == 300
    mixed = TwoDomainDataset(items(1, 100, "ct") + bare + items(2, 200, "mr"), load, BOTH)
    assert [mixed[i]["b_labelled"] for i in range(3)] == [False, True, True]


def test_domains_of_which_no_volume_has_a_label(tmp_path):
    (tmp_path / "a.npy").touch()
    bare, path = {"image": "a.npy"}, tmp_path / "datalist.json"
    labelled = bare | {"label": "a.npy"}
    assert unlabelled_domains(path, BOTH) == []
    for ct, mr, expected in (
        ([labelled], [bare, bare], ["mr"]),
        ([bare], [bare, labelled], ["ct"]),
        ([labelled], [bare, labelled], []),
        ([labelled], [], []),
    ):
        path.write_text(json.dumps({"training_ct": ct, "training_mr": mr}))
        assert unlabelled_domains(path, BOTH) == expected


def test_labelled_volumes_choose_the_weights(tmp_path, caplog):
    (tmp_path / "a.npy").touch()
    labelled, bare = {"image": "a.npy", "label": "a.npy", "index": 0}, {"image": "a.npy", "index": 0}
    path = tmp_path / "datalist.json"

    def chosen(ct, mr):
        path.write_text(json.dumps({"validation_ct": ct, "validation_mr": mr, "test_mr": [labelled]}))
        return len(validation_volumes(path, BOTH))

    assert chosen([labelled, bare], [labelled]) == 2
    assert not caplog.text
    assert chosen([labelled], [bare, bare]) == 1
    assert "no labelled MR for validation; the scores are those of CT alone" in caplog.text
    assert chosen([bare], []) == 0
    assert "no labelled CT for validation; nothing is scored" in caplog.text


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
    made = TwoDomainStudies(data, CUT, tmp_path / "datalist.json", BOTH, tmp_path / "slices")
    dataset = TwoDomainDataset(data, LOAD, BOTH, made)
    assert [(item["case"], item["domain"]) for item in (*dataset.data, *dataset.absence)] == [
        ("study_ct", "ct"),
        ("study_mr", "mr"),
    ]
    pair = dataset[0, 0]
    assert pair["a"].shape == pair["b_label"].shape == (1, 24, 24, 16)
    assert pair["a_label"].max() == 5
    assert {item["domain"] for item in SliceDataset([], LOAD, made)} == {"ct", "mr"}
    caplog.clear()
    assert [item["domain"] for item in SliceDataset([studies["mr"]], LOAD, made)] == ["mr"]
    assert "no CT left for validation" in caplog.text


def test_a_modality_without_a_study_comes_from_prepared_volumes(studies, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    data, place = [studies["ct"]], tmp_path / "prepared" / "datalist.json"
    made = TwoDomainStudies(data, CUT, place, BOTH, tmp_path / "slices")
    with pytest.raises(StudiesError, match=r"no MR among the labelled studies.*label a study of MR too"):
        TwoDomainDataset(data, LOAD, BOTH, made)
    with pytest.raises(StudiesError, match="in MONAI Label submit a label"):
        TwoDomainDataset([], LOAD, BOTH, TwoDomainStudies([], CUT, place, BOTH, tmp_path / "slices"))

    (tmp_path / "raw").mkdir()
    for modality in ("ct", "mr"):
        for k in range(2):
            write_heart(heart_phantom((0, k), modality, (40, 40, 32), 6.0), tmp_path / "raw", k)
    prepare(tmp_path / "raw", place.parent, pixdim=8.0, size=(24, 24, 16), validation=1, test=0)
    dataset = TwoDomainDataset(data, LOAD, BOTH, made)
    [first], [second] = dataset.data, dataset.absence
    assert (first["case"], second["domain"]) == ("study_ct", "mr")
    assert dataset[0]["b"].shape == (1, 24, 24, 16)
    assert [item["domain"] for item in SliceDataset(data, LOAD, made)] == ["ct", "mr"]


def test_prepared_volumes_stay_as_they_are(tmp_path):
    prepared = [{**item, "image": "a.npy", "index": 0} for item in items(1, 0, "ct") + items(1, 0, "mr")]
    made = TwoDomainStudies(prepared, CUT, tmp_path / "none.json", BOTH, tmp_path / "slices")
    assert TwoDomainDataset(prepared, load, BOTH, made).data == prepared[:1]
    assert made.validation(prepared[1:]) == prepared[1:]
    assert made.validation([]) == []
