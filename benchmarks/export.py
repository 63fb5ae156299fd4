"""What `transeg export` hands to nnU-Net, judged by nnU-Net's own check of a data set's integrity.

Small phantoms go through each bundle with its released weights: scans with predicted masks beside given ones (GenSeg),
samples of pathologies in healthy brains beside given masks (PathoGAN), muscle in scans and in their translations
(thigh), and CT translated to MR beside MR with given masks (heart). On TCGA-LGG, what probability of a predicted mask
marks its errors.

    python -m venv NNUNET && NNUNET/bin/pip install nnunetv2
    python -m benchmarks.export SLICES WORK --nnunet NNUNET/bin/python
"""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import nibabel as nib
import numpy as np
import torch
import typer
from monai.bundle import create_workflow
from transeg.bundle.segment import run_segmentation
from transeg.data.datalist import read_datalist
from transeg.export.command import RECORD, run_export
from transeg.metrics.calibration import tempered

from benchmarks.lgg import GENSEG, PATHOGAN, Slices, Test, Validation, Work, prepare, read_reference
from benchmarks.results import ROOT, read_result, write_result
from data_prep import brats, mmwhs
from data_prep.phantoms import __main__ as phantoms

THIGH = ROOT / "bundles" / "thigh_mri_muscle_segmentation"
HEART = ROOT / "bundles" / "cardiac_ct_mr_segmentation"
CHECK = """
import sys
from importlib.metadata import version
from nnunetv2.experiment_planning.verify_dataset_integrity import verify_dataset_integrity
verify_dataset_integrity(sys.argv[1], 1)
print(version("nnunetv2"))
"""
CONFIDENCES = (0.6, 0.7, 0.8, 0.9, 0.95, 0.99)


def brain_masks(work: Path) -> Path:
    """GenSeg: scans with a predicted mask, and those of the others that are given."""
    raw = _brains(work)
    options: dict[str, Any] = {"channels": "t1,flair,t1c", "pixdim": 4.0, "size": (64, 64), "min_brain": 0.1}
    brats.prepare(raw, work / "prepared", validation=1, test=1, labelled_count=2, **options)
    run_segmentation(raw, GENSEG, work / "masks", {"save_probability": True}, pictures=False)
    return run_export([work / "prepared", work / "masks"], work / "Dataset501_Brain", keep_warned=True, keep_empty=True)


def brain_samples(work: Path) -> Path:
    """PathoGAN: samples in brains without a tumour, and the masks that are given."""
    raw = _brains(work)
    _synthesise(raw / "healthy", work / "samples")
    return run_export([work / "prepared", work / "samples"], work / "Dataset502_Samples")


def _brains(work: Path) -> Path:
    raw = work / "brains"
    if not raw.is_dir():
        phantoms.brain(raw, cases=8, shape="60,60,39", spacing="4", tumour_free=0.5)
    return raw


def _synthesise(scans: Path, out: Path) -> None:
    files = [str(PATHOGAN / "configs" / name) for name in ("inference.json", "synthesise.json")]
    places = {"bundle_root": str(PATHOGAN), "dataset_dir": str(scans), "output_dir": str(out)}
    workflow = create_workflow(
        workflow_type="infer", config_file=files, logging_file=False, run_id="inferring", **places
    )
    workflow.run()
    workflow.finalize()


def thigh_masks(work: Path) -> Path:
    """Thigh: scans with a predicted mask."""
    phantoms.thigh(work / "legs", cases=4, shape="96,48,8", spacing="4,4,7", grades="severe")
    settings = {"save_translation": True, "save_probability": True}
    run_segmentation(work / "legs", THIGH, work / "leg_masks", settings, pictures=False)
    return run_export([work / "leg_masks"], work / "Dataset503_Muscle", keep_warned=True)


def thigh_translations(work: Path) -> Path:
    """Thigh: translations with the mask of their scan."""
    return run_export([work / "leg_masks"], work / "Dataset504_Easy", translated=True, keep_warned=True)


def heart_translations(work: Path) -> Path:
    """Heart: MR with given masks, and CT translated to MR with the masks that CT has."""
    phantoms.heart(work / "hearts", cases=4, shape="48,48,40", spacing="4")
    mmwhs.prepare(work / "hearts", work / "hearts_prepared", pixdim=5.0, size=(32, 32, 24), validation=1, test=1)
    items = read_datalist(work / "hearts_prepared" / "datalist.json", "training_ct_volumes")
    (work / "ct").mkdir()
    for item in items:
        (work / "ct" / f"{item['case']}.nii.gz").symlink_to(Path(item["image"]).resolve())
    settings = {"modality": "ct", "save_translation": True, "save_probability": True}
    run_segmentation(work / "ct", HEART, work / "as_mr", settings, pictures=False)
    sources = [work / "hearts_prepared", work / "as_mr"]
    return run_export(sources, work / "Dataset505_Heart", translated=True, domain="mr", keep_warned=True)


