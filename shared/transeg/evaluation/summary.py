"""From the rows of an evaluation to means, intervals and paired differences, and how they are written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import transeg
from transeg.data.training_cases import TRAINING, USES
from transeg.evaluation.rows import EMPTY, MISSING, Row, write_rows
from transeg.files import EVALUATION, write_text
from transeg.metrics.scores import RULE
from transeg.metrics.statistics import describe

MEAN = "mean of structures"
FEW = 10  # patients
MEASURES = (
    "dice", "hd95_mm", "assd_mm", "avd_mm", "volume_error_ml", "absolute_volume_error_ml", "detected",
    "detection_rate", "false_alarm_rate", "false_alarm_ml",
)  # fmt: skip
SHOWN = {  # title and format
    "dice": ("Dice", ".3f"),
    "hd95_mm": ("HD95, mm", ".1f"),
    "assd_mm": ("ASSD, mm", ".1f"),
    "absolute_volume_error_ml": ("volume error, ml", ".1f"),
    "detection_rate": ("detection", ".0%"),
    "false_alarm_rate": ("false alarms", ".0%"),
}
NOTE = (
    "Means over patients with 95 % bootstrap intervals, from whole masks; the volume error is without its sign. "
    "Detection and false alarms: slices with and without the structure in which something is marked, as a share of all "
    f"such slices of a patient. {RULE}"
)


def summarise(rows: Sequence[Row], method: str) -> dict[str, Any]:
    """Scores of every method, and paired differences of one to the others, by structure.

    A patient's score is the mean over its scans and the runs (seeds) of a method. Of several structures there is also
    the mean, for each scan of those that its reference shows.

    Args:
        rows: see `score_case`.
        method: that is compared with the others.

    Returns:
        By structure "methods" (counts and scores by name of the method) and "differences" (by name of the other).
    """
    structures = list(dict.fromkeys(row["structure"] for row in rows))
    every = [*rows, *_means(rows)] if len(structures) > 1 else rows
    summary = {}
    for structure in (*structures, *([MEAN] if len(structures) > 1 else ())):
        by_method: dict[str, list[Row]] = {}
        for row in every:
            if row["structure"] == structure:
                by_method.setdefault(row["method"], []).append(row)
        summary[structure] = {
            "methods": {name: _method(own, structure != MEAN) for name, own in by_method.items()},
            "differences": {
                name: _differences(by_method[method], own) for name, own in by_method.items() if name != method
            },
        }
    return summary


def _means(rows: Sequence[Row]) -> list[Row]:
    """Means over the structures of each scan."""
    scans: dict[tuple, list[Row]] = {}
    for row in rows:
        scans.setdefault((row["method"], row["run"], row["case"]), []).append(row)
    return [
        own[0] | {"structure": MEAN, "mask": ""} | {name: _mean(row[name] for row in own) for name in MEASURES}
        for own in scans.values()
    ]


def _mean(values: Iterable[float]) -> float:
    """Mean of the values that are not NaN; NaN without any."""
    kept = [value for value in values if not np.isnan(value)]
    return float(np.mean(kept)) if kept else float("nan")


def _by_patient(rows: Iterable[Row], measure: str) -> dict[str, float]:
    values: dict[str, list[float]] = {}
    for row in rows:
        values.setdefault(row["patient"], []).append(row[measure])
    return {patient: _mean(found) for patient, found in values.items()}


def _method(rows: Sequence[Row], count: bool) -> dict[str, Any]:
    runs = sorted({row["run"] for row in rows})
    found: dict[str, Any] = {
        "runs": len(runs),
        "cases": len({row["case"] for row in rows}),
        "patients": len({row["patient"] for row in rows}),
    }
    if count:
        shown = [row for row in rows if row["reference_ml"]]
        found |= {  # masks: of all runs
            "cases_without_structure": len({row["case"] for row in rows if not row["reference_ml"]}),
            "masks_with_false_alarm_there": sum(row["ml"] > 0 for row in rows if not row["reference_ml"]),
            "empty_masks": sum(row["mask"] == EMPTY for row in shown),
            "missing_masks": sum(row["mask"] == MISSING for row in shown),
        }
    scores = {}
    for measure in MEASURES:
        described = describe([*_by_patient(rows, measure).values()])
        if described and len(runs) > 1:
            each = [_mean(_by_patient((r for r in rows if r["run"] == run), measure).values()) for run in runs]
            described |= {"each_run": each, "sd_over_runs": float(np.std(each, ddof=1))}
        scores[measure] = _rounded(described)
    return found | {"scores": scores}


def _differences(rows: Sequence[Row], others: Sequence[Row]) -> dict[str, Any]:
    found = {}
    for measure in MEASURES:
        own, other = _by_patient(rows, measure), _by_patient(others, measure)
        found[measure] = _rounded(describe([own[patient] - other[patient] for patient in own if patient in other]))
    return found


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_rounded(part) for part in value]
    return round(value, 6) if isinstance(value, float) else value


def write_evaluation(
    out: Path, rows: Sequence[Row], summary: Mapping[str, Any], method: str, notes: Sequence[str] = (), **about: Any
) -> str:
    """Write `evaluation.csv` (every row), `evaluation.json` and `evaluation.md`; returns the text of the last one.

    Args:
        out: folder, made if needed.
        rows: see `score_case`; of at least one case.
        summary: of the rows, see `summarise`.
        method: that is compared with the others.
        notes: sentences on what was scored.
        about: what the record says besides.
    """
    few = [f"Of fewer than {FEW} patients, such intervals are too narrow."] if _patients(rows) < FEW else []
    notes = [" ".join([NOTE, *few]), *notes, *_seen(rows)]
    text = "\n\n".join([*(_table(name, found, method) for name, found in summary.items()), *notes]) + "\n"
    content = {"transeg": transeg.__version__, **about, "method": method, "notes": notes, "structures": summary}
    table, record, readable = (out / name for name in EVALUATION)
    write_rows(table, rows)
    write_text(record, json.dumps(content, indent=1) + "\n")
    write_text(readable, text)
    return text


def _patients(rows: Sequence[Row]) -> int:
    return len({row["patient"] for row in rows})


def _seen(rows: Sequence[Row]) -> list[str]:
    """What the scores of cases that the training has seen are worth."""
    told, every = [], len({row["case"] for row in rows})
    for use, text in USES.items():
        cases = sorted({row["case"] for row in rows if row["seen"] == use})
        worth = "these scores say nothing about other scans" if use == TRAINING else "these scores may be too good"
        if cases:
            told.append(f"Weights were {text} {len(cases)} of the {every} cases: {worth}.")
    return told


def _table(structure: str, found: Mapping[str, Any], method: str) -> str:
    """Table of a structure, with a sentence on its counts."""
    several = any(own["runs"] > 1 for own in found["methods"].values())
    shown = {name: how for name, how in SHOWN.items() if any(own["scores"][name] for own in found["methods"].values())}
    titles = [title for title, _ in shown.values()]
    head = ["", "patients", *titles[:1], "median", *(["SD of runs"] if several else []), *titles[1:]]
    lines = [head, ["---"] * len(head)]
    for name, own in found["methods"].items():
        dice = own["scores"]["dice"]
        cells = [_cell(own["scores"][measure], form) for measure, (_, form) in shown.items()]
        spread = [f"{dice['sd_over_runs']:.3f}" if dice and own["runs"] > 1 else ""] if several else []
        median = f"{dice['median']:.3f}" if dice else ""
        lines.append([name, str(own["patients"]), *cells[:1], median, *spread, *cells[1:]])
    for name, own in found["differences"].items():
        cells = [_cell(own[measure], f"+{form}") for measure, (_, form) in shown.items()]
        lines.append([f"{method} - {name}", "", *cells[:1], "", *([""] if several else []), *cells[1:]])
    widths = [max(len(line[k]) for line in lines if line[k] != "---") for k in range(len(head))]
    rows = [
        "| " + " | ".join(_padded(cell, width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in lines
    ]
    return "\n\n".join([f"### {structure}", "\n".join(rows), *_counts(found["methods"][method])])


def _padded(cell: str, width: int) -> str:
    return "-" * max(width, 3) if cell == "---" else cell.ljust(max(width, 3))


def _cell(described: Mapping[str, Any], form: str) -> str:
    if not described:
        return ""
    interval = " to ".join(f"{end:{form}}" for end in described.get("interval", ()))
    return f"{described['mean']:{form}}" + (f" ({interval})" if interval else "")


def _counts(own: Mapping[str, Any]) -> list[str]:
    """What was empty, in a sentence; nothing of a mean over structures."""
    if "empty_masks" not in own:
        return []
    cases, without = own["cases"], own["cases_without_structure"]
    masks = (cases - without) * own["runs"]
    sentences = [
        f"{cases - without} of {cases} scans show the structure; of their {masks} masks {own['empty_masks']} are empty "
        f"and {own['missing_masks']} missing."
    ]
    if without:
        alarms = own["masks_with_false_alarm_there"]
        sentences.append(f"Of the {without * own['runs']} masks of scans without it, {alarms} mark something.")
    return [" ".join(sentences)]
