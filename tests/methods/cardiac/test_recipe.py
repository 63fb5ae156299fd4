import json
from pathlib import Path

import pytest
from transeg.errors import DataError
from transeg.methods import cardiac
from transeg.methods.cardiac.recipe import HEART, check_domains, class_values, with_class_numbers


def test_the_bundle_has_the_recipe_of_the_paper_on_a_coarser_grid():
    bundle = json.loads((Path(cardiac.__path__[0]) / "bundle.json").read_text())
    assert bundle["recipe"] == HEART | {"image_size": [32, 32, 24], "pixdim": 5.0}


def test_values_of_label_files_become_classes():
    classes = class_values(HEART["labels"], HEART["label_values"])
    expected = {0: 0, 205: 1, 420: 2, 421: 2, 500: 3, 550: 4, 600: 5, 820: 0, 850: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 5}
    assert classes == expected
    assert class_values(["background", "liver"]) == {0: 0, 1: 1}
    assert class_values(["background", "liver"], {"liver": [7], "spleen": [9]}) == {0: 0, 1: 1, 7: 1}
    swapped = class_values(["background", "LV", "Myo"], {"LV": [2], "Myo": [1]})
    assert swapped == {0: 0, 2: 1, 1: 2}, "the values of the files go first"
    assert class_values(["background", "LV", "Myo"], {"LV": [2, 3]}) == {0: 0, 2: 1, 3: 1}


def test_class_numbers_are_read_as_well():
    values = {"LV": [500], "background": [9]}
    recipe = with_class_numbers({"labels": ["background", "LV"], "label_values": values, "axis": "native"})
    assert recipe["label_values"] == {"background": [0, 9], "LV": [1, 500]}
    assert recipe["axis"] == "native"


def test_values_that_cannot_be_mapped_are_refused():
    with pytest.raises(DataError, match="7 belongs to both LV and Myo"):
        class_values(["background", "LV", "Myo"], {"LV": [7], "Myo": [7]})


def test_domains_that_cannot_be_used_are_refused():
    assert check_domains(HEART["domains"]) == ("ct", "mr")
    ct = HEART["domains"]["ct"]
    with pytest.raises(DataError, match="two domains, such as ct and mr, got ct"):
        check_domains({"ct": ct})
    for wrong in ({"scale": "log", "range": [0, 1]}, {"scale": "window", "range": [3, 3]}, {"scale": "window"}):
        with pytest.raises(DataError, match=r"domain us: .* expected a scale \(window or percentiles\)"):
            check_domains({"ct": ct, "us": wrong})
