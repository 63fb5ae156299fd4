"""Options that several commands share: one name, one help text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from transeg.data.recipe import parse_labels
from transeg.errors import UserError

Data = Annotated[Path, typer.Option(help="Folder of the raw data, searched with its subfolders.")]
Out = Annotated[Path, typer.Option(help="Output folder.")]
Channels = Annotated[
    str, typer.Option(help="Comma-separated channels, any of flair, t1c, t1, t2; always stored in this order.")
]
Patterns = Annotated[
    list[str] | None,
    typer.Option(
        help="File name pattern of a channel, the label, the foreground, or of files to skip, e.g. flair='*Flair*' "
        "(repeatable; a NAME may have several)."
    ),
]
Labels = Annotated[
    list[str] | None,
    typer.Option(
        help="Structure and its values in label files, e.g. tumour=1,2,3; background=4 ignores a value (repeatable)."
    ),
]
Domains = Annotated[list[str] | None, typer.Option(help="Path pattern of a domain, e.g. ct='*CT*' (repeatable).")]
Groups = Annotated[
    list[str] | None,
    typer.Option(help="Path pattern of a group, whose share is kept in each split, e.g. HGG='HGG/*' (repeatable)."),
]
Pixdim = Annotated[float, typer.Option(help="Voxel size in mm (of slices: in-plane).")]
SliceSize = Annotated[tuple[int, int], typer.Option(help="Slice size in voxels: X Y.")]
VolumeSize = Annotated[tuple[int, int, int], typer.Option(help="Volume size in voxels: X Y Z.")]
ZeroBackground = Annotated[
    bool, typer.Option(help="Keep the background at 0 instead of normalising it like the brain.")
]
Validation = Annotated[float, typer.Option(help="Validation patients: fraction (below 1) or number.", min=0)]
Test = Annotated[float, typer.Option(help="Test patients: fraction (below 1) or number.", min=0)]
ValidationCases = Annotated[
    str, typer.Option(help="Comma-separated case names for validation (overrides random selection).")
]
TestCases = Annotated[str, typer.Option(help="Comma-separated case names for testing (overrides random selection).")]
ImageLevel = Annotated[
    bool,
    typer.Option(
        "--image-level", help="Use masks of training and validation only to tell which slices show a structure."
    ),
]
LabelledFraction = Annotated[
    float, typer.Option(help="Fraction of the training cases that keep their label.", min=0, max=1)
]
LabelledCount = Annotated[
    int | None,
    typer.Option(help="Number of training cases that keep their label (overrides the fraction).", min=0),
]
LabelledCases = Annotated[
    str, typer.Option(help="Comma-separated names of the training cases that keep their label (overrides the draw).")
]
Labelled = Annotated[bool, typer.Option(help="Keep all training labels, for a fully supervised reference.")]
Seed = Annotated[int, typer.Option(help="Random seed for the split and label selection.")]
Workers = Annotated[int, typer.Option(help="Number of worker processes.", min=1)]


def names_of(text: str) -> list[str]:
    """Split a comma-separated option."""
    return [name.strip() for name in text.split(",") if name.strip()]


def assign_values(values: Mapping[str, Sequence[int]], labels: Sequence[str] | None) -> dict[str, list[int]]:
    """Values in label files by structure, with those of --labels in their place instead of where they were."""
    chosen = parse_labels(labels or ())
    taken = {value for found in chosen.values() for value in found}
    kept = {name: [value for value in found if value not in taken] for name, found in values.items()}
    return kept | {name: kept.get(name, []) + found for name, found in chosen.items()}


def patterns_of(texts: Sequence[str], option: str = "--pattern") -> dict[str, list[str]]:
    """Parse NAME=PATTERN options into patterns by name.

    Raises:
        UserError: not of this form.
    """
    patterns: dict[str, list[str]] = {}
    for text in texts:
        name, equals, pattern = (part.strip() for part in text.partition("="))
        if not (name and equals and pattern):
            raise UserError(f"{option} {text}: expected NAME=PATTERN, e.g. flair='*Flair*'")
        patterns.setdefault(name, []).append(pattern)
    return patterns


def record_options(command: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Name of a command and the values of its options, as the datalist records them."""
    return {"command": command} | {
        name: str(value) if isinstance(value, Path) else value for name, value in values.items()
    }
