"""`transeg ...`: what MONAI's own command line does not do already."""

from __future__ import annotations

import typer

from transeg.demo import demo

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Translate to segment: MONAI bundles.")
app.command()(demo)


@app.callback()
def main() -> None:
    """Commands beside `python -m monai.bundle`."""


if __name__ == "__main__":
    app()
