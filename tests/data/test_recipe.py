"""The recipe of data and weights: found, compared, refused."""

import json

import pytest
from transeg.data.recipe import bundle_recipe, check_recipe, load_recipe
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
