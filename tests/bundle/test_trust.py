"""Limits of the trust report, from scans to the config that flags them."""

import json
import shutil

import nibabel as nib
import pytest
from ignite.engine import Engine
from transeg.bundle import trust
from transeg.bundle.trust import TrustCalibration, calibrate_trust
from transeg.errors import UserError
from transeg.metrics.trust import FEWEST

from data_prep.phantoms import thigh_phantom
from tests.bundles.conftest import BUNDLES, CPU, parser_of

BUNDLE = BUNDLES / "thigh_mri_muscle_segmentation"


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """Coarse thighs, each a channel of a file."""
    folder = tmp_path_factory.mktemp("scans")
    items = []
    for k in range(FEWEST):
        phantom = thigh_phantom((k, 0), (60, 32, 8), (6.4, 6.0, 7.0), "severe")
        path = folder / f"{k:02d}.nii.gz"
        nib.save(nib.Nifti1Image(phantom.image[..., None], phantom.affine), path)
        items.append({"image": f"{path}#0", "case": path.name})
    return items


@pytest.fixture
def run(tmp_path):
    """A bundle with weights and no limits."""
    root = shutil.copytree(BUNDLE, tmp_path / "run", ignore=shutil.ignore_patterns("docs"))
    path = root / "configs" / "inference.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"trust": None, "device": CPU}))
    return root


def test_the_scans_of_a_calibration_are_not_flagged_and_a_worse_one_is(run, scans, tmp_path):
    limits = calibrate_trust(run, scans)
    found = json.loads((run / "configs" / "inference.json").read_text())
    assert found["trust"]["scans"] == limits.scans == FEWEST
    assert limits.rate < 0.05
    parser = parser_of(
        run, "inference.json", datalist=tuple(scans[:3]), output_dir=str(tmp_path / "out"), save_mask=False
    )
    parser.get_parsed_content("evaluator").run()
    assert (tmp_path / "out" / "trust.csv").read_text().count("False,No implausible change found.") == 3
    strict = found["trust"] | {"outside": -1.0}
    parser = parser_of(run, "inference.json", datalist=tuple(scans[:1]), output_dir=str(tmp_path / "bad"), trust=strict)
    parser.get_parsed_content("evaluator").run()
    assert (
        "About 4.8% of scans like the 20 that set the limits are flagged without cause."
        in (tmp_path / "bad" / "trust.csv").read_text()
    )


def test_too_few_scans_and_a_bundle_without_reports(run, scans):
    with pytest.raises(UserError, match="19 scans to calibrate on"):
        calibrate_trust(run, scans[:-1])
    with pytest.raises(UserError, match="none of the 20 scans can be segmented"):
        calibrate_trust(run, [{"image": "missing.nii.gz", "case": str(k)} for k in range(FEWEST)])
    with pytest.raises(UserError, match="writes no trust report"):
        calibrate_trust(BUNDLES / "cardiac_ct_mr_segmentation", scans)


def test_at_the_end_of_a_run(tmp_path, caplog, monkeypatch):
    """After the weights are saved, on the scans of training and validation; a failure does not fail the run."""
    caplog.set_level("INFO")
    path = tmp_path / "datalist.json"
    lists = {"training_volumes": [{"image": "a.nii"}] * 2, "validation_volumes": [{"image": "b.nii"}], "training": []}
    path.write_text(json.dumps(lists))
    calls = []
    monkeypatch.setattr(trust, "calibrate_trust", lambda *arguments: calls.append(arguments) or 1 / 0)
    engine = Engine(lambda _, batch: batch)
    TrustCalibration(tmp_path / "run", path, scans=5, rate=0.1).attach(engine)
    engine.run([0])
    [(root, items, scans, rate)] = calls
    assert (root, len(items), scans, rate) == (tmp_path / "run", 3, 5, 0.1)
    assert "The trust report will flag no scan" in caplog.text
