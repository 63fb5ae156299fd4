"""Cardiac CT and MR of different patients: volumes around the heart with the five regions of the paper.

Source: Zhang, Yang, Zheng 2018, section 5.1; the rules of the crop are those of `cardiac_preprocessing`
(transeg.methods.cardiac.preprocessing). The
two modalities are split apart, half of the patients for testing. S1: as many volumes of one modality as of the other
(drawn from the larger one). S2: the volumes that S1 leaves out train as well, --extra 1, or a share of them; the test
sets stay those of S1. --real-fraction 0.14 --fraction-of mr keeps 14 % of the real training volumes of MR; the others
go to `held_back_mr`, to see what as many real ones would have given. Smaller shares of a seed are parts of larger ones.

Layout: MM-WHS as published, ct_train/ct_train_1001_image.nii.gz with _label.nii.gz, mr_train likewise, in any folders;
each file a patient of its own. Files without a label are left out, unless --unlabelled: then they are cropped where
`find_heart` finds the heart, and listed as `unlabelled_ct` and `unlabelled_mr`.

A volume of the paper's size takes 3.2 MB on disk (the 40 of MM-WHS 0.13 GB), one of 42 x 42 x 33 at 4 mm 0.2 MB.

    python -m data_prep.mmwhs --data MMWHS --out OUT
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer
from transeg.data.datalist import write_datalist
from transeg.data.slices import CaseSlices
from transeg.errors import UserError
from transeg.methods.cardiac.preprocessing import HEART_CLASSES
from transeg.methods.cardiac.volumes import CardiacVolumes

from data_prep.cases import Case, Kept, raise_failed, run_command, unique_names, write_cases
from data_prep.splits import split_patients

MODALITIES = ("ct", "mr")
ROLES = ("training", "held_back", "validation", "test", "unlabelled")


def find_cases(folder: Path) -> list[Case]:
    """Find the scans, their labels and modality.

    Args:
        folder: searched with its subfolders for files named ct_..._image.nii.gz and mr_..._image.nii.gz.

    Returns:
        Cases named like their file without "_image", with the modality as their group.

    Raises:
        FileNotFoundError: a modality without a scan.
        ValueError: two cases with the same name.
    """
    cases = []
    for path in sorted(folder.rglob("*_image.nii*")):
        name, modality = path.name.partition("_image.nii")[0], path.name.partition("_")[0].lower()
        if modality in MODALITIES:
            label = path.with_name(path.name.replace("_image.nii", "_label.nii"))
            cases.append(Case(name, (path,), label if label.is_file() else None, patient=name, group=modality))
    for modality in MODALITIES:
        if not any(case.group == modality for case in cases):
            raise FileNotFoundError(
                f"{folder}: no file {modality}_..._image.nii.gz in it; correct --data or name the files as MM-WHS does"
            )
    unique_names(case.name for case in cases)
    return cases


def choose_roles(
    cases: Sequence[Case],
    validation: float,
    test: float,
    real_fraction: Mapping[str, float],
    extra: float,
    seed: int,
) -> dict[str, str]:
    """Decide what each scan with a label is for.

    Args:
        cases: all of them, of both modalities.
        validation: share (below 1) or number of the patients of S1, of each modality.
        test: likewise.
        real_fraction: by modality, share of the training volumes of S1 that is kept, at least one; the others are
            "held_back".
        extra: share of the volumes that S1 leaves out, to be trained on.
        seed: of all draws.

    Returns:
        Role by name of the case; cases that are not needed have none.

    Raises:
        ValueError: a share outside its range, no label of a modality, or nobody left for training.
    """
    for share in real_fraction.values():
        if not 0 < share <= 1:
            raise UserError(f"--real-fraction {share:g} is no share; choose one above 0 up to 1")
    if not 0 <= extra <= 1:
        raise UserError(f"--extra {extra:g} is no share; choose one from 0 to 1")
    labelled = {m: [case for case in cases if case.group == m and case.label] for m in MODALITIES}
    if not all(labelled.values()):
        raise UserError("a modality has no file _label.nii.gz, so nothing can be split; correct --data")
    count = min(len(found) for found in labelled.values())
    roles: dict[str, str] = {}
    for stream, (modality, found) in enumerate(labelled.items()):
        drawn = np.random.default_rng((seed, 3, stream)).permutation(len(found)).tolist()
        first = [found[i] for i in sorted(drawn[:count])]
        splits = split_patients(first, validation, test, seed)
        training = [name for name, split in splits.items() if split == "training"]
        order = np.random.default_rng((seed, 4, stream)).permutation(training).tolist()
        kept = max(1, round(real_fraction.get(modality, 1.0) * len(order)))
        rest = [found[i].name for i in drawn[count:]]
        roles |= splits | dict.fromkeys(order[kept:], "held_back")
        roles |= dict.fromkeys(rest[: round(extra * len(rest))], "training")
    return roles


class _Crop:
    """Makes the volume of a case of either modality; can be sent to another process."""

    def __init__(self, pixdim: float, size: Sequence[int]) -> None:
        self.cuts = {modality: CardiacVolumes(modality, pixdim, size) for modality in MODALITIES}

    def __call__(self, case: Case) -> CaseSlices:
        item = {"image": str(case.images[0])} | ({"label": str(case.label)} if case.label else {})
        return self.cuts[case.group](item)


def _lists(cases: Sequence[Case], roles: Mapping[str, str], kept: Mapping[str, Kept], out: Path) -> dict[str, list]:
    """Lists by role and modality of the prepared volumes, and with "_volumes" of the files that they come from."""
    lists: dict[str, list[dict[str, Any]]] = {f"{role}_{m}": [] for role in ROLES for m in MODALITIES}
    volumes: dict[str, list[dict[str, Any]]] = {f"{key}_volumes": [] for key in lists}
    for case in (case for case in cases if case.name in kept):
        key = f"{roles[case.name]}_{case.group}"
        label = {"label": f"labels/{case.name}.npy"} if case.label else {}
        lists[key] += [item | label for item in kept[case.name].presence]
        volumes[f"{key}_volumes"].append(case.volumes(out, labelled=True) | {"modality": case.group})
    return lists | volumes


def _print_summary(lists: Mapping[str, Sequence], unused: Sequence[str]) -> None:
    print(f"{'':12}{'CT':>6}{'MR':>6}")
    for role in ROLES:
        print(f"{role:12}" + "".join(f"{len(lists[f'{role}_{modality}']):6}" for modality in MODALITIES))
    if unused:
        print(f"left out: {len(unused)} (beyond S1, or without a label; see --extra and --unlabelled)")


def prepare(
    data: Annotated[Path, typer.Option(help="Folder of the scans, searched with its subfolders.")],
    out: Annotated[Path, typer.Option(help="Folder to write to.")],
    pixdim: Annotated[float, typer.Option(help="Voxel size in mm.")] = 1.5,
    size: Annotated[tuple[int, int, int], typer.Option(help="Voxels along X, Y, Z.")] = (112, 112, 86),
    validation: Annotated[float, typer.Option(help="Share (below 1) or number of the patients.")] = 0.1,
    test: Annotated[float, typer.Option(help="Share (below 1) or number of the patients.")] = 0.5,
    real_fraction: Annotated[float, typer.Option(help="Share of the real training volumes that is kept.")] = 1.0,
    fraction_of: Annotated[Literal["ct", "mr", "both"], typer.Option(help="Of which modality.")] = "both",
    extra: Annotated[float, typer.Option(help="Share of the volumes that S1 leaves out to train on (S2: 1).")] = 0.0,
    unlabelled: Annotated[bool, typer.Option(help="Prepare the scans without a label as well.")] = False,
    seed: Annotated[int, typer.Option(help="Of the split and the draws.")] = 0,
    workers: Annotated[int, typer.Option(help="Processes.")] = 1,
) -> Path:
    """Make volumes around the heart from CT and MR scans.

    Bad cases are listed at the end and the others are done; the exit status is then 1.
    """
    options = {name: str(value) if isinstance(value, Path) else value for name, value in locals().items()}
    found = find_cases(data)
    reduced = MODALITIES if fraction_of == "both" else (fraction_of,)
    roles = choose_roles(found, validation, test, dict.fromkeys(reduced, real_fraction), extra, seed)
    if unlabelled:
        roles |= dict.fromkeys((case.name for case in found if not case.label), "unlabelled")
    cases = [case for case in found if case.name in roles]
    out.mkdir(parents=True, exist_ok=True)
    path = out / "datalist.json"
    path.unlink(missing_ok=True)  # until the end the folder is not a whole data set
    kept, failed = write_cases(cases, _Crop(pixdim, size), out, workers)
    lists = _lists(cases, roles, kept, out)
    write_datalist(
        path,
        lists,
        name="Heart volumes",
        description="Segment chambers and myocardium; CT and MR of different patients, cropped at the heart.",
        modality=("CT or MR",),
        labels=HEART_CLASSES,
        preparation={
            "options": {"command": "mmwhs", **options},
            "seed": seed,
            "kept": {key: len(items) for key, items in lists.items()},
            "roles": roles,
            "failed": failed,
        },
        dimensions=3,
    )
    _print_summary(lists, [case.name for case in found if case.name not in roles])
    print(f"wrote {path}")
    raise_failed(failed, len(cases))
    if not (lists["training_ct"] and lists["training_mr"]):
        raise UserError("no training volume of a modality; take more volumes or lower the shares of the other sets")
    return path


if __name__ == "__main__":
    run_command(prepare)
