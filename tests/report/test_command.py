"""`transeg report` on what `transeg segment` wrote, by every bundle, and in a browser."""

import base64
import json
import re
import shutil
import subprocess
import zlib

import nibabel as nib
import numpy as np
import pytest
from transeg.bundle.package import find_bundles
from transeg.bundle.segment import run_segmentation
from transeg.cli import app
from transeg.data.results import remove_results, results_of
from transeg.errors import BatchError, DataError
from transeg.report.command import write_report
from transeg.report.pages import about_case, write_index
from typer.testing import CliRunner

from benchmarks.results import ROOT
from tests.bundles.conftest import read_config
from tests.bundles.test_workflows import GRIDS, write_volumes

BUNDLES = find_bundles(ROOT / "bundles")
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
# what a user does, and what is then on the screen
ACTIONS = """
const wait = setInterval(() => {
  if (document.body.dataset.ready !== "true") return;
  clearInterval(wait);
  const canvas = document.getElementById("axial");
  const sum = () => canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data
    .reduce((total, value, k) => (total * 31 + value) % 1000003, 7);
  const slider = canvas.parentElement.querySelector("input"), seen = [];
  const move = (to) => { slider.value = to; slider.dispatchEvent(new Event("input")); seen.push(sum()); };
  const middle = Math.round(slider.max / 2);
  [middle, middle + 1, middle].forEach(move);
  document.querySelector("#overlays input").click(); seen.push(sum());
  [...document.querySelectorAll("#grounds input")].forEach((box) => { box.click(); seen.push(sum()); });
  const pixel = (x, y) => [...canvas.getContext("2d").getImageData(x, y, 1, 1).data];
  document.title = JSON.stringify({ seen, size: [canvas.width, canvas.height], slices: Number(slider.max) + 1,
    words: document.getElementById("orientation").textContent });
}, 20);
"""


def payload_of(page):
    return json.loads(re.search(r'<script id="payload" type="application/json">(.*?)</script>', page, re.DOTALL)[1])


def voxels_of(payload, layer):
    data = np.frombuffer(zlib.decompress(base64.b64decode(layer["data"])), np.uint8)
    return data.reshape(payload["shape"], order="F")


def segmented(bundle, folder, **settings):
    config = read_config(bundle, "inference.json")
    scans = write_volumes(folder / "scans", len(config["recipe"]["channels"]))
    everything: dict = dict.fromkeys(("save_translation", "save_probability", "save_uncertainty"), True)
    if "modality" in config:  # which one to translate from
        everything["modality"] = "ct"
    run_segmentation(scans, bundle, folder / "out", {**everything, **settings})
    return folder / "out"


@pytest.fixture(scope="module", params=BUNDLES, ids=lambda bundle: bundle.name)
def bundle(request):
    """Each of the bundles."""
    return request.param


@pytest.fixture(scope="module")
def everything(bundle, tmp_path_factory):
    """All that a bundle can write of three scans, with masks that are not empty."""
    own = {"threshold": 0.001} if "threshold" in read_config(bundle, "inference.json") else {}
    return segmented(bundle, tmp_path_factory.mktemp("everything"), **own)


