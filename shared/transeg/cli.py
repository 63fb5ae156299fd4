"""`transeg ...`: what MONAI's own command line does not do already."""

from __future__ import annotations

import typer

from transeg.bundle.label import label
from transeg.bundle.make import make
from transeg.bundle.package import package
from transeg.bundle.preflight import preflight
from transeg.bundle.verify import verify
from transeg.demo.command import demo

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Translate to segment: MONAI bundles.")
app.command()(demo)
app.command()(label)
app.command()(make)
app.command()(package)
app.command()(verify)
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(preflight)


@app.callback()
def main() -> None:
    """Commands beside `python -m monai.bundle`."""


if __name__ == "__main__":
    app()
