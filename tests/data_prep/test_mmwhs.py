import json
import shutil

import nibabel as nib
import numpy as np
import pytest
from transeg.data.datalist import read_datalist
from transeg.data.datasets import SliceDataset
from transeg.data.samplers import UnpairedBatchSampler
from transeg.data.volumes import find_volumes
from transeg.errors import CasesFailedError, DataError
from transeg.methods.cardiac.datasets import TwoDomainDataset
from transeg.methods.cardiac.preprocessing import cardiac_preprocessing
from transeg.methods.cardiac.recipe import HEART
from transeg.transforms.slices import LoadSliced
from typer.testing import CliRunner

from data_prep.mmwhs import choose_roles, find_hearts, prepare
from data_prep.phantoms.__main__ import app

SMALL = {"pixdim": 8.0, "size": (20, 20, 16)}
LOAD = LoadSliced(spatial_dims=3, classes=True)


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """10 MR and 14 CT."""
    folder = tmp_path_factory.mktemp("raw") / "heart"
    options = ["--cases", "10", "--extra-ct", "4", "--shape", "24,24,20", "--spacing", "8"]
    assert CliRunner().invoke(app, ["heart", "--out", str(folder), *options]).exit_code == 0
    return folder


@pytest.fixture
def copy(raw, tmp_path):
    return shutil.copytree(raw, tmp_path / "copy")


def lists_of(path):
    content = json.loads(path.read_text())
    return {key: value for key, value in content.items() if isinstance(value, list)}, content


def counts(lists, *roles):
    return [(len(lists[f"{role}_ct"]), len(lists[f"{role}_mr"])) for role in roles]


def cases_in(lists, key):
    return {item["case"] for item in lists[key]}


def test_half_of_as_many_of_both_modalities_is_for_testing(raw, tmp_path):
    lists, content = lists_of(prepare(raw, tmp_path, **SMALL))
    assert counts(lists, "training", "validation", "test", "held_back") == [(4, 4), (1, 1), (5, 5), (0, 0)]
    names = [item["case"] for role in ("training", "validation", "test") for item in lists[f"{role}_ct"]]
    assert len(set(names)) == 10, "four of the CT are left out, none is in two sets"
    assert (content["tensorImageSize"], content["numTraining"], content["numTest"]) == ("3D", 8, 10)
    assert content["labels"]["3"] == "LV"
    assert {item["domain"] for item in lists["test_mr"]} == {"mr"}
    assert cases_in(lists, "test_mr_volumes") == cases_in(lists, "test_mr")


def test_prepared_volumes_train_and_validate(raw, tmp_path):
    path = prepare(raw, tmp_path, **SMALL)
    training = read_datalist(path, "training_ct") + read_datalist(path, "training_mr")
    dataset = TwoDomainDataset(training, LOAD, ["ct", "mr"])
    item = dataset[next(iter(UnpairedBatchSampler(dataset, 1)))[0]]
    assert item["a_labelled"] is item["b_labelled"] is True
    for key in ("a", "b"):
        assert item[key].shape == item[f"{key}_label"].shape == (1, 20, 20, 16)
        assert -1 <= item[key].min() < -0.8
        assert item[key].max() <= 1
        assert set(item[f"{key}_label"].unique().tolist()) == set(range(6))
        assert item[key][item[f"{key}_label"] == 3].mean() > item[key][item[f"{key}_label"] == 0].mean()
    validation = SliceDataset(read_datalist(path, "validation_mr"), LOAD)
    assert validation[0]["label"].max() == 5
    [volume] = find_volumes(path.parent, ["CT"], "validation_ct_volumes")
    assert nib.load(volume["image"]).shape == nib.load(volume["label"]).shape
    assert volume["domain"] == "ct"


def test_the_recipe_repeats_what_the_network_saw(raw, tmp_path):
    path = prepare(raw, tmp_path, **SMALL)
    recipe = json.loads(path.read_text())["recipe"]
    assert recipe == HEART | {"image_size": [20, 20, 16], "pixdim": 8.0}
    preprocess = cardiac_preprocessing(recipe, label_keys="label", centre="label")
    for modality in ("ct", "mr"):
        [item], [volumes] = (read_datalist(path, f"validation_{modality}{kind}") for kind in ("", "_volumes"))
        image = preprocess(volumes)["image"].numpy()
        np.testing.assert_array_equal(np.load(item["image"])[0], image.astype(np.float16))


def test_fractions_are_nested_and_leave_the_rest_alone(raw, tmp_path):
    whole, _ = lists_of(prepare(raw, tmp_path / "a", **SMALL))
    half, _ = lists_of(prepare(raw, tmp_path / "b", **SMALL, real_fraction=0.5, fraction_of="mr"))
    few, _ = lists_of(prepare(raw, tmp_path / "c", **SMALL, real_fraction=0.14, fraction_of="mr"))
    assert counts(half, "training", "held_back") == [(4, 2), (0, 2)]
    assert counts(few, "training", "held_back") == [(4, 1), (0, 3)]
    assert cases_in(few, "training_mr") < cases_in(half, "training_mr") < cases_in(whole, "training_mr")
    assert cases_in(few, "training_mr") | cases_in(few, "held_back_mr") == cases_in(whole, "training_mr")
    assert all("label" in item for item in few["held_back_mr"])
    assert few["training_ct"] == whole["training_ct"]
    assert few["test_mr"] == whole["test_mr"]


