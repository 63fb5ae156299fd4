"""Figures 7 and 8 of Zhang et al. 2018: how much data of which kind the segmenter of MR needs.

`synthetic` (figure 7): all real MR, and a growing share of the CT beyond the first set (S2), whose translations train
too; segmenters on fixed generators (ADA) and joint training (ours). `real` (figure 8): a growing share of real MR, with
the translations of all CT (fixed generators, ADA, and ours) and without; the gap is that of ADA to all real MR.

    python -m data_prep.phantoms heart --out RAW --cases 60 --extra-ct 100
    python -m benchmarks.cardiac_fractions synthetic --raw RAW --work WORK
    python -m benchmarks.cardiac_fractions real --raw RAW --work WORK
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.cardiac_phantoms import Runs, Schedule, volume_grid
from benchmarks.results import write_result
from data_prep.mmwhs import prepare

MODALITY = "mr"
Raw = Annotated[Path, typer.Option(help="Phantoms made by data_prep.phantoms, or MM-WHS.")]
Work = Annotated[Path, typer.Option(help="Folder for prepared volumes, weights, logs and scores.")]
Epochs = Annotated[int | None, typer.Option(help="Default: the bundle's.")]
Held = Annotated[int, typer.Option(help="Patients of each modality.")]

app = typer.Typer(add_completion=False)


def score(raw: Path, work: Path, methods: Sequence[str], epochs: int | None, seeds: int, **options: Any) -> dict:
    """Mean Dice of MR by method, one for each seed, on volumes prepared with options of `data_prep.mmwhs`."""
    share, extra = options["real_fraction"], options.get("extra", 0.0)
    data = work / f"real_{share:g}_extra_{extra:g}"
    if not (data / "datalist.json").is_file():
        prepare(raw, data, fraction_of=MODALITY, **volume_grid(), **options)
    schedule = Schedule.of(epochs)
    runs = [Runs(data, work, seed, schedule) for seed in range(seeds)]
    return {method: [statistics.mean(run.dice(method, MODALITY)["mean"]) for run in runs] for method in methods}


@app.command()
def synthetic(
    raw: Raw,
    work: Work,
    share: Annotated[float, typer.Option(help="Of the real MR.")] = 1.0,
    extra: Annotated[list[float] | None, typer.Option(help="Of the further CT; default 0, 0.25, 0.5, 1.")] = None,
    epochs: Epochs = None,
    seeds: int = 3,
    validation: Held = 4,
    test: Held = 30,
) -> None:
    """Figure 7: Dice of MR over the share of the further CT."""
    split = {"validation": validation, "test": test, "real_fraction": share}
    found = {
        f"{part:g}": score(raw, work, ("ADA", "ours"), epochs, seeds, extra=part, **split)
        for part in extra or (0.0, 0.25, 0.5, 1.0)
    }
    print(json.dumps(found, indent=1))
    print(write_result("cardiac_synthetic", "hearts", list(range(seeds)), {"share_of_real": share, "dice": found}))


@app.command()
def real(
    raw: Raw,
    work: Work,
    share: Annotated[list[float] | None, typer.Option(help="Of the real MR; default 0.14, 0.5, 0.85.")] = None,
    epochs: Epochs = None,
    seeds: int = 3,
    validation: Held = 4,
    test: Held = 30,
) -> None:
    """Figure 8: Dice of MR over the share of real MR, and how much of ADA's gap to all of them ours closes."""
    split = {"validation": validation, "test": test}
    found = {
        f"{part:g}": score(raw, work, ("real only", "ADA", "ours"), epochs, seeds, real_fraction=part, **split)
        for part in share or (0.14, 0.5, 0.85)
    }
    everything = statistics.mean(
        score(raw, work, ("real only",), epochs, seeds, real_fraction=1.0, **split)["real only"]
    )
    gaps = {
        part: (statistics.mean(dices["ours"]) - statistics.mean(dices["ADA"]))
        / (everything - statistics.mean(dices["ADA"]))
        for part, dices in found.items()
    }
    figures = {"dice": found, "all_real": everything, "gap_closed": gaps}
    print(json.dumps(figures, indent=1))
    print(write_result("cardiac_real_share", "hearts", list(range(seeds)), figures))


if __name__ == "__main__":
    app()
