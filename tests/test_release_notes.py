import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import transeg

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / ".github" / "scripts" / "release_notes.py"
release_notes = runpy.run_path(str(SCRIPT))["release_notes"]
CHANGELOG = """# Changelog

## 0.10.0 (2027-01-31)
- A new bundle, whose line
  is wrapped.
  - A detail.

### Fixed
- A fault.

## 0.2.0

## 0.1.0
- The first.
"""


def run(*arguments):
    command = [sys.executable, str(SCRIPT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_notes_are_the_section_of_the_version_with_its_items_unwrapped():
    expected = "- A new bundle, whose line is wrapped.\n  - A detail.\n\n### Fixed\n- A fault.\n"
    assert release_notes(CHANGELOG, "v0.10.0") == expected
    assert release_notes(CHANGELOG, "v0.1.0") == "- The first.\n"


@pytest.mark.parametrize("tag", ["v0.3.0", "v0.1.00", "v0.2.0"], ids=["missing", "longer", "empty"])
def test_a_version_that_the_changelog_says_nothing_about_is_an_error(tag):
    with pytest.raises(ValueError, match=f'no section "## {re.escape(tag[1:])}"'):
        release_notes(CHANGELOG, tag)


@pytest.mark.parametrize("tag", ["0.1.0", "v0.1", "v0.1.0rc1", "v0.1.0\n"])
def test_other_tags_are_refused(tag):
    with pytest.raises(ValueError, match="not of the form"):
        release_notes(CHANGELOG, tag)


def test_the_present_version_can_be_released():
    done = run(f"v{transeg.__version__}")
    assert done.returncode == 0, done.stderr
    assert done.stdout == release_notes((ROOT / "CHANGELOG.md").read_text(), f"v{transeg.__version__}")
    assert f"\nversion: {transeg.__version__}\n" in (ROOT / "CITATION.cff").read_text()


def test_an_error_ends_the_release():
    for arguments, message in ((["v99.0.0"], "v99.0.0: the changelog"), ([], "usage")):
        done = run(*arguments)
        assert done.returncode == 1
        assert done.stdout == ""
        assert done.stderr.startswith(message)
