"""`transeg export` of what lies on disk: by every bundle, joined with given masks, and with synthetic cases."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch
from monai.data import load_decathlon_datalist
from transeg.bundle.package import find_bundles
from transeg.bundle.segment import run_segmentation
from transeg.cli import app
from transeg.data.finder import survey
from transeg.errors import CasesFailedError, DataError, UserError
from transeg.export.command import run_export, variety_warnings
from transeg.method import find_method
from transeg.metrics.variety import Variety
from transeg.transforms.outputs import write_nifti
from typer.testing import CliRunner

from benchmarks.results import ROOT
from tests.bundles.conftest import read_config
from tests.bundles.test_workflows import GRIDS, workflow, write_volumes

BUNDLES = find_bundles(ROOT / "bundles")
THIGH = ROOT / "bundles" / "thigh_mri_muscle_segmentation"
PATHOGAN = ROOT / "bundles" / "brain_mri_pathogan_segmentation"


def recipe_of(bundle: Path) -> dict:
    return read_config(bundle, "inference.json")["recipe"]


def segmented(bundle: Path, folder: Path, **settings) -> Path:
    """Masks, probabilities and translations of three scans."""
    config = read_config(bundle, "inference.json")
    scans = write_volumes(folder / "scans", len(config["recipe"]["channels"]))
    settings |= {"save_probability": True, "save_translation": True}
    settings |= {"modality": "ct"} if "modality" in config else {}
    run_segmentation(scans, bundle, folder / "masks", settings, pictures=False)
    return folder / "masks"


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> dict[str, Path]:
    """What each bundle wrote, by name."""
    return {bundle.name: segmented(bundle, tmp_path_factory.mktemp(bundle.name)) for bundle in BUNDLES}


@pytest.fixture
def masks(results, tmp_path) -> Path:
    """Results of one channel and one structure, to change."""
    return Path(shutil.copytree(results[THIGH.name], tmp_path / "masks"))


def voxels(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


def cases_of(out: Path) -> dict:
    return json.loads((out / "export.json").read_text())["cases"]


def left_out(out: Path) -> dict[str, list[str]]:
    return {part["why"]: part["cases"] for part in json.loads((out / "export.json").read_text())["left_out"]}


def check_layout(out: Path) -> dict:
    """What nnU-Net checks, as SimpleITK sees it; returns `dataset.json`."""
    content = json.loads((out / "dataset.json").read_text())
    assert list(content["labels"].values()) == list(range(len(content["labels"])))
    assert next(iter(content["labels"])) == "background"
    files = sorted((out / "labelsTr").iterdir())
    assert len(files) == content["numTraining"]
    assert len(list((out / "imagesTr").iterdir())) == len(files) * len(content["channel_names"])
    for path in files:
        name = path.name.removesuffix(content["file_ending"])
        label = nib.load(path)
        assert {*np.unique(voxels(path))} <= {*content["labels"].values()}
        for channel in content["channel_names"]:
            image = nib.load(out / "imagesTr" / f"{name}_{int(channel):04}{content['file_ending']}")
            assert image.shape == label.shape
            for of in ("get_sform", "get_qform"):
                np.testing.assert_array_equal(getattr(image, of)(), getattr(label, of)())
            seen = [sitk.ReadImage(file.get_filename()) for file in (image, label)]
            for of in ("GetSpacing", "GetOrigin", "GetDirection"):
                assert getattr(seen[0], of)() == getattr(seen[1], of)()
    return content


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda bundle: bundle.name)
def test_scans_with_the_masks_of_a_bundle(bundle, results, tmp_path):
    out = run_export([results[bundle.name]], tmp_path / "Dataset501_Scans", keep_warned=True, keep_empty=True)
    recipe, content = recipe_of(bundle), check_layout(out)
    assert list(content["channel_names"].values()) == recipe["channels"]
    ignored = [name for name in content["labels"] if name not in recipe["labels"]]
    assert [*content["labels"]] == [*recipe["labels"], *ignored]
    assert cases_of(out).keys() == GRIDS.keys()
    for case in GRIDS:
        scan = nib.load(results[bundle.name].parent / "scans" / f"{case}.nii.gz")
        source = np.asarray(scan.dataobj).reshape(*scan.shape[:3], -1)
        for channel in range(source.shape[3]):
            image = nib.load(out / "imagesTr" / f"{case}_{channel:04}.nii.gz")
            np.testing.assert_array_equal(np.asarray(image.dataobj), source[..., channel])
            np.testing.assert_allclose(image.affine, scan.affine, atol=1e-5)
        mask, prob = (voxels(results[bundle.name] / f"{case}_{name}.nii.gz") for name in ("seg", "prob"))
        own = prob if prob.ndim == 4 else np.stack([1 - prob, prob], axis=-1)
        certain = np.take_along_axis(own, mask[..., None].astype(int), axis=-1)[..., 0] >= 0.9
        found = voxels(out / "labelsTr" / f"{case}.nii.gz")
        np.testing.assert_array_equal(found[certain], mask[certain])
        assert (found[~certain] == len(recipe["labels"])).all()
        assert certain.all() or ignored == ["ignore"]


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda bundle: bundle.name)
def test_translations_take_the_mask_of_the_scan_where_they_show_the_structures(bundle, results, tmp_path):
    folder, out = results[bundle.name], tmp_path / "Dataset502_Translated"
    if not find_method(recipe_of(bundle)["method"]).keeps_structures:
        with pytest.raises(DataError, match=r"the translations of .* do not show tumour, .* leave --translated out"):
            run_export([folder], out, translated=True)
        assert not out.exists()
        return
    run_export([folder], out, translated=True, keep_warned=True, keep_empty=True, confidence=0)
    assert {*check_layout(out)["labels"]} == {*recipe_of(bundle)["labels"]}  # nothing is ignored
    for case in GRIDS:
        name = f"{case}_mr" if "domains" in recipe_of(bundle) else f"{case}_translation"
        image, label = out / "imagesTr" / f"{name}_0000.nii.gz", out / "labelsTr" / f"{name}.nii.gz"
        np.testing.assert_array_equal(voxels(image), voxels(folder / f"{name}.nii.gz"))
        np.testing.assert_array_equal(voxels(label), voxels(folder / f"{case}_seg.nii.gz"))


def write_prepared(folder: Path, recipe: dict, **lists: list[dict]) -> Path:
    """A datalist of whole scans, as a preparation leaves it."""
    folder.mkdir()
    content = {"name": "given", "recipe": recipe, "preparation": {"patients": {}}, **lists}
    (folder / "datalist.json").write_text(json.dumps(content))
    return folder


def scan(results: Path, case: str, label: bool = True) -> dict:
    """Item of one of the segmented scans, which lie beside their results."""
    folder = results.parent / "scans"
    item = {"image": str(folder / f"{case}.nii.gz"), "case": case}
    return item | ({"label": str(folder / f"{case}_label.nii.gz")} if label else {})


def test_given_masks_come_before_predicted_ones_and_test_scans_are_left_out(results, masks, tmp_path):
    recipe = recipe_of(THIGH) | {"labels": ["background", "lesion"], "label_values": {"lesion": [1, 2, 3, 4]}}
    own = results[THIGH.name]
    prepared = write_prepared(
        tmp_path / "prepared",
        recipe,
        training_volumes=[scan(own, "flipped") | {"case": "P1"}, scan(own, "oblique", label=False)],
        test_volumes=[scan(own, "anisotropic") | {"case": "P2"}],
    )
    out = run_export([prepared, masks], tmp_path / "Dataset503_Joined", keep_warned=True, keep_empty=True)
    assert {case: entry["kind"] for case, entry in cases_of(out).items()} == {
        "P1": "labelled",
        "oblique": "pseudo-label",
    }
    assert [*check_layout(out)["labels"]] == ["background", "lesion", "ignore"]
    given = voxels(own.parent / "scans" / "flipped_label.nii.gz") > 0
    np.testing.assert_array_equal(voxels(out / "labelsTr" / "P1.nii.gz"), given)
    assert left_out(out) == {
        "of a test patient": ["anisotropic"],
        "whose scan has a mask of its own among the labelled cases": ["flipped"],
    }


def test_no_patient_is_on_both_sides_of_a_fold(tmp_path):
    items = []
    for k in range(7):
        items.append({"image": str(tmp_path / f"P{k}.nii.gz"), "label": str(tmp_path / "mask.nii.gz"), "case": f"P{k}"})
        nib.save(nib.Nifti1Image(np.full((8, 8, 8), 10.0 + k, np.float32), np.eye(4)), items[-1]["image"])
    nib.save(nib.Nifti1Image(np.ones((8, 8, 8), np.uint8), np.eye(4)), tmp_path / "mask.nii.gz")
    prepared = write_prepared(tmp_path / "prepared", recipe_of(THIGH), training_volumes=items)
    samples = write_samples(tmp_path / "samples", ["P0", "P3"], recipe_of(THIGH))
    out = run_export([prepared, samples], tmp_path / "Dataset504_Folds")
    splits = json.loads((out / "splits_final.json").read_text())
    patients = {case: entry["patient"] for case, entry in cases_of(out).items()}
    assert len(splits) == 5
    assert sorted(case for fold in splits for case in fold["val"]) == [f"P{k}" for k in range(7)]
    for fold in splits:
        assert not {patients[case] for case in fold["train"]} & {patients[case] for case in fold["val"]}
        assert all(case in fold["train"] for case in patients if patients[case] not in fold["val"])
    items = load_decathlon_datalist(str(out / "monai_datalist.json"), data_list_key="training")
    assert all(Path(item["image"]).is_file() and Path(item["label"]).is_file() for item in items)
    assert {item["fold"] for item in items if item["patient"] == "P3"} == {
        next(k for k, fold in enumerate(splits) if "P3" in fold["val"])
    }


def write_samples(folder: Path, patients: list[str], recipe: dict, radii: tuple[float, ...] = (3, 3, 0)) -> Path:
    """Synthetic cases as `synthesise.json` leaves them: balls in one place, of these radii (0: none)."""
    axes = np.stack(np.meshgrid(*[np.arange(24) - 12.0] * 3, indexing="ij"))
    for patient in patients:
        for number, radius in enumerate(radii, 1):
            mask = (axes**2).sum(axis=0) < radius**2
            image = 100.0 + 50 * mask + np.zeros((len(recipe["channels"]), 1, 1, 1))
            for kind, volume, dtype in (("image", image, np.float32), ("seg", mask[None], np.uint8)):
                postfix = f"sample{number}_{kind}"
                path = folder / f"{patient}_{postfix}.nii.gz"
                write_nifti(path, torch.as_tensor(volume), torch.eye(4), dtype, postfix)
    names = {"channels": recipe["channels"], "labels": recipe["labels"]}
    (folder / "runs.json").write_text(json.dumps({"current": "a", "runs": {"a": names}}))
    return folder


def test_empty_samples_are_refused_and_their_variety_is_told(results, tmp_path):
    """Two balls of one size in one place beside lesions elsewhere."""
    samples = write_samples(tmp_path / "samples", ["H1", "H2"], recipe_of(THIGH))
    items = [scan(results[THIGH.name], case) for case in ("flipped", "anisotropic")]
    recipe = recipe_of(THIGH) | {"label_values": {"muscle": [1, 2, 3, 4]}}
    given = write_prepared(tmp_path / "given", recipe, training_volumes=items)
    out = tmp_path / "Dataset505_Samples"
    run = CliRunner().invoke(app, ["export", str(given), str(samples), "--out", str(out)])
    assert run.exit_code == 0, run.output
    assert "left out: 2 samples with an empty mask: H1_sample3, H2_sample3" in run.output
    assert "6 cases (2 labelled, 4 samples), no voxel is ignored" in run.output
    record = json.loads((out / "export.json").read_text())["variety"]
    assert record["sample"]["spread_mm"] < 0.1
    assert (record["sample"]["cases"], record["sample"]["shapes"]) == (4, 1)
    assert "warning: the 4 samples have only 1 shape\n" in run.output
    assert "next: nnUNetv2_plan_and_preprocess -d 505 --verify_dataset_integrity" in run.output
    assert {case.name for case in survey(out).cases} == cases_of(out).keys()  # it can be prepared


def test_samples_of_pathogan_are_read_with_their_names(tmp_path):
    scans = write_volumes(tmp_path / "scans", 3)
    settings = {"output_dir": str(tmp_path / "samples"), "samples": 1, "threshold": 1e-9, "run_id": "inferring"}
    workflow(PATHOGAN, "infer", ["inference.json", "synthesise.json"], scans, **settings).run()
    out = run_export([tmp_path / "samples"], tmp_path / "Dataset521_Tumours")
    content = check_layout(out)
    assert [*content["channel_names"].values()] == recipe_of(PATHOGAN)["channels"]
    assert [*content["labels"]] == recipe_of(PATHOGAN)["labels"]
    assert {case: entry["patient"] for case, entry in cases_of(out).items()} == {
        f"{case}_sample1": case for case in GRIDS
    }


def test_cases_with_a_warning_and_empty_masks_are_left_out_unless_asked_for(masks, tmp_path, capsys):
    manifest = json.loads((masks / "manifest.json").read_text())
    for case in GRIDS:
        manifest["cases"][case].pop("warnings", None)
    manifest["cases"]["flipped"]["warnings"] = ["flipped: unlike the training scans"]
    (masks / "manifest.json").write_text(json.dumps(manifest))
    empty = nib.load(masks / "oblique_seg.nii.gz")
    nib.save(nib.Nifti1Image(np.zeros(empty.shape, np.uint8), empty.affine), masks / "oblique_seg.nii.gz")
    for case in ("flipped", "anisotropic"):
        found = nib.load(masks / f"{case}_seg.nii.gz")
        nib.save(nib.Nifti1Image(np.ones(found.shape, np.uint8), found.affine), masks / f"{case}_seg.nii.gz")
    out = run_export([masks], tmp_path / "Dataset506_Sure")
    assert cases_of(out).keys() == {"anisotropic"}
    assert not (out / "splits_final.json").exists()  # of one patient
    told = capsys.readouterr().out
    assert "left out: 1 with a warning of `transeg segment` (--keep-warned keeps them): flipped" in told
    assert "left out: 1 in which nothing was segmented (--keep-empty keeps them): oblique" in told
    out = run_export([masks], tmp_path / "Dataset507_All", keep_warned=True, keep_empty=True)
    assert cases_of(out).keys() == GRIDS.keys()


def test_without_probabilities_the_uncertainty_decides_and_without_both_nothing_is_ignored(masks, tmp_path, capsys):
    with_prob = run_export([masks], tmp_path / "Dataset508_Prob", keep_warned=True, keep_empty=True)
    assert "ignore" in json.loads((with_prob / "dataset.json").read_text())["labels"]
    for case in GRIDS:
        prob = nib.load(masks / f"{case}_prob.nii.gz")
        p = np.clip(np.asarray(prob.dataobj, float), 1e-9, 1 - 1e-9)
        entropy = -(p * np.log2(p) + (1 - p) * np.log2(1 - p))
        nib.save(nib.Nifti1Image(entropy, prob.affine), masks / f"{case}_uncertainty.nii.gz")
        (masks / f"{case}_prob.nii.gz").unlink()
        mask = nib.load(masks / f"{case}_seg.nii.gz")
        nib.save(nib.Nifti1Image((p >= 0.5).astype(np.uint8), mask.affine), masks / f"{case}_seg.nii.gz")
    by_entropy = run_export([masks], tmp_path / "Dataset509_Entropy", keep_warned=True, keep_empty=True)
    for case in GRIDS:
        sure, found = (voxels(out / "labelsTr" / f"{case}.nii.gz") for out in (with_prob, by_entropy))
        assert (sure == found).mean() > 0.999 or (sure[found != 2] != 2).all()
    certain = run_export([masks], tmp_path / "Dataset522_All", confidence=0, keep_warned=True, keep_empty=True)
    assert "ignore" not in json.loads((certain / "dataset.json").read_text())["labels"]
    for case in GRIDS:
        (masks / f"{case}_uncertainty.nii.gz").unlink()
    capsys.readouterr()
    plain = run_export([masks], tmp_path / "Dataset510_Plain", keep_warned=True, keep_empty=True)
    assert "ignore" not in json.loads((plain / "dataset.json").read_text())["labels"]
    assert "segment with --save_uncertainty True" in capsys.readouterr().out


def test_failed_cases_are_listed_and_the_others_written(masks, tmp_path):
    path = masks / "flipped_seg.nii.gz"
    nib.save(nib.Nifti1Image(np.ones((5, 5, 5), np.uint8), np.eye(4)), path)
    (masks / "oblique_seg.nii.gz").unlink()
    with pytest.raises(CasesFailedError) as error:
        run_export([masks], tmp_path / "Dataset511_Rest", keep_warned=True, keep_empty=True)
    assert "2 of 3 cases failed; the remaining cases were processed" in str(error.value)
    assert f"{path}: shape (5, 5, 5)" in str(error.value)
    assert "oblique_seg.nii.gz: missing; segment with --save_mask True" in str(error.value)
    assert cases_of(tmp_path / "Dataset511_Rest").keys() == {"anisotropic"}
    manifest = json.loads((masks / "manifest.json").read_text())
    manifest["cases"]["anisotropic"]["inputs"][0]["sha256"] = "0"
    (masks / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(
        DataError, match=r"no case is left to export\n(.*\n)*.*anisotropic.nii.gz: has changed since it was seg"
    ):
        run_export([masks], tmp_path / "Dataset512_None", keep_warned=True, keep_empty=True)
    manifest["cases"]["anisotropic"]["inputs"][0]["file"] = "moved.nii.gz"
    (masks / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match=r"anisotropic: moved.nii.gz: no such file; correct the path"):
        run_export([masks], tmp_path / "Dataset512_None", keep_warned=True, keep_empty=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["Dataset511_Rest", "masks"]


def test_cases_of_one_name_are_numbered(masks, tmp_path):
    again = tmp_path / "again"
    shutil.copytree(masks, again)
    out = run_export([masks, again], tmp_path / "Dataset513_Twice", keep_warned=True, keep_empty=True)
    assert cases_of(out).keys() == {*GRIDS, *(f"{case}_2" for case in GRIDS)}
    splits = json.loads((out / "splits_final.json").read_text())
    assert all(({case, f"{case}_2"} <= {*fold["val"]}) == (case in fold["val"]) for fold in splits for case in GRIDS)


def test_what_cannot_be_exported_is_refused_with_a_remedy(results, masks, tmp_path):
    sources = [masks]
    (tmp_path / "Dataset514_Old").mkdir()
    with pytest.raises(UserError, match=r"Dataset514_Old: exists already; delete it, or choose another --out"):
        run_export(sources, tmp_path / "Dataset514_Old")
    with pytest.raises(UserError, match=r"knees: nnU-Net wants .* such as .*Dataset501_knees"):
        run_export(sources, tmp_path / "knees", keep_warned=True)
    with pytest.raises(DataError, match=r"Dataset514_Old: nothing to export; name prepared data, a folder that"):
        run_export([tmp_path / "Dataset514_Old"], tmp_path / "Dataset515_None")
    without = write_prepared(tmp_path / "without", recipe_of(THIGH), training_volumes=[scan(masks, "oblique", False)])
    with pytest.raises(DataError, match=r"without: no case is left to export"):
        run_export([without], tmp_path / "Dataset515_None")
    with pytest.raises(DataError, match=r"channels t1, flair, t1c, but .*masks has T1w; export them as data sets"):
        run_export([masks, results[PATHOGAN.name]], tmp_path / "Dataset516_Both", keep_warned=True)
    with pytest.raises(DataError, match=r"--domain mr: no labelled scan of it; the domains are none"):
        run_export(sources, tmp_path / "Dataset517_Domain", domain="mr")
    with pytest.raises(UserError, match=r"--channels: 2 names, but the images have T1w"):
        run_export(sources, tmp_path / "Dataset518_Channels", channels=["CT", "MR"], keep_warned=True)
    shutil.copy(masks / "flipped_seg.nii.gz", tmp_path / "a_s1_seg.nii.gz")
    shutil.copy(masks / "flipped_seg.nii.gz", tmp_path / "a_s1_image.nii.gz")
    with pytest.raises(
        DataError, match=r"runs.json: does not tell channels and labels of the results; make them again"
    ):
        run_export([tmp_path], tmp_path / "Dataset519_Unknown")


def test_whole_numbers_keep_their_type(tmp_path):
    axes = np.diag([-1.5, 2.0, 3.0, 1])
    nib.save(nib.Nifti1Image(np.arange(-30, 34, dtype=np.int32).reshape(4, 4, 4), axes), tmp_path / "ct.nii.gz")
    nib.save(nib.Nifti1Image(np.ones((4, 4, 4), np.uint8), axes), tmp_path / "mask.nii.gz")
    recipe = {"channels": ["image"], "labels": ["background", "liver"]}
    item = {"image": str(tmp_path / "ct.nii.gz"), "label": str(tmp_path / "mask.nii.gz"), "case": "ct"}
    prepared = write_prepared(tmp_path / "prepared", recipe, validation_volumes=[item])
    out = run_export([prepared], tmp_path / "Dataset520_Liver", channels=["CT"])
    content = check_layout(out)
    assert content["channel_names"] == {"0": "CT"}
    assert nib.load(out / "imagesTr/ct_0000.nii.gz").get_data_dtype() == np.int16
    assert nib.load(out / "labelsTr/ct.nii.gz").get_data_dtype() == np.uint8
    np.testing.assert_array_equal(voxels(out / "imagesTr/ct_0000.nii.gz").ravel(), np.arange(-30, 34))


def test_samples_unlike_the_masks_are_told_and_varied_ones_not():
    given = Variety(10, 30.0, 2.0, 10.0, 50.0, 9)
    assert variety_warnings({"labelled": given, "sample": Variety(10, 20.0, 1.0, 9.0, 60.0, 6)}) == []
    told = variety_warnings({"labelled": given, "sample": Variety(10, 4.0, 60.0, 80.0, 90.0, 2)})
    assert [text.split(":")[1].strip() for text in told] == [
        "the samples lie in much the same place",
        "most samples are smaller or larger than any of the labelled",
        "the 10 samples have only 2 shapes",
    ]
    assert len(variety_warnings({"sample": Variety(10, 4.0, 60.0, 80.0, 90.0, 2)})) == 1  # nothing to compare with
