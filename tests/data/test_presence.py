"""Slices and patients are scored by whether they show the lesion, without a mask."""

import csv
import json

import pytest
import torch
from ignite.engine import Engine
from monai.data import MetaTensor
from transeg.data.presence import PresenceScoreSaver


def item(case, scores, present, thickness=2.0):
    """Constant slices; the bottom one shows nothing of the patient."""
    depth = len(scores)
    image = torch.zeros(2, 4, 4, depth)
    image[:, 1:3, 1:3, 1:] = 1
    presence = torch.zeros(1, 4, 4, depth)
    presence[0, 0, 0] = torch.tensor(present, dtype=torch.float32)
    volume = MetaTensor(image, torch.diag(torch.tensor([1.0, 1.0, thickness, 1.0])))
    volume.meta["intensity_background"] = torch.zeros(2)
    return {"image": volume, "case": case, "presence": presence, "pred": torch.tensor(scores).expand(1, 4, 4, depth)}


ITEMS = [item("sick", [0.9, 0.2, 0.8], [0, 0, 1]), item("well", [0.9, 0.5, 0.1], [0, 0, 0])]


def scored(folder, items, **options):
    engine = Engine(lambda _, batch: [{"pred": item["pred"]} for item in batch])
    PresenceScoreSaver(folder, **options).attach(engine)
    return engine.run([[item] for item in items]).metrics, json.loads((folder / "presence_summary.json").read_text())


def test_scores_by_hand(tmp_path):
    metrics, summary = scored(tmp_path, ITEMS)
    assert metrics == {"val_presence_auc_slices": 1.0, "val_presence_auc_patients": 1.0}
    assert summary["slices"] == {"present": 1, "absent": 3, "auc": 1.0}
    assert summary["patients"] == {"present": 1, "absent": 1, "auc": 1.0}
    with (tmp_path / "presence.csv").open() as file:
        rows = [(row["case"], int(row["slice"]), row["present"], float(row["score"])) for row in csv.DictReader(file)]
    assert rows == [("sick", 1, "0", 0.2), ("sick", 2, "1", 0.8), ("well", 1, "0", 0.5), ("well", 2, "0", 0.1)]


def test_only_slices_between_two_heights(tmp_path):
    metrics, summary = scored(tmp_path, ITEMS, first=1.0, last=2.0)
    assert summary["slices"] == {"present": 0, "absent": 2, "auc": None}
    assert metrics["val_presence_auc_slices"] != pytest.approx(metrics["val_presence_auc_slices"])  # NaN
