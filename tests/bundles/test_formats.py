"""The same scan gives the same mask as NIfTI, as NRRD and as DICOM series, through every bundle."""

import numpy as np
import SimpleITK as sitk  # noqa: N813
from transeg.bundle.package import find_bundles
from transeg.data.table import Case, write_table

from tests.dicom_series import write_series
from tests.label.dialogue import DRAW

from .conftest import BUNDLES, load_nifti, read_config
from .test_workflows import workflow

FORMATS = ("nifti", "nrrd", "dicom")


def scan_of(method: str) -> tuple[np.ndarray, np.ndarray]:
    """Channels (X, Y, Z, C) of int16 and the affine of a phantom."""
    study = DRAW["heart" if method == "cardiac" else "thigh" if method == "thigh" else "brain"](0)
    image = study.image if study.image.ndim == 4 else study.image[..., None]
    return np.rint(image).astype(np.int16), study.affine


def as_itk(channel: np.ndarray) -> sitk.Image:
    """A channel on an oblique grid whose numbers no format holds exactly."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(channel.T))
    image.SetSpacing((3.97, 4.03, 5.1))
    image.SetOrigin((-91.123456789, -102.3, 48.7))
    turn = sitk.Euler3DTransform((0.0, 0.0, 0.0), 0.05, -0.08, 0.11)
    image.SetDirection(turn.GetMatrix())
    return image


def test_masks_do_not_depend_on_the_format(bundle, tmp_path):
    recipe = read_config(bundle, "inference.json")["recipe"]
    image, _ = scan_of(recipe["method"])
    files: dict[str, dict[str, str]] = {kind: {} for kind in FORMATS}
    for number, name in enumerate(recipe["channels"]):
        channel = as_itk(image[..., number])
        for kind, suffix in (("nifti", ".nii.gz"), ("nrrd", ".nrrd")):
            files[kind][name] = str(tmp_path / f"{name}{suffix}")
            sitk.WriteImage(channel, files[kind][name])
        files["dicom"][name] = str(write_series(channel, tmp_path / name))
    domain = "ct" if "domains" in recipe else ""
    table = write_table(tmp_path / "cases.csv", [Case(kind, files[kind], domain=domain) for kind in FORMATS])
    out = tmp_path / "out"
    options = {"output_dir": str(out)} | (
        {"threshold": 0.5} if "threshold" in read_config(bundle, "inference.json") else {}
    )
    workflow(bundle, "infer", ["inference.json"], table, run_id="inferring", **options).run()
    first, *others = (load_nifti(out / f"{kind}_seg.nii.gz") for kind in FORMATS)
    assert np.asarray(first.dataobj).any()
    for other in others:
        np.testing.assert_array_equal(*(aligned(mask, first.affine) for mask in (first, other)))


def aligned(mask, affine):
    """Voxels in the order of a grid: a DICOM series may be read from its other end."""
    voxels, turned = np.asarray(mask.dataobj), np.linalg.inv(mask.affine) @ affine
    flips = [axis for axis in range(3) if turned[axis, axis] < 0]
    return np.flip(voxels, flips)


def test_every_bundle_is_in_this_test():
    assert len(find_bundles(BUNDLES)) >= 4