def test_pages_show_what_is_on_disk(bundle, everything, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(everything, out)
    index = write_report(out).read_text()
    assert not re.search(r"(src|href)=[\"']?https?:|@import|fetch\(", index)
    for case in GRIDS:
        assert f'href="{case}_report.html"' in index
        path = out / f"{case}_report.html"
        assert path.stat().st_size < 5e6
        page = path.read_text()
        assert not re.search(r"(src|href)=[\"']?https?:|@import|fetch\(", page)
        payload = payload_of(page)
        kinds = [layer["kind"] for layer in payload["layers"]]
        assert kinds.count("labels") == 1
        assert kinds[0] == "image"
        assert kinds.count("image") == 2  # and the translation
        heats = [layer["name"] for layer in payload["layers"] if layer["kind"] == "probability"]
        assert heats == ["probability", "uncertainty"]
        assert "entropy" in page  # of the case
        mask = nib.as_closest_canonical(nib.load(out / f"{case}_seg.nii.gz"))
        shown = next(layer for layer in payload["layers"] if layer["kind"] == "labels")
        np.testing.assert_array_equal(voxels_of(payload, shown), np.asarray(mask.dataobj))
        np.testing.assert_allclose(payload["spacing"], mask.header.get_zooms(), rtol=1e-3)
        for name in read_config(bundle, "inference.json")["recipe"]["labels"][1:]:
            assert f"</span>{name}</td>" in page
        assert path in results_of(out, case)
    remove_results(out, "flipped")
    assert not (out / "flipped_report.html").exists()


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Masks and translations of three scans."""
    return segmented(ROOT / "bundles" / "thigh_mri_muscle_segmentation", tmp_path_factory.mktemp("thigh"))


@pytest.mark.skipif(not BROWSER, reason="needs Chromium")
def test_a_browser_pages_through_the_planes(bundle, everything, tmp_path):
    write_report(everything)
    page = (everything / "anisotropic_report.html").read_text()
    path = tmp_path / "page.html"
    path.write_text(page.replace("</body>", f"<script>{ACTIONS}</script></body>"))
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--virtual-time-budget=20000",
        f"--user-data-dir={tmp_path}",
    ]
    run = subprocess.run([BROWSER, *options, "--dump-dom", path.as_uri()], capture_output=True, text=True, timeout=120)
    found = json.loads(re.search(r"<title>(.*?)</title>", run.stdout)[1])
    first, after, back, plain, *grounds = found["seen"]
    assert after != first == back != plain
    assert grounds[0] == plain  # the scan
    assert len(set(grounds)) == len(grounds)  # the translation, and in one modality the difference, look different
    payload = payload_of(page)
    assert len(grounds) == 2 + payload["comparable"]
    width, height = (payload["shape"][k] * payload["spacing"][k] for k in (0, 1))
    assert found["size"][0] / found["size"][1] == pytest.approx(width / height, rel=0.02)
    assert found["slices"] == payload["shape"][2]
    assert found["words"] == "Radiological display: the patient's right is on the left."


def test_cases_that_need_a_look_come_first(tmp_path):
    entries = {"a": {}, "b": {}, "c": {"warnings": ["c: odd"]}, "d": {"failed": "d: unreadable"}}
    cases = [about_case(case, entry) for case, entry in entries.items()]
    text = write_index(tmp_path, cases, {"bundle": "thigh"}, {"a": 0.1, "b": 0.3}).read_text()
    assert re.findall(r"<td>([a-d])</td>", text) == ["d", "c", "b", "a"]
    assert re.findall(r"<td class=\"number\">(.*?)</td>", text) == ["", "", "0.30", "0.10"]
    assert "First those with a warning, then the least certain." in text
    assert "certain" not in write_index(tmp_path, cases, {"bundle": "thigh"}, {}).read_text()


def test_the_least_certain_case_comes_first(results):
    table = results / "uncertainty.csv"
    before = table.read_text()
    table.write_text("case,members,entropy\nanisotropic,1,0.2\nflipped,1,0.5\noblique,1,0.31\n")
    try:
        text = write_report(results).read_text()
    finally:
        table.write_text(before)
    found = re.findall(r">(\w+)</a>.*?<td class=\"number\">(0\.\d\d)</td>", text, re.DOTALL)
    assert found == [("flipped", "0.50"), ("oblique", "0.31"), ("anisotropic", "0.20")]


def test_oblique_slices_are_told(results):
    write_report(results)
    angles = {case: payload_of((results / f"{case}_report.html").read_text())["oblique"] for case in GRIDS}
    assert angles["flipped"] == angles["anisotropic"] == 0
    assert angles["oblique"] == 34  # of the second axis, arccos(1.9 / 2.3), the farthest from those of the body


def test_a_scan_that_changed_since_is_not_shown_under_its_mask(tmp_path):
    out = segmented(ROOT / "bundles" / "thigh_mri_muscle_segmentation", tmp_path)
    path = tmp_path / "scans" / "flipped.nii.gz"
    scan = nib.load(path)
    nib.save(nib.Nifti1Image(scan.get_fdata()[:, ::-1], scan.affine), path)
    with pytest.raises(BatchError, match=r"flipped.nii.gz: has changed since it was segmented; segment the case again"):
        write_report(out)
    index = (out / "report.html").read_text()
    assert "no page: " in index
    assert json.loads((out / "volumes.json").read_text())["flipped"].keys() == {"muscle"}
    assert index.count('<td class="number">') == 2 * 3  # its volume and uncertainty are listed
    run_segmentation(tmp_path / "scans", ROOT / "bundles" / "thigh_mri_muscle_segmentation", out)
    assert not list(out.glob("*report.html"))  # of earlier masks


def test_a_case_without_its_files_is_listed_and_the_others_have_pages(results, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(results, out)
    (out / "oblique_translation.nii.gz").unlink()
    with pytest.raises(BatchError, match=r"1 of 3 cases failed.*\n.*oblique.*oblique_translation.nii.gz: missing"):
        write_report(out)
    assert (out / "flipped_report.html").is_file()
    assert "oblique_translation.nii.gz: missing" in (out / "report.html").read_text()


def test_names_and_warnings_are_text(results, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(results, out)
    manifest = json.loads((out / "manifest.json").read_text())
    manifest["cases"]["flipped"]["warnings"] = ["flipped: <script>alert(1)</script>"]
    (out / "manifest.json").write_text(json.dumps(manifest))
    write_report(out)
    for name in ("flipped_report.html", "report.html"):
        text = (out / name).read_text()
        assert "<script>alert" not in text
        assert "&lt;script&gt;alert(1)" in text


def test_the_command_and_a_folder_without_results(results, tmp_path):
    run = CliRunner().invoke(app, ["report", str(results)])
    assert run.exit_code == 0
    assert f"open {results / 'report.html'} in a browser" in run.output
    with pytest.raises(DataError, match=r"no manifest.json with cases; name the folder that `transeg segment` wrote"):
        write_report(tmp_path)
