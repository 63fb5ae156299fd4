"""Every error that the user can correct is of one family; the root cause is found below MONAI's wrappers."""

import inspect
import pickle

import pytest
from transeg import errors
from transeg.errors import CasesFailedError, UserError, VolumeError, failure_report, listed, reason, root_cause

KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__]


@pytest.mark.parametrize("kind", KINDS)
def test_all_are_user_errors_that_travel_between_processes(kind):
    assert issubclass(kind, UserError)
    assert issubclass(kind, ValueError)
    copy = pickle.loads(pickle.dumps(kind("a: missing")))
    assert type(copy) is kind
    assert str(copy) == "a: missing"


def fail_as_monai_does():
    try:
        try:
            raise OSError("low")
        except OSError as error:
            raise ValueError("ours") from error
    except ValueError as error:
        exec("raise RuntimeError('wrapped') from error", {"__name__": "monai.bundle.x", "error": error})


def test_only_the_wrappers_of_monai_are_looked_through():
    with pytest.raises(RuntimeError, match="wrapped") as caught:
        fail_as_monai_does()
    assert str(root_cause(caught.value)) == "ours"
    assert str(root_cause(caught.value.__cause__)) == "ours"
    assert str(root_cause(KeyError("never raised"))) == "'never raised'"


def test_reasons():
    assert reason(VolumeError("a.nii: missing")) == "a.nii: missing"
    assert reason(CasesFailedError("1 of 2")) == "1 of 2"
    assert reason(RuntimeError("out of memory")) == "RuntimeError: out of memory"


def test_the_report_of_failures_tells_of_other_cases_only_if_there_are_any():
    failures = {"b": "dark", "a": "empty"}
    assert failure_report(failures, 2) == "2 of 2 cases failed:\n  a: empty\n  b: dark"
    assert failure_report(failures, 3).startswith("2 of 3 cases failed; the remaining cases were processed:\n")


def test_of_many_names_the_first_are_listed():
    assert listed(["a", "b"], 2) == "a, b"
    assert listed(["a", "b", "c", "d"], 2) == "a, b and 2 more"