def test_what_the_first_set_leaves_out_can_train(raw):
    cases = find_hearts(raw)
    first = choose_roles(cases, 0.1, 0.5, {}, 0.0, seed=1)
    second = choose_roles(cases, 0.1, 0.5, {"ct": 0.5}, 1.0, seed=1)
    some = choose_roles(cases, 0.1, 0.5, {}, 0.5, seed=1)
    assert (len(first), len(some), len(second)) == (20, 22, 24)
    assert all(
        second[name] == role or (role, second[name]) == ("training", "held_back") for name, role in first.items()
    )
    assert {second[name] for name in set(second) - set(first)} == {"training"}
    assert set(some) < set(second)
    other = choose_roles(cases, 0.1, 0.5, {}, 0.0, seed=2)
    assert other != first
    with pytest.raises(ValueError, match=r"--extra 1.5"):
        choose_roles(cases, 0.1, 0.5, {}, 1.5, 0)
    with pytest.raises(ValueError, match=r"--real-fraction 0 "):
        choose_roles(cases, 0.1, 0.5, {"ct": 0.0}, 0.0, 0)


def test_scans_without_a_label_are_left_out_or_cropped_where_the_heart_is_found(copy, tmp_path, capsys):
    for case in (1001, 1002):
        (copy / "mr_train" / f"mr_train_{case}_label.nii.gz").unlink()
    lists, _ = lists_of(prepare(copy, tmp_path / "a", **SMALL))
    assert counts(lists, "training", "test") == [(3, 3), (4, 4)]
    assert "not used: 8" in capsys.readouterr().out
    lists, _ = lists_of(prepare(copy, tmp_path / "b", **SMALL, unlabelled=True))
    assert counts(lists, "training", "test") == [(3, 5), (4, 4)]
    bare = [item for item in read_datalist(tmp_path / "b" / "datalist.json", "training_mr") if "label" not in item]
    assert {item["case"] for item in bare} == {"mr_train_1001", "mr_train_1002"}
    assert np.load(bare[0]["image"]).shape == (1, 1, 20, 20, 16)


def labels_in(lists, *roles):
    return [tuple(sum("label" in item for item in lists[f"{role}_{m}"]) for m in ("ct", "mr")) for role in roles]


def test_labels_of_one_modality_only(raw, copy, tmp_path):
    hidden, _ = lists_of(prepare(raw, tmp_path / "a", **SMALL, unlabelled_domain="mr"))
    shown, _ = lists_of(prepare(raw, tmp_path / "b", **SMALL))
    assert counts(hidden, "training", "validation", "test") == counts(shown, "training", "validation", "test")
    assert labels_in(hidden, "training", "validation", "test") == [(4, 0), (1, 0), (5, 5)]
    assert cases_in(hidden, "training_mr") == cases_in(shown, "training_mr")
    assert not any("label" in item for item in hidden["training_mr_volumes"])
    for path in (copy / "mr_train").glob("*_label.nii.gz"):
        path.unlink()
    with pytest.raises(ValueError, match=r"no label file.*add --unlabelled"):
        prepare(copy, tmp_path / "c", **SMALL)
    none, _ = lists_of(prepare(copy, tmp_path / "c", **SMALL, unlabelled=True))
    assert none["training_mr"] == hidden["training_mr"], "a hidden label must not tell where the heart is"
    assert labels_in(none, "training", "validation", "test") == [(4, 0), (1, 0), (5, 0)]


def test_a_bad_case_is_listed_and_the_others_are_done(copy, tmp_path):
    file = copy / "ct_train" / "ct_train_1003_label.nii.gz"
    image = nib.load(file)
    nib.save(nib.Nifti1Image(np.where(image.get_fdata() == 500, 501, 0).astype(np.int16), image.affine), file)
    with pytest.raises(CasesFailedError, match=r"1 of 24 cases failed(?s:.*)ct_train_1003.*501"):
        prepare(copy, tmp_path / "out", **SMALL, extra=1.0)
    lists, content = lists_of(tmp_path / "out" / "datalist.json")
    assert list(content["preparation"]["failed"]) == ["ct_train_1003"]
    assert sum(len(lists[f"{role}_ct"]) for role in ("training", "validation", "test")) == 13


def test_what_a_user_gets_wrong(raw, tmp_path):
    with pytest.raises(DataError, match="no scan found"):
        find_hearts(tmp_path)
    (tmp_path / "mr_train_1001_image.nii.gz").touch()
    with pytest.raises(DataError, match=r"no file ct_..._image"):
        find_hearts(tmp_path)
    with pytest.raises(ValueError, match="none left for training"):
        prepare(raw, tmp_path, **SMALL, test=10)
