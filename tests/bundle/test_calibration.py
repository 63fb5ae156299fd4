"""Threshold and least area of a run, from scans of which is known which slices show the lesion to the mask on disk."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest
from ignite.engine import Engine
from transeg.bundle.trust import OperatingPointChoice, choose_operating_point
from transeg.errors import UserError

from tests.bundles.conftest import BUNDLES, CPU, parser_of

BUNDLE = BUNDLES / "brain_mri_pathogan_segmentation"
RECIPE = {
    "method": "pathogan",
    "channels": ["flair"],
    "image_size": [32, 32],
    "pixdim": [2.0, 2.0, -1],
    "foreground": "none",
    "labels": ["background", "lesion"],
    "label_values": {"lesion": [1]},
}
SHOWN = (2, 5)  # slices with the lesion
AXES = [0, 2, 1]  # scans are stored as coronal slices


@pytest.fixture
def run(tmp_path):
    """A run whose network gives the image back, so that probability grows with intensity."""
    root = shutil.copytree(BUNDLE, tmp_path / "run", ignore=shutil.ignore_patterns("docs", "models"))
    path = root / "configs" / "inference.json"
    network = {"recipe": RECIPE, "network_def": {"_target_": "torch.nn.Identity"}, "handlers": []}
    path.write_text(json.dumps(json.loads(path.read_text()) | network | {"device": CPU, "save_reports": False}))
    return root


@pytest.fixture
def scans(tmp_path):
    """Items and their labels: a wide lesion, and small spots as bright as it everywhere."""
    rng, items, labels = np.random.default_rng(0), [], []
    for k in range(4):
        volume, lesion = rng.normal(100, 2, (32, 32, 8)), np.zeros((32, 32, 8), np.uint8)
        volume[4:6, 4:6] = 160
        lesion[20:28, 20:28, SHOWN[0] : SHOWN[1] + 1] = k % 2
        volume[lesion > 0] = 160
        path, affine = tmp_path / f"scan{k}.nii.gz", np.diag([2.0, 2.0, 5.0, 1])[:, [*AXES, 3]]
        nib.save(nib.Nifti1Image(volume.astype(np.float32).transpose(AXES), affine), path)
        nib.save(nib.Nifti1Image(lesion.transpose(AXES), affine), tmp_path / f"label{k}.nii.gz")
        items.append({"case": f"scan{k}", "image": [str(path)], "presence": [SHOWN] if k % 2 else False})
        labels.append(str(tmp_path / f"label{k}.nii.gz"))
    return items, labels


def test_the_mask_on_disk_shows_the_lesion_and_no_spot_elsewhere(run, scans, tmp_path):
    items, _ = scans
    point = choose_operating_point(run, items, [])
    assert point.accuracy == 1
    assert 4 * 4 <= point.least_area < 68 * 4
    for name, settings in {"chosen": {}, "all": {"least_area": 0.0}}.items():
        options = {"datalist": tuple(items), "output_dir": str(tmp_path / name), **settings}
        parser_of(run, "inference.json", **options).get_parsed_content("evaluator").run()
    for k in range(4):
        chosen, everything = (
            np.asarray(nib.load(tmp_path / name / f"scan{k}_seg.nii.gz").dataobj) > 0 for name in ("chosen", "all")
        )
        shown = np.isin(np.arange(8), range(SHOWN[0], SHOWN[1] + 1)) & bool(k % 2)
        assert everything.any(axis=(0, 2)).all(), "the spots"
        assert np.array_equal(chosen.any(axis=(0, 2)), shown)
        assert np.array_equal(chosen[:, shown], everything[:, shown])


def test_labels_tell_the_slices_too_and_training_scans_serve_where_validation_has_one_kind(run, scans):
    items, labels = scans
    known = choose_operating_point(run, items, [])
    labelled = [
        {key: value for key, value in item.items() if key != "presence"} | {"label": label}
        for item, label in zip(items, labels, strict=True)
    ]
    assert choose_operating_point(run, labelled[:1], labelled) == known
    nothing = [{"case": "scan0", "image": items[0]["image"]}]
    with pytest.raises(UserError, match="no scans of which is known"):
        choose_operating_point(run, nothing, items[:1])


def test_at_the_end_of_a_run(run, scans, tmp_path, caplog):
    """A failure is told, and does not fail the run."""
    caplog.set_level("INFO")
    items, _ = scans
    path = tmp_path / "datalist.json"
    for lists in ({"validation_volumes": items}, {"training_volumes": items[:1]}):
        path.write_text(json.dumps(lists))
        engine = Engine(lambda _, batch: batch)
        OperatingPointChoice(run, path).attach(engine)
        engine.run([0])
    assert "chosen by image-level labels: mean of sensitivity and specificity over slices 1.000" in caplog.text
    assert "are not chosen by image-level labels (no scans of which is known" in caplog.text
