"""Runs `python -m ...` as a user would, in a process of its own that need not import everything again."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

FRESH = multiprocessing.get_context("forkserver")
FRESH.set_forkserver_preload(
    ["ignite.engine", "monai.bundle", "monai.engines", "monai.handlers", "transeg.cli", __name__]
)


def python_m(module: str, *arguments: object, cwd: Path, log: Path) -> str:
    """Output of `python -m MODULE ARGUMENTS` in a folder, also in a file.

    Raises:
        AssertionError: it ended with another status than 0; with the end of its output.
    """
    process = FRESH.Process(target=_run, args=(module, [str(part) for part in arguments], cwd, log))
    process.start()
    process.join()
    text = log.read_text()
    assert process.exitcode == 0, f"python -m {' '.join([module, *map(str, arguments)])}\n{text[-6000:]}"
    return text


def _run(module: str, arguments: Sequence[str], cwd: Path, log: Path) -> None:
    with log.open("w") as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
    os.chdir(cwd)
    sys.path.insert(0, str(cwd))
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except Exception:
        sys.excepthook(*sys.exc_info())  # which the command may have set
        sys.exit(1)
