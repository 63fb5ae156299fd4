"""Any data set, described by a table, prepared for any bundle.

The table, `cases.csv`, has one row for each case (`python -m data_prep.table FOLDER` drafts it): files or DICOM series,
a mask or none, image-level labels, domain, patient, split. What is not set by an option is proposed from the data, and
shown; `--dry-run` shows it only. The settings travel with the data as their recipe, see
`transeg.transforms.preprocessing`: training and inference read them from there.

Validation and test patients are drawn from those with a label where there are any, so that scores mean something; all
others are for training. A column `split` overrides the draw.

    python -m data_prep.prepare cases.csv --bundle brain_mri_genseg_segmentation --out OUT
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer
from transeg.bundle.package import bundle_root
from transeg.data.recipe import OF_THE_DATA, bundle_recipe, parse_labels
from transeg.data.table import Case, format_presence, read_table, table_channels
from transeg.errors import UserError
from transeg.method import Method, find_method, resolve
from transeg.transforms.preprocessing import AXES, slice_axis
from transeg.transforms.read import read_volume

from data_prep.cases import choose_labelled, is_known, prepare_cases, run_command
from data_prep.copies import check_copies
from data_prep.domain_volumes import by_domains, prepare_domains
from data_prep.fingerprint import Fingerprint, examine
from data_prep.options import (
    ImageLevel,
    LabelledCases,
    LabelledCount,
    LabelledFraction,
    Labels,
    Out,
    Seed,
    Test,
    Validation,
    Workers,
    names_of,
    record_options,
)
from data_prep.splits import split_labelled

AXIS_NAMES = ("sagittal", "coronal", "axial")  # of slices along R, A, S
MARGIN = 1.05  # around the largest foreground that was looked at
MULTIPLE = 16  # of which networks want image sizes

Table = Annotated[Path, typer.Argument(help="Table of the cases, see data_prep.table.")]
Bundle = Annotated[str, typer.Option(help="Bundle, or run folder, to prepare for.")]
ChannelNames = Annotated[
    str, typer.Option(help="Comma-separated columns of the table, in the order for the network (default: all).")
]
Axis = Annotated[
    Literal["axial", "coronal", "sagittal", "native"] | None,
    typer.Option(
        help="Orientation of the slices (default: that of the thickest voxels); native: of volumes, as in the files."
    ),
]
Voxel = Annotated[
    str,
    typer.Option(
        help="Voxel size in mm: one number, or three (in the plane, across slices), native keeping that of each scan: "
        '"2", "0.8,0.8,native".'
    ),
]
Size = Annotated[str, typer.Option(help='Image size in voxels: "128,128", or "64,64,32" for volumes.')]
Crop = Annotated[
    str,
    typer.Option(
        help='What images are centred on: foreground, centre (of the scan), "x,y,z" in mm; for two domains also heart.'
    ),
]
ForegroundRule = Annotated[
    Literal["zero", "threshold", "mask", "none"] | None,
    typer.Option(help="What separates the foreground: a constant background, a threshold above air, the mask of the "
                 "table's foreground column, or nothing."),
]  # fmt: skip
Normalise = Annotated[
    Literal["std", "percentiles", "window"] | None,
    typer.Option(help="Intensities: mean and deviation over the foreground, percentiles of the scan, or a window."),
]
Window = Annotated[str, typer.Option(help='Intensity window in the units of the files, e.g. "-100,800" for CT.')]


def prepare(
    table: Table,
    bundle: Bundle,
    out: Out,
    channels: ChannelNames = "",
    axis: Axis = None,
    pixdim: Voxel = "",
    size: Size = "",
    crop: Crop = "",
    foreground: ForegroundRule = None,
    normalise: Normalise = None,
    window: Window = "",
    halves: Annotated[bool, typer.Option(help="Cut slices at mid-width, as for brains.")] = False,
    labels: Labels = None,
    validation: Validation = 0.1,
    test: Test = 0.1,
    labelled_fraction: LabelledFraction = 1.0,
    labelled_count: LabelledCount = None,
    labelled_cases: LabelledCases = "",
    image_level: ImageLevel = False,
    seed: Seed = 0,
    workers: Workers = 1,
    dry_run: Annotated[bool, typer.Option(help="Show what would be prepared, and stop.")] = False,
) -> Path | None:
    """Prepare the cases of a table for a bundle.

    Failed cases are listed at the end; all others are processed. Exit status 1 if any failed.
    """
    options = record_options("prepare", locals())
    return prepare_scans(
        read_table(table),
        bundle_root(bundle),
        out,
        channels=names_of(channels),
        settings={
            "axis": axis,
            "pixdim": parse_pixdim(pixdim),
            "image_size": parse_size(size),
            "crop": parse_crop(crop),
            "foreground": foreground,
            "normalise": normalise,
            "window": parse_numbers(window, "--window", (2,)) or None,
            "halves": halves,
            "label_values": parse_labels(labels or ()),
        },
        validation=validation,
        test=test,
        labelled_fraction=labelled_fraction,
        labelled_count=labelled_count,
        labelled_cases=names_of(labelled_cases),
        image_level=image_level,
        seed=seed,
        workers=workers,
        dry_run=dry_run,
        name=table.resolve().parent.name,
        options=options,
    )


def prepare_scans(
    cases: Sequence[Case],
    root: Path,
    out: Path,
    *,
    channels: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    validation: float = 0.1,
    test: float = 0.1,
    labelled_fraction: float = 1.0,
    labelled_count: int | None = None,
    labelled_cases: Sequence[str] = (),
    image_level: bool = False,
    seed: int = 0,
    workers: int = 1,
    dry_run: bool = False,
    name: str,
    options: Mapping[str, Any],
) -> Path | None:
    """Prepare cases for a bundle: what `prepare` does with a table, and presets with what they find.

    Args:
        cases: to prepare.
        root: bundle or run folder.
        out: output folder.
        channels: columns of the table in order; default see `choose_channels`.
        settings: of the recipe, see `propose`; what is missing or None is proposed.
        validation: fraction or number of patients, see `split_labelled`.
        test: likewise.
        labelled_fraction: see `prepare_cases`, as the other options of labels.
        labelled_count: see there.
        labelled_cases: see there.
        image_level: use masks of training and validation only to tell which slices show a structure.
        seed: random seed of the split and of labels that are kept.
        workers: number of processes.
        dry_run: show the recipe and stop.
        name: of the data set.
        options: of the command, for the record.

    Returns:
        Path of the datalist; None for a dry run.

    Raises:
        UserError: a setting or the data do not suit the bundle.
        CasesFailedError: at the end, if any case failed.
    """
    base = bundle_recipe(root)
    method = find_method(base["method"])
    if method.extractor is None:
        raise UserError(f"{root}: the method {base['method']} names no extractor, so no table can be prepared for it")
    names = choose_channels(channels, cases, base)
    chosen = dict(settings or {})
    if "domains" in base:
        check_two_domains(cases, method)
        if labelled_count is not None or labelled_fraction < 1 or labelled_cases or image_level:
            raise UserError("options of labels: with two domains, leave labels out of the table instead")
    else:
        if not method.domain_of_case:
            _check_one_domain(cases, base["method"])
        if chosen.get("axis") == "native":
            raise UserError(f"--axis native: {base['method']} takes slices; choose {', '.join(AXIS_NAMES)}")
    lacking = [case.name for case in cases if not case.foreground]
    if chosen.get("foreground") == "mask" and lacking:
        raise UserError(f"--foreground mask: the table's column foreground is empty for {', '.join(lacking)}")
    check_copies(cases)
    fingerprint = examine(cases, names)
    if "domains" in base and not chosen.get("axis") and fingerprint.stacks:
        chosen["axis"] = "native"
    fingerprint = replace(fingerprint, native=chosen.get("axis") == "native")
    for line in fingerprint.lines():
        print(line)
    if not lacking:
        chosen["foreground"] = chosen.get("foreground") or "mask"
    recipe = propose(base, method, fingerprint, cases=cases, channels=names, **chosen)
    if not method.domain_of_case and "domains" not in recipe:  # else the label is not of the disease
        _check_presence(cases, recipe, fingerprint)
    print("recipe: " + ", ".join(f"{key} {_shown(value)}" for key, value in recipe.items()))
    grouped = by_domains(cases) if "domains" in recipe else cases
    splits = split_labelled(grouped, validation, test, seed, pool=evaluation_pool(grouped, method, fingerprint))
    masked = any(splits[case.name] == "training" and case.name in fingerprint.shown for case in cases)
    if method.without_masks and not masked:
        raise UserError(f"no training case has a label that shows the structure. {method.without_masks}")
    extract = resolve(method.extractor)(recipe)  # which checks the recipe
    if labelled_count or labelled_cases:
        shown = sorted(name for name in fingerprint.shown if splits[name] == "training")
        choose_labelled(shown, len(shown), labelled_fraction, labelled_count, labelled_cases, seed)
    if dry_run:
        return None
    if image_level:
        cases = [case if splits[case.name] == "test" else hide_mask(case, recipe["axis"]) for case in cases]
    about: dict[str, Any] = {"name": name, "description": f"Prepared for {root.name}.", "options": options}
    if "domains" in recipe:
        path = prepare_domains(cases, splits, out, recipe, seed=seed, workers=workers, **about)
    else:
        path = prepare_cases(
            cases,
            splits,
            extract,
            out,
            labelled_fraction=labelled_fraction,
            labelled_count=labelled_count if method.uses_masks else 0,
            labelled_cases=labelled_cases,
            seed=seed,
            workers=workers,
            graded=method.domain_of_case,
            both_domains=True,
            recipe=recipe,
            **about,
        )
    _print_next(root, out)
    return path


def hide_mask(case: Case, axis: str, values: Collection[int] = ()) -> Case:
    """The case with the slices that its mask shows instead of the mask, as an image-level label.

    Args:
        case: with a mask or without.
        axis: of the slices, one of `AXIS_NAMES`.
        values: of the mask that count; none: all above 0.
    """
    if case.label is None:
        return case
    mask = read_volume(case.label, case.spacing)
    along = slice_axis(mask.affine.numpy(), AXES[axis])
    voxels = np.isin(mask[0].numpy(), list(values)) if values else mask[0].numpy() > 0
    shown = np.flatnonzero(voxels.any(axis=tuple({0, 1, 2} - {along})))
    runs = np.split(shown, np.flatnonzero(np.diff(shown) > 1) + 1) if len(shown) else []
    return replace(case, label=None, presence=tuple((int(run[0]), int(run[-1])) for run in runs) or False)


def _print_next(root: Path, out: Path) -> None:
    config, inside = os.path.relpath(root / "configs" / "train.json"), Path("bundles", root.name, "configs").is_dir()
    where = "" if inside else f" --bundle_root {os.path.relpath(root)}"
    run = f"--dataset_dir {out} --run_dir runs/NAME{where}"
    print(f"next: python -m monai.bundle run training --config_file {config} {run}")


def choose_channels(wanted: Sequence[str], cases: Sequence[Case], base: Mapping[str, Any]) -> list[str]:
    """Channels in order: those asked for; else, if the table has all of the bundle's, these; else all of the table.

    Raises:
        UserError: a channel that the table does not have.
    """
    own = {name.lower(): name for name in table_channels(cases)}
    unknown = [name for name in wanted if name.lower() not in own]
    if unknown:
        raise UserError(f"--channels: no column {', '.join(unknown)}; the table has {', '.join(own.values())}")
    if wanted:
        return [own[name.lower()] for name in wanted]
    if set(own) == {name.lower() for name in base["channels"]}:
        return list(base["channels"])
    return list(own.values())


def propose(
    base: Mapping[str, Any],
    method: Method,
    found: Fingerprint,
    *,
    cases: Sequence[Case],
    channels: Sequence[str],
    **chosen: Any,
) -> dict[str, Any]:
    """Recipe for a data set.

    Args:
        base: recipe of the bundle, whose rules are kept where they do not depend on the data.
        method: of the bundle.
        found: what the data are like.
        cases: of the table.
        channels: names in order.
        chosen: settings by key of the recipe; None: proposed.

    Raises:
        UserError: label values that need names, or more structures than the method segments.
    """
    axis = chosen.get("axis") or AXIS_NAMES[found.slice_axis]
    order = [0, 1, 2] if found.native else ["RAS".index(code) for code in AXES[axis]]
    crop = chosen.get("crop") or ("centre" if "domains" in base else "foreground")
    extent = (MARGIN * found.extent if crop == "foreground" else found.size)[order]
    spacing = found.spacing[order]
    thick = not found.mixed and (found.anisotropic or -1 in _three(base["pixdim"]))
    count = len(base["image_size"])
    side: float = method.proposed_size
    if thick and count == 3:  # as many voxels as in a cube of that side
        side = math.sqrt(side**3 / _up(extent[2] / spacing[2], MULTIPLE))
    pixdim = chosen.get("pixdim") or _propose_pixdim(extent, spacing, thick, side)
    sizes = [native if step < 0 else step for step, native in zip(_three(pixdim), spacing, strict=True)]
    if chosen.get("image_size") and len(chosen["image_size"]) != count:
        raise UserError(f"--size: {base['method']} takes images of {count} axes, got {chosen['image_size']}")
    smallest = [2 * MULTIPLE, 2 * MULTIPLE, MULTIPLE]  # in the plane, across slices
    image_size = chosen.get("image_size") or [
        max(smallest[k], _up(extent[k] / sizes[k], 2 * MULTIPLE if chosen.get("halves") and k == 0 else MULTIPLE))
        for k in range(count)
    ]
    label_values = chosen.get("label_values") or _propose_labels(found, base, method)
    _check_values(label_values, found)
    structures = [name for name in label_values if name != "background"]
    if method.structures is not None and len(structures) > method.structures:
        raise UserError(
            f"--labels names {', '.join(structures)}, but {base['method']} segments {method.structures} structure; "
            f"merge them, e.g. --labels {structures[0]}=1,2, and ignore others, e.g. --labels background=3"
        )
    rules = {key: value for key, value in base.items() if key not in OF_THE_DATA}
    recipe = rules | {
        "channels": list(channels),
        "axis": axis,
        "pixdim": pixdim,
        "image_size": list(image_size),
        "crop": crop,
        "labels": ["background", *structures],
        "label_values": {name: list(values) for name, values in label_values.items()},
    }
    if len({case.spacing for case in cases}) == 1 and cases[0].spacing:
        recipe["spacing"] = list(cases[0].spacing)
    if "domains" in base:
        return recipe | {"domains": _propose_domains(cases, channels, chosen.get("window"))}
    window = chosen.get("window")
    if window is None and found.ct and chosen.get("normalise") != "percentiles":
        window = [round(value) for value in found.window]
    recipe |= {
        "foreground": chosen.get("foreground") or ("zero" if found.zero_background else "threshold"),
        "normalise": chosen.get("normalise") or base.get("normalise", "std"),
    }
    recipe |= {"window": window} if window else {}
    recipe |= {"halves": bool(chosen.get("halves"))} if "halves" in base else {}
    recipe |= {"first": 0.0, "last": None} if "first" in base else {}  # the bundle's heights are those of brains
    return recipe


def _propose_pixdim(extent: Any, spacing: Any, thick: bool, pixels: float) -> float | list[float]:
    """Voxel size at which the larger side of an image has at most `pixels` voxels, but none finer than the scans'."""
    fits = max(extent[:2]) / pixels
    plane = max(float(min(spacing[:2])), math.ceil(20 * fits - 1e-6) / 20)
    plane = round(plane, 2)
    return [plane, plane, -1.0] if thick else plane


