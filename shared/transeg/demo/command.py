"""`transeg demo`: from nothing to a trained bundle, its scores and a picture, by the commands that a user runs."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from transeg.method import Method, find_method, method_names, resolve

METHODS: dict[str, Method] = {name: method for name in method_names() if (method := find_method(name)).demo}
Name = StrEnum("Name", {name.upper(): name for name in METHODS})  # type: ignore[misc]  # names are found, not listed


def _listed(attribute: str) -> str:
    return ", ".join(f"{name} {getattr(method.demo, attribute)}" for name, method in METHODS.items())


def demo(
    method: Annotated[
        Name, typer.Argument(help="; ".join(f"{name}: {method.summary}" for name, method in METHODS.items()) + ".")
    ],
    out: Annotated[
        Path | None,
        typer.Option(help=f"Folder for data, weights, scores and the picture (default: {_listed('folder')})."),
    ] = None,
    cases: Annotated[
        int | None, typer.Option(help=f"Number of phantoms (default: {_listed('cases')}; cardiac: of each modality).")
    ] = None,
    labelled: Annotated[
        float | None, typer.Option(help="Share of the training cases whose masks are used, where any are.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help=f"Number of epochs (default: {_listed('epochs')}).")] = None,
    seed: Annotated[int, typer.Option(help="Random seed for phantoms, split and training.")] = 0,
) -> None:
    """Make phantoms, train a bundle on them, evaluate it on held-out cases and draw the results."""
    chosen = METHODS[method.value].demo
    assert chosen is not None
    options = {} if labelled is None else {"labelled": labelled}
    if options and not chosen.takes_labelled:
        raise typer.BadParameter(f"{method.value} does not use a share of the masks; omit --labelled")
    resolve(chosen.run)(
        out=out or Path(chosen.folder),
        cases=chosen.cases if cases is None else cases,
        epochs=chosen.epochs if epochs is None else epochs,
        seed=seed,
        **options,
    )
