"""What can be exported: the cases of a folder, as they lie on disk.

- Prepared data: the scans with masks, but for those of test patients.
- What `transeg segment` wrote: scans, or their translations, with the masks that it predicted.
- Synthetic cases: pairs `<case>_<sample>_image.nii.gz` and `<case>_<sample>_seg.nii.gz`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from transeg.bundle.segment import MANIFEST, read_manifest
from transeg.data.datalist import load_list, read_json
from transeg.data.recipe import Recipe
from transeg.data.results import names_of_results
from transeg.data.training_cases import digests_of
from transeg.errors import DataError
from transeg.method import find_method

DATALIST = "datalist.json"
IMAGE, MASK = "_image.nii.gz", "_seg.nii.gz"  # ends of the names of a synthetic case
MAPS, TRANSLATION = ("prob", "uncertainty"), "translation"
VOLUMES, TEST, TRAINED = "_volumes", "test", ("training", "validation")  # of the names of lists

Kind = Literal["labelled", "pseudo-label", "translation", "sample"]


@dataclass(frozen=True)
class Case:
    """An image with its mask, not read yet.

    Attributes:
        name: in the data set; not yet unique.
        kind: labelled: the mask is given; pseudo-label: a scan with a predicted mask; translation: of a scan, with
            the mask of the scan; sample: a synthetic image with its mask.
        patient: whose scan it is, or is made of.
        source: folder that it comes from.
        item: {"image", "label"} and perhaps "spacing", as `LoadVolumed` takes them.
        recipe: "channels" and "labels" of the files, and perhaps "label_values".
        digests: hash of each file of the scan that it is, or is made of; empty: not known.
        checked: whether the image must have these hashes.
        maps: "prob" or "uncertainty" of a predicted mask.
        domain: of the scan, if known.
        warnings: what `transeg segment` doubted.
        failed: whether it could not be segmented.
        problem: why it cannot be exported.
    """

    name: str
    kind: Kind
    patient: str
    source: Path
    item: Mapping[Any, Any]
    recipe: Recipe
    digests: tuple[str, ...] = ()
    checked: bool = False
    maps: Mapping[str, Path] = field(default_factory=dict)
    domain: str = ""
    warnings: tuple[str, ...] = ()
    failed: bool = False
    problem: str = ""


@dataclass(frozen=True)
class Source:
    """The cases of a folder.

    Attributes:
        cases: with a mask; those of prepared data may be none, and still say who is a test patient.
        held_out: hashes of the scans of test patients.
        test_patients: their names.
        patients: name of the patient by case, where they differ.
    """

    cases: tuple[Case, ...]
    held_out: frozenset[str] = frozenset()
    test_patients: frozenset[str] = frozenset()
    patients: Mapping[str, str] = field(default_factory=dict)


def read_sources(folders: Sequence[Path], translated: bool = False) -> list[Source]:
    """Read what lies in folders; volumes are not read yet.

    Args:
        folders: each of one of the kinds above.
        translated: take the translations of what `transeg segment` wrote rather than the scans.

    Raises:
        DataError: a folder that is none of these; translations that lack the structures.
    """
    return [_read(folder, translated) for folder in folders]


def _read(folder: Path, translated: bool) -> Source:
    if (folder / MANIFEST).is_file():
        return Source(tuple(_predicted(folder, translated)))
    if (folder / DATALIST).is_file():
        return _prepared(folder)
    samples = _samples(folder)
    if not samples:
        raise DataError(
            f"{folder}: nothing to export; name prepared data, a folder that `transeg segment` wrote (--out), or one "
            "of synthetic cases"
        )
    return Source(tuple(samples))


def _prepared(folder: Path) -> Source:
    path = folder / DATALIST
    content = read_json(path)
    recipe = content.get("recipe")
    if not recipe:
        raise DataError(f"{path}: no recipe in it, so what its masks show is not known; prepare the data again")
    lists = {name: load_list(path, content, name) for name in content if name.endswith(VOLUMES)}
    patients = dict(content.get("preparation", {}).get("patients", {}))
    cases, held_out, tested = [], set(), set()
    for name, items in lists.items():
        for item in items:
            case, digests = item["case"], tuple(digests_of(item))
            patient = patients.get(case, case)
            if name.startswith(TEST):
                held_out |= {*digests}
                tested.add(patient)
            elif name.startswith(TRAINED) and "label" in item:
                known: dict[str, Any] = {
                    key: item[key] for key in ("image", "label", "spacing", "problem") if key in item
                }
                domain = item.get("domain", "")
                cases.append(Case(case, "labelled", patient, folder, known, recipe, digests, domain=domain))
    return Source(tuple(cases), frozenset(held_out), frozenset(tested), patients)


def _predicted(folder: Path, translated: bool) -> list[Case]:
    manifest = read_manifest(folder / MANIFEST)
    try:
        recipe = manifest["made_with"]["recipe"]
        cases = [_entry(folder, case, entry, recipe, translated) for case, entry in manifest["cases"].items()]
    except (KeyError, TypeError) as error:
        raise DataError(
            f"{folder / MANIFEST}: not a manifest of transeg ({error!r}); segment the scans again"
        ) from error
    if translated and not find_method(recipe["method"]).keeps_structures:
        raise DataError(
            f"{folder}: the translations of {manifest['bundle']} do not show {', '.join(recipe['labels'][1:])}, so no "
            "mask belongs to them; leave --translated out"
        )
    return cases


def _entry(folder: Path, case: str, entry: Mapping[str, Any], recipe: Recipe, translated: bool) -> Case:
    inputs = [part for part in entry["inputs"] if part.get("role", "image") == "image"]
    outputs = {
        name: folder / f"{case}_{name}.nii.gz" for name in ("seg", *MAPS, TRANSLATION, *recipe.get("domains", ()))
    }
    there = {name: path for name, path in outputs.items() if path.is_file()}
    target = next((name for name in there if name not in ("seg", *MAPS)), TRANSLATION)  # or the domain that it is of
    image: Any = str(outputs[target]) if translated else [part["file"] for part in inputs]
    item = {"image": image, "label": str(outputs["seg"])}
    item |= {"spacing": entry["spacing"]} if "spacing" in entry and not translated else {}
    lacking = next((name for name in ("seg", *([target] if translated else [])) if name not in there), "")
    return Case(
        f"{case}_{target}" if translated else case,
        "translation" if translated else "pseudo-label",
        case,
        folder,
        item,
        _own_values(recipe),
        tuple(part["sha256"] for part in inputs),
        checked=not translated,
        maps={name: there[name] for name in MAPS if name in there},
        warnings=tuple(entry.get("warnings", ())),
        failed="failed" in entry,
        problem=_lacks(outputs[lacking], lacking) if lacking else "",
    )


def _lacks(path: Path, kind: str) -> str:
    return f"{path}: missing; segment with --save_{'mask' if kind == 'seg' else kind} True"


def _samples(folder: Path) -> list[Case]:
    images = sorted(folder.glob(f"*{IMAGE}")) if folder.is_dir() else []
    pairs = [(image, image.with_name(image.name.removesuffix(IMAGE) + MASK)) for image in images]
    pairs = [(image, mask) for image, mask in pairs if mask.is_file()]
    if not pairs:
        return []
    recipe = _own_values(names_of_results(folder))
    return [
        Case(name, "sample", name.rpartition("_")[0], folder, {"image": str(image), "label": str(mask)}, recipe)
        for image, mask in pairs
        for name in [image.name.removesuffix(IMAGE)]
    ]


def _own_values(recipe: Recipe) -> Recipe:
    """The recipe of masks that we wrote: a class is its own value."""
    return {**recipe, "label_values": {name: [value] for value, name in enumerate(recipe["labels"]) if value}}


@dataclass(frozen=True)
class LeftOut:
    """Cases that are not exported for one reason.

    Attributes:
        why: a clause after "left out:".
        cases: their names.
    """

    why: str
    cases: tuple[str, ...]

    def record(self) -> dict[str, Any]:
        """As written to a file."""
        return {"why": self.why, "cases": [*self.cases]}


def choose(sources: Sequence[Source], domain: str = "", keep_warned: bool = False) -> tuple[list[Case], list[LeftOut]]:
    """Choose the cases to export, and give each a name of its own.

    Scans of test patients are left out, whatever they come with, and of a scan with a given mask the predicted one. A
    translation of a scan with a given mask takes that mask.

    Args:
        sources: see `read_sources`.
        domain: of the labelled scans to take; empty: all.
        keep_warned: keep cases that `transeg segment` warned of.

    Raises:
        DataError: no labelled scan of the domain.
    """
    cases = [_of_patient(case, sources) for source in sources for case in source.cases]
    given = {digest: case for case in cases if case.kind == "labelled" for digest in case.digests}
    domains = {case.domain for case in given.values()}
    if domain and domain not in domains:
        known = ", ".join(sorted(domains - {""})) or "none"
        raise DataError(f"--domain {domain}: no labelled scan of it; the domains are {known}")
    wanted = (case for case in cases if case.kind != "labelled" or domain in ("", case.domain))
    cases = [_with_given_mask(case, given) for case in wanted]
    held_out = frozenset[str]().union(*(source.held_out for source in sources))
    tested = frozenset[str]().union(*(source.test_patients for source in sources))
    rules: list[tuple[str, Callable[[Case], bool]]] = [
        ("of a test patient", lambda case: bool({*case.digests} & held_out) or case.patient in tested),
        ("that could not be segmented", lambda case: case.failed),
        (
            "whose scan has a mask of its own among the labelled cases",
            lambda case: case.kind == "pseudo-label" and bool({*case.digests} & given.keys()),
        ),
        (
            "with a warning of `transeg segment` (--keep-warned keeps them)",
            lambda case: bool(case.warnings) and not keep_warned,
        ),
    ]
    left_out = []
    for why, applies in rules:
        found = [case for case in cases if applies(case)]
        if found:
            left_out.append(LeftOut(why, tuple(case.name for case in found)))
        cases = [case for case in cases if not applies(case)]
    return _named(cases), left_out


def _of_patient(case: Case, sources: Sequence[Source]) -> Case:
    names = [source.patients[case.patient] for source in sources if case.patient in source.patients]
    return replace(case, patient=names[0]) if names and case.kind != "labelled" else case


def _with_given_mask(case: Case, given: Mapping[str, Case]) -> Case:
    known = next((given[digest] for digest in case.digests if digest in given), None)
    if case.kind != "translation" or known is None:
        return case
    recipe = case.recipe | {key: known.recipe.get(key) for key in ("labels", "label_values")}
    return replace(
        case, patient=known.patient, item={**case.item, "label": known.item["label"]}, recipe=recipe, maps={}
    )


def _named(cases: Sequence[Case]) -> list[Case]:
    """Give cases of one name a number, from the second on."""
    taken: set[str] = set()
    named = []
    for case in cases:
        name, number = case.name, 1
        while name.casefold() in taken:
            number += 1
            name = f"{case.name}_{number}"
        taken.add(name.casefold())
        named.append(replace(case, name=name))
    return named