def check_two_domains(cases: Sequence[Case], method: Method) -> None:
    """Raise UserError unless the cases are of two domains, and some of them labelled."""
    domains = sorted({case.domain for case in cases})
    if len(domains) != 2 or "" in domains:
        named = ", ".join(name or "none" for name in domains)
        raise UserError(
            f"{method.bundle} learns from two domains, such as ct and mr; the column domain of the table has: {named}"
        )
    if not any(case.label for case in cases):
        raise UserError(f"{method.bundle} needs labels of at least one domain; the table has none")


def _check_one_domain(cases: Sequence[Case], method: str) -> None:
    """Raise UserError if scans of several domains would be taken for scans of one."""
    counts = Counter(case.domain or "none" for case in cases)
    if len(counts) > 1:
        listed = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
        raise UserError(
            f"the column domain has {listed}, which {method} would not tell apart; keep the rows of one, or, if they "
            "are alike, empty the column"
        )


def _propose_domains(
    cases: Sequence[Case], channels: Sequence[str], window: Sequence[float] | None
) -> dict[str, dict[str, Any]]:
    """How each domain is scaled, the one with more labels first: CT by a window, others by percentiles."""
    labelled = Counter(case.domain for case in cases if case.label)
    order = sorted({case.domain for case in cases}, key=lambda name: (-labelled[name], name))
    scales: dict[str, dict[str, Any]] = {}
    for name in order:
        found = examine([replace(case, label=None) for case in cases if case.domain == name], channels)
        ct = {"scale": "window", "range": list(window or map(round, found.window)), "fill": -1000}
        scales[name] = ct if found.ct else {"scale": "percentiles", "range": [0.5, 99.5]}
    return scales


