"""The recipe of data and weights: found, compared, refused."""

import json

import pytest
from transeg.data.recipe import bundle_recipe, check_recipe, label_recipe, load_recipe, parse_labels
from transeg.errors import DataError

OWN = {"method": "genseg", "channels": ["FLAIR"], "pixdim": 2.0, "min_brain": 0.02}


@pytest.fixture
def bundle(tmp_path):
    root = tmp_path / "bundle"
    (root / "configs").mkdir(parents=True)
    (root / "configs" / "inference.json").write_text(json.dumps({"recipe": OWN}))
    return root


def datalist(folder, **content):
    path = folder / "datalist.json"
    path.write_text(json.dumps({"training": [], **content}))
    return path


def test_that_of_the_data_goes_first(bundle, tmp_path):
    path = datalist(tmp_path, recipe={"method": "genseg", "channels": ["PD"], "pixdim": 1.0})
    assert load_recipe(path, bundle) == {**OWN, "channels": ["PD"], "pixdim": 1.0}


def test_the_training_scans_of_the_bundle_are_not_those_of_other_data(bundle, tmp_path):
    known = OWN | {"familiarity": {"all": {"scans": 9}}}
    (bundle / "configs" / "inference.json").write_text(json.dumps({"recipe": known}))
    assert load_recipe(tmp_path / "nothing.json", bundle) == known
    assert load_recipe(datalist(tmp_path, recipe={"method": "genseg", "pixdim": 1.0}), bundle) == OWN | {"pixdim": 1.0}
    own = {"method": "genseg", "familiarity": {"all": {"scans": 20}}}
    assert load_recipe(datalist(tmp_path, recipe=own), bundle) == OWN | own


def test_what_data_do_not_say_of_their_preparation_has_its_default(bundle, tmp_path):
    """And not the value of the bundle, whose weights were trained on other data."""
    known = OWN | {"foreground": "threshold", "halves": True, "spacing": [1.9, 1.9, 6.0]}
    (bundle / "configs" / "inference.json").write_text(json.dumps({"recipe": known}))
    assert load_recipe(datalist(tmp_path, recipe={"method": "genseg", "pixdim": 1.0}), bundle) == OWN | {"pixdim": 1.0}
    assert load_recipe(datalist(tmp_path), bundle) == OWN | {"foreground": "threshold", "halves": True}


def test_without_data_it_is_that_of_the_bundle(bundle, tmp_path, caplog):
    assert load_recipe(tmp_path / "nothing.json", bundle) == OWN
    assert load_recipe(datalist(tmp_path), bundle) == OWN
    assert "no recipe in it" in caplog.text


def test_data_of_another_method_are_refused(bundle, tmp_path):
    path = datalist(tmp_path, recipe={"method": "thigh"})
    with pytest.raises(DataError, match=r"prepared for the method thigh, but .*bundle is one of genseg"):
        load_recipe(path, bundle)


def test_a_bundle_without_a_recipe_is_told(tmp_path):
    with pytest.raises(DataError, match=r"no recipe .*older version of transeg"):
        bundle_recipe(tmp_path)


def test_a_difference_names_both():
    check_recipe({"pixdim": 2.0, "image_size": (120, 120)}, "data", pixdim=2, image_size=[120, 120], other=3)
    with pytest.raises(DataError, match=r"pixdim is 1.0 in the config, but 2.0 in prepared/datalist.json"):
        check_recipe({"pixdim": 2.0}, "prepared/datalist.json", pixdim=1.0)


TUMOUR = {"labels": ["background", "tumour"], "label_values": {"tumour": [1, 2, 3, 4]}}
CAVITY = {"tumour": [1, 2, 3], "background": [4]}
HEART = {"labels": ["background", "LV", "RV"], "label_values": {"LV": [500], "RV": [600]}}


@pytest.mark.parametrize(
    ("weights", "data", "values"),
    [
        (TUMOUR, TUMOUR, {"tumour": [1, 2, 3, 4]}),
        (TUMOUR, TUMOUR | {"label_values": CAVITY}, CAVITY),
        (TUMOUR, {"labels": ["background", "lesion"], "label_values": {"lesion": [7]}}, {"tumour": [7]}),
        (TUMOUR, {"labels": ["background", "lesion"]}, {"tumour": [1, 2, 3, 4]}),
        (HEART, {"labels": ["background", "RV"], "label_values": {"RV": [2]}}, {"RV": [2]}),
        ({"labels": ["background", "muscle"]}, {"labels": ["background", "muscle"]}, None),
    ],
)  # fmt: skip
def test_label_files_are_read_as_their_data_say(tmp_path, weights, data, values):
    expected = {"labels": weights["labels"], "label_values": values}
    assert label_recipe(weights, datalist(tmp_path, recipe=data)) == expected


def test_labels_of_data_that_say_nothing_are_those_of_the_weights(tmp_path):
    for path in (datalist(tmp_path), tmp_path / "none.json"):
        assert label_recipe(HEART, path) == HEART


def test_structures_that_the_weights_do_not_have(tmp_path):
    data = {"labels": ["background", "LV", "aorta"], "label_values": {"LV": [1], "aorta": [2]}}
    with pytest.raises(DataError, match=r"its labels are LV, aorta, but the weights segment LV, RV"):
        label_recipe(HEART, datalist(tmp_path, recipe=data))


def test_values_of_labels_are_parsed():
    assert parse_labels(["a=1,2", "b=3", "a=5"]) == {"a": [1, 2, 5], "b": [3]}
