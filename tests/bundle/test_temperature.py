"""The temperature of a run, from scans with masks to the probabilities on disk."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest
import torch
from ignite.engine import Engine
from transeg.bundle import temperature
from transeg.bundle.temperature import TemperatureCalibration, calibrate_temperature, labelled_scans, probabilities_of
from transeg.cli import app
from transeg.errors import UserError
from typer.testing import CliRunner

from tests.bundles.conftest import BUNDLES, CPU, parser_of

BUNDLE = BUNDLES / "brain_mri_genseg_segmentation"
RECIPE = {
    "method": "genseg",
    "channels": ["flair"],
    "image_size": [32, 32],
    "pixdim": [2.0, 2.0, -1],
    "foreground": "threshold",
    "labels": ["background", "lesion"],
    "label_values": {"lesion": [1]},
}
BRIGHT = slice(4, 12)


class Sure(torch.nn.Module):
    """Logits of 4 where a scan is bright, -4 elsewhere."""

    def forward(self, image):
        return 8 * (image > 0.2).float() - 4


@pytest.fixture
def run(tmp_path):
    root = shutil.copytree(BUNDLE, tmp_path / "run", ignore=shutil.ignore_patterns("docs", "models"))
    path = root / "configs" / "inference.json"
    changes = {"recipe": RECIPE, "network_def": {"_target_": f"{__name__}.Sure"}, "handlers": [], "device": CPU}
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return root


@pytest.fixture
def scans(tmp_path):
    """Prepared data: bodies of 20 x 20 voxels in air, a bright square of 8 x 8, of which 3 / 4 are a lesion."""
    rng, lists = np.random.default_rng(0), {"validation_volumes": [], "training_volumes": []}
    for k in range(3):
        volume, lesion = np.zeros((32, 32, 4)), np.zeros((32, 32, 4), np.uint8)
        volume[2:22, 2:22] = rng.normal(100, 2, (20, 20, 4))
        volume[BRIGHT, BRIGHT] = rng.normal(200, 2, (8, 8, 4))
        lesion[BRIGHT, 4:10] = 3
        for name, data in {"scan": volume.astype(np.float32), "label": lesion}.items():
            nib.save(nib.Nifti1Image(data, np.diag([2.0, 2.0, 5.0, 1])), tmp_path / f"{name}{k}.nii.gz")
        item = {"case": f"scan{k}", "image": [f"scan{k}.nii.gz"], "label": f"label{k}.nii.gz"}
        lists["validation_volumes" if k < 2 else "training_volumes"].append(item)
    lists["validation_volumes"].append({"case": "unlabelled", "image": ["scan0.nii.gz"]})
    recipe = RECIPE | {"label_values": {"lesion": [3]}}  # of these data
    (tmp_path / "datalist.json").write_text(json.dumps({"recipe": recipe, **lists}))
    return tmp_path


def test_voxels_are_those_of_the_foreground_of_validation_scans_with_masks(run, scans):
    items, recipe = labelled_scans(run, scans)
    assert [item["case"] for item in items] == ["scan0", "scan1"]
    probabilities, labels = probabilities_of(run, items, recipe)
    assert [len(label) for label in labels] == [20 * 20 * 4] * 2  # and no air
    assert [int(label.sum()) for label in labels] == [8 * 6 * 4] * 2
    assert sorted(probabilities[0].unique().tolist()) == pytest.approx(
        torch.sigmoid(torch.tensor([-4.0, 4.0])).tolist()
    )


def test_the_command_sets_a_temperature_by_which_probabilities_are_frequencies(run, scans, tmp_path):
    done = CliRunner().invoke(app, ["calibrate", str(run), "--data", str(scans)])
    assert done.exit_code == 0, done.output
    assert "by 2 scans: expected calibration error was 0.0" in done.output
    found = json.loads((run / "configs" / "inference.json").read_text())["temperature"]
    # 64 of 400 voxels are bright, of which 48 are a lesion, and none elsewhere
    likelihood = [
        48 * np.log(p) + 16 * np.log(1 - p) + 336 * np.log(p)
        for p in (1 / (1 + np.exp(-4 / t)) for t in (found, 0.98 * found, 1.02 * found))
    ]
    assert likelihood[0] == max(likelihood)
    masks = {}
    for name, settings in {"set": {}, "one": {"temperature": 1.0}}.items():
        options = {"dataset_dir": str(scans / "scan2.nii.gz"), "output_dir": str(tmp_path / name), **settings}
        parser_of(run, "inference.json", save_probability=True, **options).get_parsed_content("evaluator").run()
        probability = nib.load(tmp_path / name / "scan2_prob.nii.gz").get_fdata()
        assert probability.max() == pytest.approx(1 / (1 + np.exp(-4 / (found if name == "set" else 1))), abs=1e-4)
        masks[name] = np.asarray(nib.load(tmp_path / name / "scan2_seg.nii.gz").dataobj)
    assert masks["one"].any()
    np.testing.assert_array_equal(masks["set"], masks["one"])


def test_without_scans(run):
    with pytest.raises(UserError, match="no scan with a mask"):
        calibrate_temperature(run, [], RECIPE)


def test_at_the_end_of_a_run(run, scans, tmp_path, caplog, monkeypatch):
    """After the weights are saved; a failure is told, and does not fail the run."""
    caplog.set_level("INFO")
    for datalist in (scans / "datalist.json", tmp_path / "none" / "datalist.json"):
        engine = Engine(lambda _, batch: batch)
        TemperatureCalibration(run, datalist).attach(engine)
        engine.run([0])
    assert "Probabilities calibrated: temperature " in caplog.text
    assert "to calibrate them: transeg calibrate" in caplog.text
    assert temperature.KEY in json.loads((run / "configs" / "inference.json").read_text())
