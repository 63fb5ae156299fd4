"""How a command ends that fails: the last lines on the console are the reason.

MONAI wraps every error of a config ("Failed to evaluate ..."), which buries the message that names the file and the
remedy in a long traceback; MONAI Label shows only the last twenty lines.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from transeg.errors import UserError, root_cause

_COMMANDS = (("monai", "bundle", "__main__.py"), ("interfaces", "utils", "app.py"))  # MONAI's, MONAI Label's


def install() -> None:
    """Set an excepthook that ends `python -m monai.bundle` and MONAI Label's training with the reason.

    A `UserError` is printed as ``error: <message>``, and log records of it lose their traceback; so does an interrupt.
    Any other error keeps its traceback; its root cause follows.
    """
    if Path(*sys.argv[:1]).parts[-3:] in _COMMANDS and sys.excepthook is sys.__excepthook__:
        sys.excepthook = _hook
        make = logging.getLogRecordFactory()
        logging.setLogRecordFactory(lambda *args, **kwargs: _without_traceback(make(*args, **kwargs)))


def _hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    cause = root_cause(error)
    if isinstance(cause, UserError):
        print(f"error: {cause}", file=sys.stderr)
        return
    if isinstance(error, KeyboardInterrupt):
        print(
            "interrupted; --resume True goes on with a training run from its last complete epoch, if there is one",
            file=sys.stderr,
        )
        return
    sys.__excepthook__(kind, error, trace)
    if cause is not error:
        print("", *traceback.format_exception_only(cause), sep="\n", end="", file=sys.stderr)


def _without_traceback(record: logging.LogRecord) -> logging.LogRecord:
    """Drop the traceback of a `UserError` or an interrupt, which MONAI's `StatsHandler` logs."""
    error = record.exc_info[1] if record.exc_info else None
    if error is not None and isinstance(root_cause(error), UserError | KeyboardInterrupt):
        record.exc_info = None
    return record


@contextmanager
def exit_with_reason() -> Iterator[None]:
    """End a command with ``error: <message>`` and status 1 on a `UserError` or an OSError."""
    try:
        yield
    except Exception as error:
        cause = root_cause(error)
        if not isinstance(cause, UserError | OSError):
            raise
        sys.exit(f"error: {cause}")
