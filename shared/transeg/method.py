"""What tools may ask a method: each folder of `transeg.methods` says it in its `method.py`, as METHOD."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from transeg import methods


@dataclass(frozen=True)
class Scale:
    """How large a demonstration is.

    Attributes:
        cases: number of phantoms.
        epochs: number of epochs.
        batches: of an epoch; None: as the bundle has it.
        phantoms: further options of `data_prep.phantoms`.
        seed: random seed of phantoms, split and training.
    """

    cases: int
    epochs: int
    seed: int = 0
    batches: int | None = None
    phantoms: tuple[str, ...] = ()

    def training(self, batches: int | None = None) -> tuple[object, ...]:
        """Options of a training run, with epochs of `batches` unless the scale says another number."""
        length = self.batches or batches
        return ("--epochs", self.epochs, "--seed", self.seed, *(("--batches_per_epoch", length) if length else ()))

    def raw(self) -> tuple[object, ...]:
        """Options of `data_prep.phantoms`."""
        return ("--cases", self.cases, "--seed", self.seed, *self.phantoms)

    def record(self) -> dict[str, Any]:
        """What the summary says."""
        return {"epochs": self.epochs, "cases": self.cases, "seed": self.seed}


@dataclass(frozen=True)
class Demo:
    """The demonstration of a method on phantoms.

    Attributes:
        run: dotted name of the function, called with `out`, a `Scale`, and perhaps `labelled`.
        folder: default folder.
        full: its size.
        quick: its size with `--quick`.
        takes_labelled: whether `run` takes the share of the training cases whose labels are used.
    """

    run: str
    folder: str
    full: Scale
    quick: Scale
    takes_labelled: bool = False


@dataclass(frozen=True)
class Method:
    """A method as tools see it; what it is made of is named, so that nothing heavy is imported to know it.

    Attributes:
        bundle: name of its bundle.
        summary: one line for a user.
        lists: what a training run reads of a datalist: list for training to list for validation, or None where the
            validation has none of its own; a name with {domain} stands for one list of each domain of a recipe.
        optional: those of these lists that may be missing or empty.
        extractor: dotted name of what makes slices or volumes of a case by a recipe: `extractor(recipe)(item)`;
            None: tables cannot be prepared for it.
        uses_masks: whether training lists hold masks; otherwise only those of validation and test do.
        without_masks: what to do if no training case has a mask, which its training needs; None: it needs none, or not
            of every data set.
        domain_of_case: whether a case as a whole is of one domain, rather than each of its slices.
        keeps_structures: whether its translation shows the structures where the scan has them, so that a mask of the
            scan is one of the translation.
        structures: how many structures it segments at most; None: any number.
        proposed_size: longest side in voxels that preparation proposes for an image.
        phantoms: command of `data_prep.phantoms` that makes suitable cases.
        prepare: preset of `data_prep` for them, with its options.
        demo: the demonstration.
    """

    bundle: str
    summary: str
    lists: Mapping[str, str | None]
    extractor: str | None = None
    uses_masks: bool = True
    without_masks: str | None = None
    domain_of_case: bool = False
    keeps_structures: bool = False
    structures: int | None = 1
    proposed_size: int = 128
    phantoms: str | None = None
    prepare: tuple[str, ...] = ()
    demo: Demo | None = None
    optional: frozenset[str] = frozenset()

    def lists_of(self, recipe: Mapping[str, Any]) -> dict[str, str | None]:
        """`lists` of data with this recipe."""
        return {
            training.format(domain=domain): validation and validation.format(domain=domain)
            for domain in recipe.get("domains", ("",))
            for training, validation in self.lists.items()
        }


def method_names() -> list[str]:
    """Names of all methods, in alphabetical order."""
    return sorted(module.name for module in pkgutil.iter_modules(methods.__path__) if module.ispkg)


def find_method(name: str) -> Method:
    """The method of this name.

    Raises:
        LookupError: no such method.
    """
    if name not in method_names():
        raise LookupError(f"no method {name!r}; there are {', '.join(method_names())}")
    return pkgutil.resolve_name(f"{methods.__name__}.{name}.method:METHOD")


def resolve(name: str) -> Any:
    """What a dotted name of a `Method` leads to."""
    return pkgutil.resolve_name(name)