def _check_presence(cases: Sequence[Case], recipe: Mapping[str, Any], found: Fingerprint) -> None:
    """Raise UserError if an image-level label denies what the mask shows, or affirms what it does not."""
    values_by_name = recipe["label_values"].items()
    structures = {value for name, values in values_by_name if name != "background" for value in values}
    wrong = []
    for case in cases:
        if case.name not in found.values_of or case.presence is None:
            continue
        shown = found.values_of[case.name] & structures
        given = f"{case.name}: presence is {format_presence(case.presence)}, but its label shows"
        if bool(case.presence) != bool(shown):
            values = f"the values {', '.join(map(str, sorted(shown)))}" if shown else "no structure"
            wrong.append(f"{given} {values}")
        elif shown and isinstance(case.presence, tuple):
            slices = hide_mask(case, recipe["axis"], structures).presence
            assert isinstance(slices, tuple)
            if not _slices(slices) <= _slices(case.presence):
                wrong.append(f"{given} slices {format_presence(slices)} ({recipe['axis']}, counted from 0)")
    if wrong:
        raise UserError("\n  ".join(["correct the table, in either column:", *wrong]))


def _slices(ranges: Sequence[tuple[int, int]]) -> set[int]:
    return {number for first, last in ranges for number in range(first, last + 1)}


