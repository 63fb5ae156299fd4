"""`transeg demo`: from nothing to a trained bundle, its scores and a picture, by the commands that a user runs."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from operator import attrgetter
from pathlib import Path
from typing import Annotated

import typer

from transeg.method import Method, find_method, method_names, resolve

METHODS: dict[str, Method] = {name: method for name in method_names() if (method := find_method(name)).demo}
Name = StrEnum("Name", {name.upper(): name for name in METHODS})  # type: ignore[misc]  # names are found, not listed


def _listed(attribute: str) -> str:
    read = attrgetter(attribute)
    return ", ".join(f"{name} {read(method.demo)}" for name, method in METHODS.items())


def demo(
    method: Annotated[
        Name, typer.Argument(help="; ".join(f"{name}: {method.summary}" for name, method in METHODS.items()) + ".")
    ],
    out: Annotated[
        Path | None,
        typer.Option(help=f"Folder for data, weights, scores and the picture (default: {_listed('folder')})."),
    ] = None,
    cases: Annotated[
        int | None,
        typer.Option(help=f"Number of phantoms (default: {_listed('full.cases')}; cardiac: of each modality).", min=1),
    ] = None,
    labelled: Annotated[
        float | None, typer.Option(help="Share of the training cases whose masks are used, where any are.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help=f"Number of epochs (default: {_listed('full.epochs')}).", min=1)
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed for phantoms, split and training.")] = 0,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Few small phantoms and a few updates, to see within minutes that all works."),
    ] = False,
) -> None:
    """Make phantoms, train a bundle on them, evaluate it on held-out cases and draw the results."""
    chosen = METHODS[method.value].demo
    assert chosen is not None
    options = {} if labelled is None else {"labelled": labelled}
    if options and not chosen.takes_labelled:
        raise typer.BadParameter(f"{method.value} does not use a share of the masks; omit --labelled")
    scale = chosen.quick if quick else chosen.full
    scale = replace(scale, cases=cases or scale.cases, epochs=epochs or scale.epochs, seed=seed)
    resolve(chosen.run)(out=out or Path(chosen.folder), scale=scale, **options)
