"""A raw data set of nnU-Net v2 that is a data list of MONAI as well, written whole or not at all."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from transeg.errors import UserError
from transeg.export.sources import Case
from transeg.export.volumes import Names, Volumes, voxel_type
from transeg.files import write_text
from transeg.transforms.outputs import write_nifti

NAME = re.compile(r"Dataset(\d{3})_(\w[\w-]*)")
IMAGES, LABELS, ENDING = "imagesTr", "labelsTr", ".nii.gz"
MONAI = "monai_datalist.json"
SPLITS = "splits_final.json"
FOLDS = 5


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder beside `out` that takes its place on success, and is removed otherwise.

    Raises:
        UserError: `out` is not named as nnU-Net wants it, exists, or cannot be made.
    """
    if not NAME.fullmatch(out.name):
        word = re.sub(r"\W+", "", out.name) or "Name"
        raise UserError(
            f"{out}: nnU-Net wants the name of a data set to be Dataset, three digits, _ and a word; choose another "
            f"--out, such as {out.with_name(f'Dataset501_{word}')}"
        )
    if out.exists():
        raise UserError(f"{out}: exists already; delete it, or choose another --out")
    partial = out.with_name(f".partial_{out.name}")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        yield partial
        partial.rename(out)
    except OSError as error:
        raise UserError(f"{out}: cannot be written ({error.strerror}); choose another --out") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_volumes(folder: Path, name: str, volumes: Volumes, ignore: int) -> None:
    """Write the channels and the mask of a case, with the same affine; doubtful voxels take the value `ignore`."""
    affine = torch.as_tensor(volumes.affine)
    for number, channel in enumerate(volumes.image):
        path = folder / IMAGES / f"{name}_{number:04}{ENDING}"
        write_nifti(path, torch.from_numpy(channel[None]), affine, voxel_type(channel))
    label = volumes.label if volumes.doubtful is None else np.where(volumes.doubtful, ignore, volumes.label)
    write_nifti(folder / LABELS / f"{name}{ENDING}", torch.from_numpy(label[None]), affine, np.uint8)


def write_lists(folder: Path, out: Path, cases: Sequence[Case], names: Names, ignored: bool) -> None:
    """Write `dataset.json`, `splits_final.json` and the data list of MONAI.

    Args:
        folder: that the volumes are in.
        out: its name to be.
        cases: in the data set, at least one.
        names: of channels and labels.
        ignored: whether some voxels are to be ignored.
    """
    found = NAME.fullmatch(out.name)
    assert found
    labels = {name: value for value, name in enumerate(names.labels)}
    labels |= {"ignore": len(labels)} if ignored else {}
    content: dict[str, Any] = {
        "name": found[2],
        "channel_names": {str(number): name for number, name in enumerate(names.channels)},
        "labels": labels,
        "numTraining": len(cases),
        "file_ending": ENDING,
    }
    _write_json(folder / "dataset.json", content)
    folds = fold_of_patients(cases)
    splits = splits_of(cases, folds)
    if splits:
        _write_json(folder / SPLITS, splits)
    items = [
        {
            "image": _one_or_all([f"{IMAGES}/{case.name}_{k:04}{ENDING}" for k in range(len(names.channels))]),
            "label": f"{LABELS}/{case.name}{ENDING}",
            "case": case.name,
            "patient": case.patient,
            "kind": case.kind,
        }
        | ({"fold": folds[case.patient]} if case.patient in folds else {})
        for case in cases
    ]
    about = {"name": found[2], "modality": content["channel_names"], "tensorImageSize": "3D"}
    about |= {"labels": {str(value): name for name, value in labels.items()}, "numTraining": len(cases)}
    _write_json(folder / MONAI, about | {"training": items})


def _one_or_all(files: list[str]) -> str | list[str]:
    return files[0] if len(files) == 1 else files


def _write_json(path: Path, content: Mapping[str, Any] | Sequence[Any]) -> None:
    write_text(path, json.dumps(content, indent=1) + "\n")


def fold_of_patients(cases: Sequence[Case]) -> dict[str, int]:
    """Fold in which the cases of a patient are left for validation: of patients with given masks, if there are several;
    otherwise of all patients. Empty for a single one.
    """
    given = {case.patient for case in cases if case.kind == "labelled"}
    patients = sorted(given if len(given) > 1 else {case.patient for case in cases})
    order = np.random.default_rng(0).permutation(len(patients))
    return {patients[k]: place % FOLDS for place, k in enumerate(order)} if len(patients) > 1 else {}


def splits_of(cases: Sequence[Case], folds: Mapping[str, int]) -> list[dict[str, list[str]]]:
    """Cross-validation as nnU-Net reads it: no patient is on both sides of a fold, whatever was made of its scan.

    Where there are given masks to validate on, predicted ones and synthetic cases are only trained on.
    """
    given = any(case.kind == "labelled" and case.patient in folds for case in cases)
    splits = []
    for fold in sorted({*folds.values()}):
        inside = [case for case in cases if folds.get(case.patient) == fold]
        splits.append(
            {
                "train": [case.name for case in cases if folds.get(case.patient) != fold],
                "val": [case.name for case in inside if case.kind == "labelled" or not given],
            }
        )
    return splits