def _check_values(label_values: Mapping[str, Sequence[int]], found: Fingerprint) -> None:
    unnamed = sorted(set(found.values) - {value for values in label_values.values() for value in values})
    if unnamed:
        listed = ",".join(map(str, unnamed))
        raise UserError(
            f"--labels: the labels have values without a name: {listed}; name them, or ignore them with --labels "
            f"background={listed}"
        )


def _propose_labels(found: Fingerprint, base: Mapping[str, Any], method: Method) -> dict[str, Sequence[int]]:
    """The values of the bundle, if it tells several structures apart by them; otherwise the only one is the lesion."""
    values = sorted(found.values)
    own: dict[str, Sequence[int]] = base.get("label_values", {})
    if method.structures is None and set(values) <= {value for named in own.values() for value in named}:
        return own
    if len(values) > 1:
        listed = ",".join(map(str, values))
        several = " ".join(f"--labels NAME{k}={value}" for k, value in enumerate(values, 1))
        example = f"--labels lesion={listed}" if method.structures is not None else several
        raise UserError(f"the labels have the values {listed}; name what they are, e.g. {example}")
    return {"lesion": values or [1]}


def _three(pixdim: float | Sequence[float]) -> list[float]:
    return list(pixdim) if isinstance(pixdim, Sequence) else [pixdim] * 3