HANDOFFS: dict[str, Callable[[Path], Path]] = {
    "GenSeg: given and predicted masks": brain_masks,
    "PathoGAN: given masks and samples": brain_samples,
    "thigh: predicted masks": thigh_masks,
    "thigh: translations": thigh_translations,
    "heart: MR, and CT as MR": heart_translations,
}


def check(data_set: Path, python: Path) -> tuple[bool, str]:
    """Whether nnU-Net finds nothing wrong with a data set, and what it says last: its version, or what is wrong."""
    places = dict.fromkeys(("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"), str(data_set.parent))
    unaltered = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [str(python), "-c", CHECK, str(data_set)]
    done = subprocess.run(command, env=unaltered | places, capture_output=True, text=True, check=False)
    told = done.stdout.strip().splitlines() or [""]
    faults = [line for line in told if line.startswith(("Error", "Warning", "WARNING"))]
    passed = done.returncode == 0 and not faults
    return passed, told[-1] if passed else (faults or done.stderr.strip().splitlines() or [""])[-1]


def described(data_set: Path) -> dict[str, Any]:
    """What a data set holds."""
    content, record = (json.loads((data_set / name).read_text()) for name in ("dataset.json", RECORD))
    return {
        "cases": dict(Counter(case["kind"] for case in record["cases"].values())),
        "channels": [*content["channel_names"].values()],
        "labels": [*content["labels"]],
        "left_out": {part["why"]: len(part["cases"]) for part in record["left_out"]},
        "variety": record["variety"],
    }


def confidence(data: Path, work: Path) -> dict[str, Any]:
    """Errors of the masks of GenSeg on validation patients, by the probability below which voxels are ignored."""
    settings = {"save_probability": True, "split": "validation_volumes", "device": "cpu"}
    run_segmentation(data, GENSEG, work / "validation", settings, pictures=False)
    items = read_datalist(data / "datalist.json", "validation_volumes")
    parts: list[list[np.ndarray]] = [[], [], []]
    for item in items:
        files = (work / "validation" / f"{item['case']}_{name}.nii.gz" for name in ("prob", "seg"))
        volumes = [*(np.asarray(nib.Nifti1Image.from_filename(file).dataobj) for file in files), read_reference(item)]
        for part, volume in zip(parts, volumes, strict=True):
            part.append(volume.ravel())
    prob, mask, reference = (np.concatenate(part) for part in parts)
    calibrated = float(read_result("uncertainty")["figures"]["TCGA-LGG"]["temperature"])
    figures: dict[str, Any] = {"patients": len(items)}
    for temperature in (1.0, calibrated):
        inside = tempered(torch.from_numpy(prob.astype(np.float32))[None], temperature)[0].numpy()
        own = np.where(mask > 0, inside, 1 - inside)
        figures[f"temperature {temperature:g}"] = {
            str(limit): _ignored(own < limit, (mask > 0) != reference, mask > 0) for limit in CONFIDENCES
        }
    return figures


def _ignored(ignored: np.ndarray, wrong: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    shares = {
        "ignored, of the volume of the masks": ignored.sum() / mask.sum(),
        "of the wrong voxels": wrong[ignored].sum() / wrong.sum(),
        "wrong among the ignored": wrong[ignored].mean(),
    }
    return {name: round(float(share), 3) for name, share in shares.items()}


def main(
    slices: Slices,
    work: Work,
    nnunet: Annotated[Path, typer.Option(help="Python of an environment with nnunetv2.")],
    validation: Validation = 8,
    test: Test = 16,
) -> None:
    """Export, check and write the result."""
    handoffs = {}
    for name, make in HANDOFFS.items():
        data_set = make(work)
        passed, told = check(data_set, nnunet)
        handoffs[name] = {"passes nnU-Net's check": passed, "told": told, **described(data_set)}
        print(json.dumps({name: handoffs[name]}))
    data = prepare(slices, work / "lgg", GENSEG, validation, test, "--halves")
    figures = {"handoffs": handoffs, "confidence": confidence(data, work)}
    print(json.dumps(figures["confidence"], indent=1))
    print(write_result("export", "phantoms of the four bundles; TCGA-LGG", [0], figures))


if __name__ == "__main__":
    typer.run(main)
