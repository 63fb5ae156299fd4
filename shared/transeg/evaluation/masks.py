"""Folders of masks to evaluate: what `transeg segment` wrote, or masks of other programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transeg.bundle.segment import MANIFEST, read_manifest
from transeg.data.recipe import Recipe
from transeg.errors import UserError
from transeg.evaluation.rows import EMPTY_MASK, MEAN_SHAPE
from transeg.references import VOLUMES


@dataclass(frozen=True)
class MaskFolder:
    """A folder of masks, `<case>_seg.nii.gz` or, without a manifest, also `<case>.nii.gz`."""

    path: Path
    manifest: Mapping[str, Any] = field(default_factory=dict)

    def mask_of(self, case: str) -> Path | None:
        """The mask of a case, if there is one."""
        names = (f"{case}_seg", case) if not self.manifest else (f"{case}_seg",)
        places = (self.path / f"{name}{suffix}" for name in names for suffix in VOLUMES)
        return next((path for path in places if path.is_file()), None)

    def seen(self, cases: Sequence[str]) -> dict[str, str]:
        """How the training of the weights used cases, by those that it did."""
        entries = self.manifest.get("cases", {})
        return {case: entries[case]["seen"] for case in cases if entries.get(case, {}).get("seen")}

    def spacing(self, case: str) -> Sequence[float] | None:
        """Voxel size in mm that a case of slices, whose files hold none, was segmented with, if known."""
        return self.manifest.get("cases", {}).get(case, {}).get("spacing")

    @property
    def knows_training_cases(self) -> bool:
        """Whether the weights tell what they were trained on."""
        return self.manifest.get("training_cases") is not None

    @property
    def recipe(self) -> Recipe | None:
        """That of the weights, if known."""
        return self.manifest.get("made_with", {}).get("recipe")


@dataclass(frozen=True)
class Method:
    """Masks of one method: a folder of each run, such as those of several seeds."""

    name: str
    runs: tuple[MaskFolder, ...]


def read_methods(texts: Sequence[str]) -> list[Method]:
    """Parse `[NAME=]FOLDER[,FOLDER...]` of each method; its name is that of the first folder by default.

    Raises:
        UserError: no such folder, or a name given twice.
        DataError: a manifest that cannot be read.
    """
    methods = [_method(text) for text in texts]
    names = [method.name for method in methods] + [EMPTY_MASK, MEAN_SHAPE]
    double = sorted({name for name in names if names.count(name) > 1})
    if double:
        raise UserError(f"several methods are named {', '.join(double)}; name them: NAME=FOLDER")
    return methods


def _method(text: str) -> Method:
    name, equals, listed = ("", "", text) if Path(text).is_dir() else text.partition("=")
    if not equals:
        listed = text
    paths = [Path(listed)] if Path(listed).is_dir() else [Path(part) for part in listed.split(",") if part]
    for path in paths:
        if not path.is_dir():
            raise UserError(f"{path}: no such folder; name folders of masks: FOLDER, NAME=FOLDER or FOLDER,FOLDER")
    if not paths:
        raise UserError(f"{text}: names no folder of masks")
    name = name if equals else paths[0].resolve().name
    return Method(name, tuple(MaskFolder(path, read_manifest(path / MANIFEST)) for path in paths))
