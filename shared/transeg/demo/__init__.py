"""`transeg demo`: from nothing to a trained bundle, its scores and a picture, by the commands that a user runs."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from transeg.demo.brain import brain_demo
from transeg.demo.pathogan import pathogan_demo
from transeg.demo.thigh import thigh_demo


class Method(StrEnum):
    """What to show."""

    GENSEG = "genseg"
    THIGH = "thigh"
    PATHOGAN = "pathogan"


FOLDERS = {Method.GENSEG: "demo", Method.THIGH: "demo_thigh", Method.PATHOGAN: "demo_pathogan"}


def demo(
    method: Annotated[
        Method,
        typer.Argument(help="Brain tumours from few labels, thigh muscle from none, tumours from a yes or no a slice."),
    ] = Method.GENSEG,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for data, weights, scores and the picture; default demo, demo_thigh, demo_pathogan."),
    ] = None,
    cases: Annotated[int | None, typer.Option(help="Phantom patients; default 30, thigh and pathogan 40.")] = None,
    labelled: Annotated[float, typer.Option(help="genseg: share of the training patients whose labels are used.")] = (
        0.25
    ),
    epochs: Annotated[int | None, typer.Option(help="Epochs of 50 updates; default 12, thigh 20, pathogan 9.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of phantoms, split and training.")] = 0,
) -> None:
    """Make phantoms, train a bundle on them, evaluate it on held-out patients and draw what it sees."""
    out = out or Path(FOLDERS[method])
    if method is Method.THIGH:
        thigh_demo(out, 40 if cases is None else cases, 20 if epochs is None else epochs, seed)
    elif method is Method.PATHOGAN:
        pathogan_demo(out, 40 if cases is None else cases, 9 if epochs is None else epochs, seed)
    else:
        brain_demo(out, 30 if cases is None else cases, labelled, 12 if epochs is None else epochs, seed)
