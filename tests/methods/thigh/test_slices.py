import numpy as np
import pytest
import torch
from transeg.data.studies import StudySlices
from transeg.errors import VolumeError
from transeg.methods.thigh.slices import ThighSlices, darkening_map

from data_prep.phantoms.thigh import thigh_phantom, write_thigh
from tests.recipes import THIGH

RECIPE = THIGH | {"pixdim": [4.0, 4.0, -1.0], "image_size": [96, 48]}

GRADES = ("severe", "healthy", "moderate", "minor")


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """Scan and mask by grade, in the folders of MONAI Label; the last two have no mask there."""
    raw = tmp_path_factory.mktemp("raw")
    for case, grade in enumerate(GRADES):
        write_thigh(thigh_phantom(case, grade=grade, shape=(96, 48, 8), spacing=(4.0, 4.0, 7.0)), raw, case)
    studies = tmp_path_factory.mktemp("studies")
    (studies / "labels").mkdir()
    found = {}
    for grade in GRADES:
        [mask] = raw.rglob(f"{grade}/*_mask.nii.gz")
        image = mask.with_name(mask.name.replace("_mask", ""))
        found[grade] = {"image": str(image.rename(studies / image.name))}
        if grade in GRADES[:2]:
            found[grade]["label"] = str(mask.rename(studies / "labels" / image.name))
    return found


def test_a_mask_tells_the_domain_of_its_scan(scans):
    cut = ThighSlices(RECIPE)
    hard, easy = cut(scans["severe"]), cut(scans["healthy"])
    assert hard.images.shape == (8, 1, 96, 48)
    assert hard.images.dtype == np.float16
    assert hard.labels.sum() > 1000
    assert (hard.present, easy.present) == (True, False)


def test_scans_without_a_mask_go_where_the_translation_sends_them(scans, tmp_path):
    cut = ThighSlices(RECIPE)
    share = {"moderate": 0.3, "minor": 0.0}
    names = {grade: scans[grade]["image"].rsplit("/", 1)[1].removesuffix(".nii.gz") for grade in GRADES}

    def predict(items):
        [case] = {item["case"] for item in items}
        [grade] = [grade for grade, name in names.items() if name == case]
        stacks = np.load(items[0]["image"])[:, 0]
        return (stacks > -0.8) * (np.arange(48) < 48 * share[grade] * 1.5)

    studies = StudySlices([scans["severe"], scans["healthy"]], cut, predict, tmp_path)
    hard, easy = studies.training()
    assert {(item["case"], "label" in item) for item in hard} == {(names["severe"], True), (names["moderate"], False)}
    assert {item["case"] for item in easy} == {names["healthy"], names["minor"]}


def test_darkened_by_hand():
    image, translation = torch.tensor([1.0, 1.0, -0.5]), torch.tensor([-1.0, 0.75, 0.5])
    assert darkening_map(image, translation).tolist() == [1.0, 0.25, 0.0]


def test_the_table_tells_the_domain_before_the_mask_does(scans):
    cut = ThighSlices(RECIPE)
    assert cut(scans["severe"] | {"domain": "easy"}).present is False
    assert cut(scans["minor"] | {"domain": "hard"}).present is True
    assert cut(scans["minor"] | {"presence": True}).present.all()
    with pytest.raises(VolumeError, match="its domain is 'ct'; expected hard or easy"):
        cut(scans["minor"] | {"domain": "ct"})
