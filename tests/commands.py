"""Runs `python -m ...` as a user would, in a process of its own that need not import everything again."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

OURS = ("transeg", "data_prep")
FRESH = multiprocessing.get_context("forkserver")
FRESH.set_forkserver_preload(
    ["ignite.engine", "monai.bundle", "monai.engines", "monai.handlers", "transeg.cli", __name__]
)


def python_m(module: str, *arguments: object, cwd: Path, log: Path, checkout: Path | None = None) -> str:
    """Output of `python -m MODULE ARGUMENTS` in a folder, also in a file.

    Args:
        module: to run.
        arguments: of it.
        cwd: the folder.
        log: the file.
        checkout: another checkout, whose packages it uses.

    Raises:
        AssertionError: it ended with another status than 0; with the end of its output.
    """
    process = start(module, *arguments, cwd=cwd, log=log, checkout=checkout)
    process.join()
    text = log.read_text()
    assert process.exitcode == 0, f"python -m {' '.join([module, *map(str, arguments)])}\n{text[-6000:]}"
    return text


def start(
    module: str,
    *arguments: object,
    cwd: Path,
    log: Path,
    checkout: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> BaseProcess:
    """Start `python -m MODULE ARGUMENTS` as `python_m` does, with further variables of the environment."""
    options = (module, [str(part) for part in arguments], cwd, log, checkout, dict(environment or {}))
    process = FRESH.Process(target=_run, args=options)
    process.start()
    return process


def _run(
    module: str, arguments: Sequence[str], cwd: Path, log: Path, checkout: Path | None, environment: dict[str, str]
) -> None:
    with log.open("w") as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
    os.chdir(cwd)
    os.environ |= environment
    if checkout is not None:
        paths = [str(checkout / "shared"), str(checkout)]
        sys.path[:0] = paths
        os.environ["PYTHONPATH"] = os.pathsep.join(paths)  # of the processes that it starts
        for name in [name for name in sys.modules if name.partition(".")[0] in OURS]:
            del sys.modules[name]
    sys.path.insert(0, str(cwd))
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except Exception:
        sys.excepthook(*sys.exc_info())  # which the command may have set
        sys.exit(1)
