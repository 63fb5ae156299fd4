"""What the check of data found: sentences with what they are about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from transeg import errors

LEVELS = ("error", "warning", "note")  # the most serious first
NAMED = 5  # cases in a sentence; the record has all

Level = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class View:
    """A slice to draw: the scan by its number in the data, its slice (None: the one with most of the mask), its channel
    (None: the one that pictures show).
    """

    scan: int
    unit: int | None = None
    channel: int | None = None


@dataclass(frozen=True)
class Finding:
    """One fault or remark.

    Attributes:
        level: error: a training run would fail, or learn or measure something false; warning: likely to spoil it; note:
            worth knowing.
        kind: such as "patient_leak"; stable, for programs.
        text: one sentence that names what, the fault and the remedy.
        cases: all that it is about.
        numbers: what it rests on.
        views: rows of slices to draw.
    """

    level: Level
    kind: str
    text: str
    cases: tuple[str, ...] = ()
    numbers: dict[str, Any] = field(default_factory=dict)
    views: tuple[tuple[View, ...], ...] = ()

    def record(self) -> dict[str, Any]:
        """As written to a file."""
        return {
            "level": self.level,
            "kind": self.kind,
            "text": self.text,
            "cases": [*self.cases],
            "numbers": self.numbers,
        }


def in_order(findings: Sequence[Finding]) -> list[Finding]:
    """The most serious first; of one level, in the order in which they were found."""
    return sorted(findings, key=lambda finding: LEVELS.index(finding.level))


def listed(names: Sequence[str]) -> str:
    """A few names, and how many more there are."""
    return errors.listed(list(dict.fromkeys(names)), NAMED)
