"""`transeg doctor`: check data before training."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

import transeg
from transeg.doctor.copies import check_copies
from transeg.doctor.findings import LEVELS, Finding, in_order
from transeg.doctor.gaps import check_gaps
from transeg.doctor.images import check_images
from transeg.doctor.labels import check_labels
from transeg.doctor.measure import measure_all
from transeg.doctor.pictures import draw
from transeg.doctor.scans import DataSet, read_data
from transeg.doctor.splits import check_splits, split_sizes
from transeg.files import write_text
from transeg.transforms.reports import save_figure

RECORD = "doctor.json"


def doctor(
    data: Annotated[Path, typer.Argument(help="Prepared data (a folder with datalist.json), or a table cases.csv.")],
    out: Annotated[Path | None, typer.Option(help=f"Folder for {RECORD} and a picture of each finding.")] = None,
    workers: Annotated[int, typer.Option(help="Number of worker processes.")] = 1,
) -> None:
    """Check data before training: leaks, gaps between the domains, broken images, masks and splits.

    Prints one sentence for each finding, the most serious first. Exit status 1 if any is an error; 0 if there are only
    warnings and notes.
    """
    read = read_data(data)
    findings = examine(read, workers)
    for finding in findings:
        typer.echo(f"{finding.level}: {finding.text} [{finding.kind}]")
    counts: Counter[str] = Counter(finding.level for finding in findings)
    sizes = ", ".join(f"{split} {patients} patients ({images})" for split, patients, images in split_sizes(read))
    summary = ", ".join(f"{counts[level]} {level}{'s' * (counts[level] != 1)}" for level in LEVELS)
    typer.echo(f"{data}: {len(read.scans)} scans, {sizes}: {summary}")
    if out is not None:
        write_record(out, read, findings)
    if counts["error"]:
        raise typer.Exit(1)


def examine(data: DataSet, workers: int = 1) -> list[Finding]:
    """Read all of a data set and return what is found, the most serious first."""
    measured = measure_all(data.scans, workers)
    return in_order(
        [
            *check_copies(data, measured),
            *check_images(data, measured),
            *check_labels(data, measured),
            *check_gaps(data, measured),
            *check_splits(data),
        ]
    )


def write_record(out: Path, data: DataSet, findings: Sequence[Finding]) -> Path:
    """Write `doctor.json` and a picture of each finding that one helps with; returns the path of the former."""
    records = []
    for number, finding in enumerate(findings, 1):
        pixels = draw(data, finding)
        picture = {}
        if pixels is not None:
            name = f"{number:02}_{finding.kind}"
            save_figure(out, name, "", np.asarray(pixels))
            picture = {"picture": f"{name}.png"}
        records.append(finding.record() | picture)
    content = {
        "transeg": transeg.__version__,
        "data": str(data.path),
        "scans": len(data.scans),
        "splits": {split: {"patients": patients, "images": images} for split, patients, images in split_sizes(data)},
        "findings": records,
    }
    write_text(out / RECORD, json.dumps(content, indent=1) + "\n")
    return out / RECORD
