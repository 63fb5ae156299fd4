"""The end of a command that fails: what went wrong, and not MONAI's "Failed to evaluate ..." around it.

MONAI wraps every error of a config's parts, so the message that names the file and what to do would stand in the
middle of a long traceback. Under ``python -m monai.bundle`` it is said again as the last line, of which MONAI Label
shows twenty.
"""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from types import TracebackType

_COMMAND = ("monai", "bundle", "__main__.py")


def root_cause(error: BaseException) -> BaseException:
    """The first error in a chain of causes that was not raised by MONAI."""
    while error.__cause__ is not None and _raised_in(error).startswith("monai."):
        error = error.__cause__
    return error


def _raised_in(error: BaseException) -> str:
    frames = list(traceback.walk_tb(error.__traceback__))
    return frames[-1][0].f_globals.get("__name__", "") if frames else ""


def _hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    sys.__excepthook__(kind, error, trace)
    cause = root_cause(error)
    if cause is not error:
        print("", *traceback.format_exception_only(cause), sep="\n", end="", file=sys.stderr)


def install() -> None:
    """End failing commands so, if this is MONAI's command line and nobody else sees to its errors."""
    if Path(*sys.argv[:1]).parts[-3:] == _COMMAND and sys.excepthook is sys.__excepthook__:
        sys.excepthook = _hook
