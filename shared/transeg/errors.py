"""Errors that the user can correct, and the root cause of an error."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence


class UserError(ValueError):
    """Input, option or environment that cannot be used: the message names it, the fault and the remedy.

    Commands print the message without a traceback, see `transeg.error_hook`.
    """


class DataError(UserError):
    """Data or weights that cannot be used."""


class VolumeError(DataError):
    """A volume cannot be used."""


class MixtureError(DataError):
    """An image without three tissues of different intensity."""


class DatalistError(DataError):
    """A datalist cannot be used."""


class TableError(DataError):
    """A table of cases cannot be used; the message lists every fault with its row."""


class StudiesError(DataError):
    """No study to train on."""


class BatchError(UserError):
    """Cases failed during inference; the message lists each with the reason. All others were processed."""


class CasesFailedError(UserError):
    """Cases failed during data preparation; the message lists each with the reason. All others were processed."""


class ConfigError(UserError):
    """A config, or a value that was set in it, cannot be used."""


class RunError(UserError):
    """A training run cannot begin, or would overwrite another one."""


class ReleaseError(UserError):
    """A bundle cannot be packaged."""


class LabelError(UserError):
    """The MONAI Label server cannot be started."""


def root_cause(error: BaseException) -> BaseException:
    """The first error in a chain of causes that was not raised by MONAI, which wraps the errors of configs and
    transforms."""
    while error.__cause__ is not None and _raised_in(error).startswith("monai."):
        error = error.__cause__
    return error


def _raised_in(error: BaseException) -> str:
    frames = list(traceback.walk_tb(error.__traceback__))
    return frames[-1][0].f_globals.get("__name__", "") if frames else ""


def reason(error: BaseException) -> str:
    """The message of an error, with its type unless it is a `UserError`."""
    return str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"


def listed(names: Sequence[str], most: int) -> str:
    """The first few of several names, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def failure_report(failures: Mapping[str, str], cases: int) -> str:
    """What a command says at the end if cases failed.

    Args:
        failures: reason by case, at least one.
        cases: number of all cases.
    """
    rest = "; the remaining cases were processed" if len(failures) < cases else ""
    listed = (f"{case}: {why}" for case, why in sorted(failures.items()))
    return "\n  ".join([f"{len(failures)} of {cases} cases failed{rest}:", *listed])
