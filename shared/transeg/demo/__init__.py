"""`transeg demo`: from nothing to a trained bundle, its scores and a picture, by the commands that a user runs."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from transeg.demo.brain import brain_demo
from transeg.demo.cardiac import cardiac_demo
from transeg.demo.pathogan import pathogan_demo
from transeg.demo.thigh import thigh_demo


class Method(StrEnum):
    """What to show."""

    GENSEG = "genseg"
    THIGH = "thigh"
    PATHOGAN = "pathogan"
    CARDIAC = "cardiac"


# folder, patients, epochs
DEFAULTS = {
    Method.GENSEG: ("demo", 30, 12),
    Method.THIGH: ("demo_thigh", 40, 20),
    Method.PATHOGAN: ("demo_pathogan", 40, 9),
    Method.CARDIAC: ("demo_cardiac", 20, 40),
}


def demo(
    method: Annotated[
        Method,
        typer.Argument(
            help="Brain tumours from few labels, thigh muscle from none, tumours from a yes or no a slice, hearts in "
            "CT and MR."
        ),
    ] = Method.GENSEG,
    out: Annotated[
        Path | None, typer.Option(help="Folder for data, weights, scores and the picture; default demo or demo_METHOD.")
    ] = None,
    cases: Annotated[int | None, typer.Option(help="Phantom patients; default 30, 40, 40 and 20 of either.")] = None,
    labelled: Annotated[float, typer.Option(help="genseg: share of the training patients whose labels are used.")] = (
        0.25
    ),
    epochs: Annotated[
        int | None, typer.Option(help="Epochs of 50 updates, cardiac 25; default 12, 20, 9 and 40.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of phantoms, split and training.")] = 0,
) -> None:
    """Make phantoms, train a bundle on them, evaluate it on held-out patients and draw what it sees."""
    folder, patients, length = DEFAULTS[method]
    out = out or Path(folder)
    cases, epochs = patients if cases is None else cases, length if epochs is None else epochs
    if method is Method.GENSEG:
        brain_demo(out, cases, labelled, epochs, seed)
    else:
        {Method.THIGH: thigh_demo, Method.PATHOGAN: pathogan_demo, Method.CARDIAC: cardiac_demo}[method](
            out, cases, epochs, seed
        )
