"""`transeg report`: pages of what `transeg segment` wrote."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

from transeg.bundle.segment import MANIFEST, read_manifest
from transeg.errors import BatchError, DataError, UserError, failure_report
from transeg.report.pages import about_case, read_measures, write_case, write_index
from transeg.transforms.members import TABLE


def report(
    results: Annotated[Path, typer.Argument(help="Folder that `transeg segment` wrote (--out).")],
) -> None:
    """Write a page to look at for each segmented case, <case>_report.html, and one of all, report.html.

    Each is one file that any browser opens, without a network: three planes to page through, with whatever the folder
    has of segmentation, probability and translation (--save_probability True, --save_translation True of `transeg
    segment`), volumes, measures, warnings, and the record of what was done.
    """
    print(f"open {write_report(results)} in a browser")


def write_report(results: Path) -> Path:
    """Write the pages of a folder of results; returns that of all cases.

    Raises:
        DataError: not a folder of results.
        BatchError: cases whose files are missing or have changed; all others have their page.
    """
    manifest = read_manifest(results / MANIFEST)
    if not manifest.get("cases"):
        raise DataError(f"{results}: no {MANIFEST} with cases; name the folder that `transeg segment` wrote (--out)")
    measures = read_measures(results)
    cases, failures = [], {}
    for case in tqdm(manifest["cases"], desc="writing pages", unit="case", disable=None, file=sys.stderr):
        try:
            cases.append(write_case(results, case, manifest, measures.get(case, {})))
        except UserError as error:
            failures[case] = str(error)
            cases.append(about_case(case, manifest["cases"][case]) | {"problem": f"no page: {error}"})
    entropies = {case: float(row["entropy"]) for case, of in measures.items() for row in of.get(Path(TABLE).stem, ())}
    path = write_index(results, cases, manifest, entropies)
    if failures:
        raise BatchError(failure_report(failures, len(manifest["cases"])))
    return path
