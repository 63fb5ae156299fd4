"""The segmenters as transforms keep the grid of the image and take translations like originals."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose
from transeg.errors import VolumeError
from transeg.methods.thigh.classical.intensity import count_intensities, learn_intensity
from transeg.methods.thigh.classical.mixture import fit_mixture
from transeg.methods.thigh.classical.shape_prior import crop_legs, save_atlas
from transeg.methods.thigh.classical.spgc import CutParameters, filtered
from transeg.methods.thigh.legs import split_legs
from transeg.methods.thigh.transforms import SegmentGraphCutd, SegmentMixtured
from transeg.metrics.overlap import dice
from transeg.metrics.silhouette import silhouette

from tests.methods.thigh.classical.thighs import thighs

AFFINE = np.array([[4.0, 0, 0, -7], [0, 4.0, 0, 3], [0, 0, 7.0, 1], [0, 0, 0, 1]])
PARAMETERS = CutParameters(smoothness=0.2, shape_weight=1.0, neutral=0.4)


def scan(seed, infiltration=0.4):
    image, muscle = thighs((88, 52, 4), infiltration, seed)
    meta = {"filename_or_obj": f"thigh{seed}.nii.gz"}
    return MetaTensor(torch.from_numpy(image)[None], torch.from_numpy(AFFINE), meta), muscle


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    counts, legs = [], []
    for seed in (1, 2):
        image, muscle = thighs((88, 52, 4), 0.4, seed)
        counts.append(count_intensities(filtered(fit_mixture(image).normalise(image), PARAMETERS), muscle))
        body = silhouette(image)
        legs += crop_legs(f"thigh{seed}", body, split_legs(body, (4, 4, 7)), (4, 4, 7), muscle)
    learn_intensity(counts).save(folder / "model.json")
    save_atlas(folder / "atlas.npz", legs)
    return folder


def test_mixture():
    image, muscle = scan(3, 0.0)
    item = {"image": image, "translation": image * 2 - 1}
    segment = SegmentMixtured(("image", "translation"), ("mask", "pred"), ("probability", None))
    found = segment(item)
    assert set(found) == {"image", "translation", "mask", "pred", "probability"}
    assert found["mask"].shape == image.shape
    assert found["mask"].dtype == torch.float32
    assert (found["mask"].affine == image.affine).all()
    assert found["mask"].meta["filename_or_obj"] == "thigh3.nii.gz"
    assert dice(found["mask"][0], muscle) > 0.9
    assert dice(found["pred"][0], found["mask"][0]) > 0.99  # the same in any unit
    assert set(item) == {"image", "translation"}
    without_air = SegmentMixtured("image", air=False, per_slice=True)(item)["pred"]
    assert dice(without_air[0], muscle) > 0.8


def test_air_that_a_translation_brightens_is_no_muscle():
    image, muscle = scan(3, 0.0)
    air = image < image.min() + 0.05 * (image.max() - image.min())
    air[:, : image.shape[1] // 2] = False
    item = {"image": image, "translation": torch.where(air, image[muscle[None]].median(), image)}
    marked = SegmentMixtured("translation")(item)["pred"]
    assert marked[air].mean() > 0.5
    found = SegmentMixtured("translation", probability_keys="likely", body_key="image")(item)
    assert found["pred"][air].mean() < 0.1
    assert found["likely"][air].mean() < 0.1
    assert dice(found["pred"][0], muscle) > 0.9


def test_cuts(trained):
    image, muscle = scan(3)
    mixture = SegmentMixtured("image", "gmm")
    cut = SegmentGraphCutd("image", trained / "model.json", "gc", {"smoothness": 0.2})
    prior = SegmentGraphCutd(
        "image", str(trained / "model.json"), "spgc", PARAMETERS, trained / "atlas.npz", shape_key="shape"
    )
    found = Compose([mixture, cut, prior])({"image": image, "case": "thigh3"})
    scores = [dice(found[key][0], muscle) for key in ("gmm", "gc", "spgc")]
    assert scores == sorted(scores)
    assert scores[2] > 0.85
    assert (found["spgc"].affine == image.affine).all()
    assert found["shape"].shape == image.shape
    again = SegmentGraphCutd("image", trained / "model.json", parameters=PARAMETERS, shape_key="shape")(found)
    assert (again["pred"] == found["spgc"]).all()


def test_own_legs_are_left_out(trained):
    segment = SegmentGraphCutd(
        "image", trained / "model.json", parameters=PARAMETERS, atlas=trained / "atlas.npz", shape_key="shape"
    )
    shapes = [segment({"image": scan(1)[0], "case": case})["shape"] for case in ("thigh1", "thigh3")]
    assert dice(shapes[1][0] > 0.5, scan(1)[1]) > dice(shapes[0][0] > 0.5, scan(1)[1])


def test_wrong_use_is_refused(trained):
    with pytest.raises(ValueError, match="atlas"):
        SegmentGraphCutd("image", trained / "model.json", parameters=PARAMETERS)
    with pytest.raises(VolumeError, match=r"thigh3.nii.gz.*\(1, X, Y, Z\)"):
        SegmentMixtured("image")({"image": torch.cat([scan(3)[0]] * 2)})
