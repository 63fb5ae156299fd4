"""Figures 7 and 8 of Zhang et al. 2018: how much data of each kind the MR segmenter needs.

`synthetic` (figure 7): all real MR, and a growing fraction of the additional CT (S2), whose translations are used for
training; segmenters with fixed generators (ADA) and joint training (ours). `real` (figure 8): a growing fraction of
real MR, with the translations of all CT (ADA, ours) and without; the gap is from ADA to training on all real MR.

    python -m data_prep.phantoms heart --out RAW --cases 60 --extra-ct 100
    python -m benchmarks.cardiac_fractions synthetic --raw RAW --work WORK
    python -m benchmarks.cardiac_fractions real --raw RAW --work WORK
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from benchmarks.cardiac_phantoms import Runs, Schedule, volume_grid
from benchmarks.results import write_result
from data_prep.mmwhs import prepare

MODALITY: Final = "mr"
Raw = Annotated[Path, typer.Option(help="Phantoms from data_prep.phantoms, or MM-WHS.")]
Work = Annotated[Path, typer.Option(help="Folder for prepared volumes, weights, logs and scores.")]
Epochs = Annotated[int | None, typer.Option(help="Number of epochs; default as in the bundle.")]
Held = Annotated[int, typer.Option(help="Number of patients per modality.")]
Seeds = Annotated[int, typer.Option(help="Number of random seeds.")]

app = typer.Typer(add_completion=False)


def score(raw: Path, work: Path, methods: Sequence[str], epochs: int | None, seeds: int, **options: Any) -> dict:
    """Mean Dice on MR per seed, by method, on volumes prepared with options of `data_prep.mmwhs`."""
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
    share: Annotated[float, typer.Option(help="Fraction of the real MR.")] = 1.0,
    extra: Annotated[
        list[float] | None, typer.Option(help="Fractions of the additional CT (repeatable); default 0, 0.25, 0.5, 1.")
    ] = None,
    epochs: Epochs = None,
    seeds: Seeds = 3,
    validation: Held = 4,
    test: Held = 30,
) -> None:
    """Figure 7: Dice on MR against the fraction of additional CT."""
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
    share: Annotated[
        list[float] | None, typer.Option(help="Fractions of the real MR (repeatable); default 0.14, 0.5, 0.85.")
    ] = None,
    epochs: Epochs = None,
    seeds: Seeds = 3,
    validation: Held = 4,
    test: Held = 30,
) -> None:
    """Figure 8: Dice on MR against the fraction of real MR, and the part of ADA's gap that ours closes."""
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
