"""Which fields of an objective's result are translations, for those who look at these and not at the losses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Way(NamedTuple):
    """Fields of an objective's result that belong to a translation (N, C, *S); each may be None in it."""

    source: str  # its input
    domain: str  # images of the domain that it is translated to
    back: str  # the translation, translated back


def translations_of(objective: object) -> Mapping[str, Way]:
    """Field with a translation to the fields that belong to it; none of an objective that does not tell."""
    return getattr(objective, "translations", {})
