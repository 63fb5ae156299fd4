"""`transeg ...`: what MONAI's own command line does not do already."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import transeg
from transeg.bundle.label import label
from transeg.bundle.make import make
from transeg.bundle.package import package
from transeg.bundle.preflight import preflight
from transeg.bundle.segment import segment
from transeg.bundle.temperature import calibrate
from transeg.bundle.trust import trust
from transeg.bundle.verify import verify
from transeg.demo.command import demo
from transeg.doctor.command import doctor
from transeg.error_hook import exit_with_reason
from transeg.evaluation.command import evaluate
from transeg.export.command import export
from transeg.report.command import report


class _Commands(TyperGroup):
    """Print the user's errors as one sentence."""

    def invoke(self, ctx: Any) -> Any:
        with exit_with_reason():
            return super().invoke(ctx)


app = typer.Typer(
    cls=_Commands, no_args_is_help=True, add_completion=False, help="Translate to segment: MONAI bundles."
)
app.command()(calibrate)
app.command()(demo)
app.command()(doctor)
app.command()(evaluate)
app.command()(export)
app.command()(label)
app.command()(make)
app.command()(package)
app.command()(report)
app.command()(trust)
app.command()(verify)
SETTINGS = {"allow_extra_args": True, "ignore_unknown_options": True}  # of the bundle
app.command(context_settings=SETTINGS)(preflight)
app.command(context_settings=SETTINGS)(segment)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"transeg {transeg.__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Commands beside `python -m monai.bundle`."""


if __name__ == "__main__":
    app()
