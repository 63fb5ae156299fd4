"""An evaluation of three made-up scans, one of which fails, by `ScoreSaver`; run by torchrun with a folder."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import ignite.distributed as idist
import nibabel as nib
import numpy as np
import torch
from ignite.engine import Engine
from monai.data import MetaTensor
from transeg.evaluation.handler import ScoreSaver

SHAPE, AFFINE = (6, 6, 4), np.diag([1.0, 1.0, 2.0, 1])
RECIPE = {"labels": ["background", "LV", "RV"], "label_values": {"LV": [1], "RV": [2]}}


def scan(name, found, folder):
    """The left half of two slices is LV, the right half of one RV; found are the planes of both."""
    label, pred = np.zeros((2, *SHAPE), np.uint8)
    label[:3, :, 1:3], label[3:, :, 1] = 1, 2
    pred[:3, :, found], pred[3:, :, found] = 1, 2
    nib.save(nib.Nifti1Image(label, AFFINE), folder / f"{name}.nii.gz")
    tensors = {"label": label[None], "pred": np.eye(3, dtype=np.float32)[pred].transpose(3, 0, 1, 2)}  # one-hot
    item = {key: MetaTensor(torch.from_numpy(value), affine=torch.from_numpy(AFFINE)) for key, value in tensors.items()}
    return {**item, "case": name, "patient": name.upper(), "seen": ""}


def main(folder):
    items = [scan("a", [1, 2], folder), scan("b", [1], folder), scan("c", [], folder)]
    listed = [{"case": item["case"], "label": str(folder / f"{item['case']}.nii.gz")} for item in items]
    mine = [item for item in items if item["case"] != "c"][idist.get_rank() :: idist.get_world_size()]
    failures = {"c": "cannot be read"} if idist.get_rank() == 0 else {}

    def step(engine, batch):
        engine.state.output = batch
        return batch

    engine = Engine(step)
    ScoreSaver(folder / "out", SimpleNamespace(items=listed, failures=failures), RECIPE).attach(engine)
    engine.run([[item] for item in mine])
    (folder / f"rank{idist.get_rank()}.json").write_text(json.dumps(engine.state.metrics))


if __name__ == "__main__":
    with idist.Parallel(backend="gloo"):
        main(Path(sys.argv[1]))