def _up(voxels: float, multiple: int) -> int:
    return math.ceil(voxels / multiple - 1e-6) * multiple


def evaluation_pool(cases: Sequence[Case], method: Method, found: Fingerprint) -> list[Case]:
    """Cases to draw validation and test patients from: those whose label shows a structure, if there are any.

    Without any label, of those with and those without the disease in proportion. Of the domains hard and
    easy, the hard ones.
    """
    known = [case for case in cases if is_known(case)]
    by_presence = [replace(case, group=f"{case.group} {bool(case.presence)}") for case in known]
    pool = [case for case in known if case.name in found.shown] or by_presence
    if "hard" in {case.domain for case in pool}:
        pool = [case for case in pool if case.domain == "hard" or case.presence] or pool
    return pool


def parse_numbers(text: str, option: str, counts: Sequence[int]) -> list[float]:
    """Numbers separated by commas, spaces or x; empty without.

    Raises:
        UserError: not numbers, or not as many.
    """
    parts = text.replace(",", " ").replace("x", " ").split()
    try:
        values = [float(part) for part in parts]
    except ValueError:
        values = []
    if parts and len(values) not in counts:
        raise UserError(f"{option} {text}: expected {' or '.join(map(str, counts))} numbers, separated by commas")
    return values


def parse_size(text: str) -> list[int] | None:
    """Image size in voxels; None if empty.

    Raises:
        UserError: not two or three integers that networks can take.
    """
    values = parse_numbers(text, "--size", (2, 3))
    if any(not value.is_integer() or value < MULTIPLE for value in values):
        raise UserError(f"--size {text}: integers of at least {MULTIPLE} are needed")
    return [int(value) for value in values] or None


def parse_pixdim(text: str) -> float | list[float] | None:
    """Voxel size: one number, or three of which any may be native (-1); None if empty.

    Raises:
        UserError: not of this form.
    """
    values = parse_numbers(text.lower().replace("native", "-1"), "--pixdim", (1, 3))
    if any(value <= 0 and value != -1 for value in values) or values == [-1]:
        raise UserError(f"--pixdim {text}: voxel sizes are above 0; native only as one of three")
    return None if not values else values[0] if len(values) == 1 else values


def parse_crop(text: str) -> str | list[float] | None:
    """What images are centred on: a name, or a point in mm.

    Raises:
        UserError: neither.
    """
    if text in ("", "foreground", "centre", "heart", "none"):
        return text or None
    return parse_numbers(text, "--crop (foreground, centre, heart, none or x,y,z in mm)", (3,))


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{name}={_listed(part)}" for name, part in value.items())
    return (
        " x ".join("native" if part == -1 else f"{part}" for part in value) if isinstance(value, list) else str(value)
    )


def _listed(value: Any) -> str:
    if isinstance(value, Mapping):  # how a domain is scaled
        return " ".join(_listed(part) for part in value.values())
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


if __name__ == "__main__":
    run_command(prepare)
