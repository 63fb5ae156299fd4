"""One command from scans to masks: the same as the bundle's own inference, with a record of everything."""

import csv
import json
import shutil

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from transeg.bundle import segment
from transeg.bundle.package import bundle_root
from transeg.bundle.segment import run_segmentation
from transeg.cli import app
from transeg.data.training_cases import add_cases, study_cases
from transeg.errors import BatchError, DataError, ReleaseError
from transeg.files import RUN, read_run
from typer.testing import CliRunner

from tests.bundles.test_workflows import GRIDS, workflow, write_volumes

from .conftest import LEFT, ROOT, TRAINED, recipe_of


def test_masks_are_those_of_the_bundles_inference(bundle, tmp_path):
    scans = write_volumes(tmp_path / "scans", len(recipe_of(bundle)["channels"]))
    run_segmentation(scans, bundle, tmp_path / "out")
    workflow(bundle, "infer", ["inference.json"], scans, run_id="inferring", output_dir=str(tmp_path / "own")).run()
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["cases"].keys() == GRIDS.keys()
    assert manifest["bundle"] == bundle.name
    with (tmp_path / "out" / "volumes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["case"] for row in rows] == sorted(name for name in GRIDS for _ in recipe_of(bundle)["labels"][1:])
    assert {row[RUN] for row in rows} == {read_run(tmp_path / "out")} != {""}
    sizes = json.loads((tmp_path / "out" / "volumes.json").read_text())
    for case in GRIDS:
        found, own = (nib.load(tmp_path / place / f"{case}_seg.nii.gz") for place in ("out", "own"))
        np.testing.assert_array_equal(np.asarray(found.dataobj), np.asarray(own.dataobj))
        np.testing.assert_array_equal(found.affine, own.affine)
        assert Image.open(tmp_path / "out" / f"{case}.png").size[0] > 100
        for value, name in enumerate(recipe_of(bundle)["labels"][1:], 1):
            voxels = int((np.asarray(found.dataobj) == value).sum())
            assert sizes[case][name]["voxels"] == voxels
            voxel = abs(np.linalg.det(found.affine[:3, :3]))
            assert sizes[case][name]["ml"] == pytest.approx(voxels * voxel / 1000, abs=1e-2)
        entry = manifest["cases"][case]
        assert all(len(part["sha256"]) == 64 for part in entry["inputs"])
        assert f"{case}_seg.nii.gz" in entry["outputs"]
        assert set(entry["outputs"]) <= set(manifest["outputs"])


@pytest.fixture
def thigh(tmp_path):
    """A bundle of one channel, and scans for it."""
    return ROOT / "bundles" / TRAINED, write_volumes(tmp_path / "scans", 1)


def test_slices_get_the_voxel_size_of_the_option(thigh, tmp_path):
    bundle, scans = thigh
    voxels = np.squeeze(nib.load(sorted(scans.glob("*.nii*"))[0]).dataobj)
    (tmp_path / "stack").mkdir()
    for z in range(voxels.shape[-1]):
        level = np.clip(voxels[..., z] / voxels.max() * 255, 0, 255).astype(np.uint8)
        Image.fromarray(level.T).save(tmp_path / "stack" / f"p_{z}.png")
    command = ["segment", str(tmp_path / "stack"), "--bundle", str(bundle), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, [*command, "--spacing", "2", "1.5", "5"])
    assert result.exit_code == 0, result.output
    [mask] = (tmp_path / "out").glob("*_seg.nii.gz")
    assert nib.load(mask).header.get_zooms() == (2, 1.5, 5)
    assert nib.load(mask).shape == voxels.shape
    entry = json.loads((tmp_path / "out" / "manifest.json").read_text())["cases"]["p"]
    assert entry["spacing"] == [2, 1.5, 5]
    assert any("no voxel size" in text for text in entry["notes"])
    with (tmp_path / "out" / "volumes.csv").open(newline="") as file:
        assert [int(row["warnings"]) for row in csv.DictReader(file)] == [len(entry.get("warnings", ()))]


def test_scans_that_the_weights_were_trained_on_are_told(thigh, tmp_path):
    bundle, scans = thigh
    root = shutil.copytree(bundle, tmp_path / "run", ignore=LEFT)
    items = json.loads((scans / "datalist.json").read_text())["test_volumes"]
    add_cases(root, study_cases([items[0] | {"image": str(scans / items[0]["image"])}], []))
    path = run_segmentation(scans, root, tmp_path / "out", {"save_reports": False}, pictures=False)
    manifest = json.loads(path.read_text())
    assert manifest["training_cases"] == 1
    assert {case: entry.get("seen") for case, entry in manifest["cases"].items()} == {
        item["case"]: "training" if item == items[0] else None for item in items
    }
    result = CliRunner().invoke(app, ["evaluate", str(path.parent), "--data", str(scans)])
    assert result.exit_code == 1
    assert f"its weights were trained on 1 of the 3 cases: {items[0]['case']};" in result.output + str(result.exception)


def test_done_cases_are_left_out_and_failed_ones_listed(thigh, tmp_path, capsys):
    bundle, scans = thigh
    out = tmp_path / "out"
    path = run_segmentation(scans, bundle, out)
    first = json.loads(path.read_text())["cases"]
    written = (out / "flipped_seg.nii.gz").stat().st_mtime_ns
    items = json.loads((scans / "datalist.json").read_text())
    broken = scans / items["test_volumes"][1]["image"]
    broken.write_bytes(broken.read_bytes()[:500])
    with pytest.raises(BatchError, match="1 of 1 cases failed"):
        run_segmentation(scans, bundle, out, skip_done=True)
    assert "2 of 3 cases are done already" in capsys.readouterr().out
    cases = json.loads(path.read_text())["cases"]
    assert (out / "flipped_seg.nii.gz").stat().st_mtime_ns == written
    assert [case for case, entry in cases.items() if "failed" in entry] == [items["test_volumes"][1]["case"]]
    assert cases["flipped"] == first["flipped"]
    failed = items["test_volumes"][1]["case"]
    assert f"{failed}.png" in first[failed]["outputs"]
    assert not list(out.glob(f"{failed}[_.]*"))  # none that seems to be of this run
    with pytest.raises(BatchError):  # another setting: everything again
        run_segmentation(scans, bundle, out, {"save_translation": True}, skip_done=True)
    assert (out / "flipped_seg.nii.gz").stat().st_mtime_ns > written


def test_an_interrupted_run_goes_on(thigh, tmp_path, monkeypatch, capsys):
    bundle, scans = thigh
    out, report, reported = tmp_path / "out", segment._report, []

    def interrupt(item, *rest):
        reported.append(item["case"])
        if len(reported) == 2:
            raise KeyboardInterrupt
        return report(item, *rest)

    monkeypatch.setattr(segment, "_report", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_segmentation(scans, bundle, out)
    assert "interrupted: 1 of 3 cases are done; --skip-done goes on" in capsys.readouterr().err
    assert list(json.loads((out / "manifest.json").read_text())["cases"]) == reported[:1]
    monkeypatch.undo()
    path = run_segmentation(scans, bundle, out, skip_done=True)
    assert "1 of 3 cases are done already" in capsys.readouterr().out
    assert len(json.loads(path.read_text())["cases"]) == 3


def test_cases_that_fail_in_the_network_are_listed(thigh, tmp_path, capsys):
    bundle, scans = thigh
    with pytest.raises(BatchError, match="3 of 3 cases failed"):
        run_segmentation(scans, bundle, tmp_path / "out", {"inferer": "$lambda image, network: image.nothing"})
    cases = json.loads((tmp_path / "out" / "manifest.json").read_text())["cases"]
    assert len(cases) == 3
    assert all("nothing" in entry["failed"] for entry in cases.values())
    assert f"0 of 3 cases segmented; see {tmp_path / 'out' / 'manifest.json'}\n" in capsys.readouterr().out
    assert not [*(tmp_path / "out").glob("volumes.*")]


def test_another_spacing_is_another_input(thigh, tmp_path, capsys):
    bundle, scans = thigh
    out = tmp_path / "out"
    for spacing in ("", "2 2 7", "2 2 7"):
        (tmp_path / "cases.csv").write_text(f"case,image,spacing\np,{scans / 'flipped.nii.gz'},{spacing}\n")
        run_segmentation(tmp_path / "cases.csv", bundle, out, skip_done=True, pictures=False)
    told = capsys.readouterr().out
    assert [told.count(f"{k} of 1 cases are done already") for k in (0, 1)] == [2, 1]


def test_warnings_are_shown_and_recorded(thigh, tmp_path, capsys):
    bundle, scans = thigh
    image = nib.load(scans / "flipped.nii.gz")
    voxels = image.get_fdata(dtype=np.float32)
    voxels[0, 0, 0] = np.nan
    nib.save(nib.Nifti1Image(voxels, image.affine), tmp_path / "P1.nii.gz")
    path = run_segmentation(tmp_path / "P1.nii.gz", bundle, tmp_path / "out", {"save_reports": False}, pictures=False)
    message = f"{tmp_path / 'P1.nii.gz'}: 1 NaN voxels at the border, replaced by 0"
    assert f"warning: {message}" in capsys.readouterr().err
    assert message in json.loads(path.read_text())["cases"]["P1"]["warnings"]


def test_the_command_and_what_it_refuses(thigh, tmp_path):
    bundle, scans = thigh
    options = ["--bundle", bundle.name, "--out", str(tmp_path / "o"), "--no-pictures", "--save_reports", "False"]
    done = CliRunner().invoke(app, ["segment", str(scans / "flipped.nii.gz"), *options])
    assert done.exit_code == 0, done.output
    assert not list((tmp_path / "o").glob("*.png"))
    (tmp_path / "o" / "manifest.json").write_text("{")
    with pytest.raises(DataError, match="not a manifest"):
        run_segmentation(scans, bundle, tmp_path / "o")
    copy = tmp_path / "copy"
    shutil.copytree(bundle / "configs", copy / "configs")
    with pytest.raises(DataError, match="no weights"):
        run_segmentation(scans, copy, tmp_path / "p")
    with pytest.raises(ReleaseError, match="no bundle or run folder"):
        bundle_root("no/such/place")


def test_a_wrong_setting_is_refused_in_one_sentence_and_leaves_no_manifest(thigh, tmp_path):
    _, scans = thigh
    options = ["--bundle", "cardiac_ct_mr_segmentation", "--out", str(tmp_path / "out"), "--modality", "us"]
    refused = CliRunner().invoke(app, ["segment", str(scans / "flipped.nii.gz"), *options])
    assert (refused.exit_code, refused.output.strip()) == (
        1,
        'error: modality must be "ct", "mr" or "auto", got \'us\'',
    )
    assert {path.name for path in tmp_path.glob("out/[!.]*")} <= {"runs.json"}
