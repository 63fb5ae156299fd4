"""Print the notes of a release: what CHANGELOG.md says about the version of a tag.

python .github/scripts/release_notes.py v0.1.0
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

CHANGELOG = Path(__file__).resolve().parents[2] / "CHANGELOG.md"


def release_notes(changelog: str, tag: str) -> str:
    """Section of a changelog under "## X.Y.Z" (a date may follow), each item on one line.

    GitHub shows every line break in the notes of a release, so wrapped items are joined.

    Raises:
        ValueError: the tag is not of the form vX.Y.Z, or the changelog says nothing about that version.
    """
    if not re.fullmatch(r"v\d+\.\d+\.\d+", tag):
        raise ValueError(f"{tag}: not of the form v1.2.3")
    for section in re.split(r"^## ", changelog, flags=re.MULTILINE)[1:]:
        heading, _, body = section.partition("\n")
        if heading.split()[:1] == [tag[1:]] and body.strip():
            return re.sub(r"\n +(?=[^ *-])", " ", body.strip()) + "\n"
    raise ValueError(f'{tag}: the changelog has no section "## {tag[1:]}", or nothing in it; say there what changed')


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: release_notes.py vX.Y.Z")
    try:
        print(release_notes(CHANGELOG.read_text(encoding="utf-8"), sys.argv[1]), end="")
    except ValueError as error:
        sys.exit(str(error))
