"""`transeg doctor` on planted faults: how many it finds, and what it says of data without any.

Small phantoms are prepared for each bundle and described by a table; each fault is planted into a copy.

python -m benchmarks.doctor WORK
"""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import nibabel as nib
import numpy as np
import typer
from scipy import ndimage
from transeg.data.finder import survey
from transeg.data.table import write_table
from transeg.doctor.command import examine
from transeg.doctor.findings import Finding
from transeg.doctor.scans import read_data

from benchmarks.results import write_result
from data_prep import brats, brats_slices, mmwhs, thigh
from data_prep.phantoms import __main__ as phantoms

PREPARED = ("genseg", "pathogan", "thigh", "cardiac")
TABLE = "legs"  # raw scans of thighs with a table
CLEAN = (*PREPARED, TABLE)
RNG_SEED = 0


def make_clean(root: Path) -> None:
    """Write phantoms and prepare them: a folder for each of `CLEAN`, without any fault."""
    phantoms.brain(root / "brain", cases=12, shape="40,40,26", spacing="5.4")
    phantoms.thigh(root / "raw_legs", cases=16, shape="96,48,8", spacing="4,4,7", grades="healthy,severe")
    phantoms.heart(root / "heart", cases=10, shape="36,36,30", spacing="5")
    few: dict[str, Any] = {"validation": 3, "test": 1, "pixdim": 4.0, "size": (48, 48)}
    brats.prepare(root / "brain", root / "genseg", min_brain=0.1, labelled_count=3, **few)
    brats_slices.prepare(root / "brain", root / "pathogan", **few)
    thigh.prepare(root / "raw_legs", root / "thigh", size=(96, 48), pixdim=4.0, validation=1, test=1)
    mmwhs.prepare(root / "heart", root / "cardiac", pixdim=5.0, size=(32, 32, 24), validation=3, test=1)
    _make_table(root / "raw_legs", root / TABLE)


def _make_table(raw: Path, out: Path) -> None:
    """Copy scans and masks, and describe them by a table with both domains in all splits."""
    shutil.copytree(raw, out, ignore=shutil.ignore_patterns("*_fatfraction*", "*.json"))
    cases = []
    for number, case in enumerate(survey(out).cases):
        domain = "easy" if "healthy" in next(iter(case.images.values())) else "hard"
        split = {3: "validation", 7: "test"}.get(number % 8, "training")
        cases.append(replace(case, domain=domain, split=split))
    write_table(out / "cases.csv", cases)


class Data:
    """A copy of a clean set to plant a fault into.

    Args:
        folder: with a datalist or a table.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.rng = folder, np.random.default_rng(RNG_SEED)
        self.is_table = (folder / "cases.csv").is_file()
        self.content: dict[str, Any] = {}
        self.rows: list[dict[str, str]] = []
        if self.is_table:
            with (folder / "cases.csv").open(newline="") as file:
                self.rows = list(csv.DictReader(file))
        else:
            self.content = json.loads((folder / "datalist.json").read_text())

    def save(self) -> None:
        """Write the datalist or the table."""
        if self.is_table:
            with (self.folder / "cases.csv").open("w", newline="") as file:
                writer = csv.DictWriter(file, list(self.rows[0]))
                writer.writeheader()
                writer.writerows(self.rows)
        else:
            (self.folder / "datalist.json").write_text(json.dumps(self.content))

    def cases(self, key: str) -> list[str]:
        """Names of the cases of a list, or of the rows of a split."""
        if self.is_table:
            return [row["case"] for row in self.rows if row["split"] == key]
        return list(dict.fromkeys(item["case"] for item in self.content[key]))

    def change(self, case: str, change: Callable[[np.ndarray], Any], kind: str = "images") -> None:
        """Replace a stack, or change it in place if nothing is returned."""
        path = self.folder / kind / f"{case}.npy"
        stack = np.load(path)
        changed = change(stack)
        np.save(path, stack if changed is None else np.asarray(changed).astype(stack.dtype))

    def row(self, case: str) -> dict[str, str]:
        """Row of a case."""
        return next(row for row in self.rows if row["case"] == case)

    def domain(self, name: str) -> list[str]:
        """Cases of a domain of the table."""
        return [row["case"] for row in self.rows if row["domain"] == name]

    def file(self, case: str, column: str) -> Path:
        """Scan or mask of a row."""
        return self.folder / self.row(case)[column]

    def rewrite(self, case: str, change: Callable[[np.ndarray, np.ndarray], Any], columns: str = "image label") -> None:
        """Change voxels and affine of the files of a row: both are given, both are returned."""
        for column in columns.split():
            path = self.file(case, column)
            image = nib.Nifti1Image.from_filename(path)
            voxels, affine = change(np.asarray(image.dataobj), image.affine.copy())
            changed = nib.Nifti1Image(voxels, affine)
            changed.set_qform(affine, 1)
            changed.set_sform(affine, 1)
            changed.header.set_xyzt_units("mm")
            nib.save(changed, path)


class Fault(NamedTuple):
    """A fault: the set that it is planted into, the kind of finding that tells it, and how it is planted.

    `plant` returns the cases of which one must be named; empty for a fault of the data set as a whole.
    """

    name: str
    data: str
    kind: str
    plant: Callable[[Data], list[str]]


FAULTS: list[Fault] = []


def _fault(name: str, data: str, kind: str) -> Callable[[Callable[[Data], list[str]]], Callable[[Data], list[str]]]:
    def add(plant: Callable[[Data], list[str]]) -> Callable[[Data], list[str]]:
        FAULTS.append(Fault(name, data, kind, plant))
        return plant

    return add


# leaks


@_fault("a test case is trained on", "genseg", "patient_leak")
def _test_case_in_training(data: Data) -> list[str]:
    case = data.cases("test")[0]
    data.content["training"] += [item for item in data.content["test"] if item["case"] == case]
    return [case]


@_fault("two cases of a patient in two splits", "thigh", "patient_leak")
def _patient_in_two_splits(data: Data) -> list[str]:
    pair = [data.cases("training")[0], data.cases("test")[0]]
    data.content["preparation"]["patients"] = dict.fromkeys(pair, "P1")
    return pair


@_fault("the same scan under two names in two splits", "genseg", "copy")
def _copied_scan(data: Data) -> list[str]:
    one, other = data.cases("training")[0], data.cases("test")[0]
    _replace(data, one, np.load(data.folder / "images" / f"{other}.npy"))
    return [one]


@_fault("the same scan twice in training", "pathogan", "copy")
def _duplicate(data: Data) -> list[str]:
    one, other = data.cases("training")[:2]
    _replace(data, one, np.load(data.folder / "images" / f"{other}.npy"))
    return [one]


@_fault("a test scan mirrored in training", "thigh", "near_copy")
def _mirrored(data: Data) -> list[str]:
    one, other = data.cases("training")[0], data.cases("test")[0]
    _replace(data, one, np.load(data.folder / "images" / f"{other}.npy")[:, :, ::-1])
    return [one]


@_fault("a test volume turned by 90 degrees in training", "cardiac", "near_copy")
def _turned(data: Data) -> list[str]:
    one, other = data.cases("training_ct")[0], data.cases("test_ct")[0]
    _replace(data, one, np.rot90(np.load(data.folder / "images" / f"{other}.npy"), axes=(2, 3)))
    return [one]


@_fault("a training scan again with other intensities", "pathogan", "near_copy")
def _rescaled(data: Data) -> list[str]:
    one, other = data.cases("training")[:2]
    _replace(data, one, 0.7 * np.load(data.folder / "images" / f"{other}.npy").astype(np.float32) - 0.1)
    return [one]


@_fault("a test scan resampled in training", TABLE, "near_copy")
def _resampled(data: Data) -> list[str]:
    one, other = data.cases("training")[0], data.cases("test")[0]
    source = np.asarray(nib.Nifti1Image.from_filename(data.file(other, "image")).dataobj).astype(np.float32)
    data.rewrite(one, lambda _, affine: (ndimage.zoom(source, (1.3, 1.3, 1), order=1), affine), "image")
    data.row(one)["label"] = ""
    return [one]


@_fault("patients in both domains", "cardiac", "shared_patients")
def _patients_in_both_domains(data: Data) -> list[str]:
    pair = [data.cases("training_ct")[0], data.cases("training_mr")[0]]
    data.content["preparation"]["patients"] = dict.fromkeys(pair, "P1")
    return ["P1"]


@_fault("a slice in both domains", "pathogan", "both_domains")
def _slice_in_both_domains(data: Data) -> list[str]:
    item = data.content["training"][3]
    data.content["training_absence"].append(dict(item))
    return [item["case"]]


# gaps between the domains


@_fault("one domain is blurred", "thigh", "gap_texture")
def _blurred(data: Data) -> list[str]:
    for case in data.cases("training_absence"):
        data.change(case, lambda stack: ndimage.gaussian_filter(stack.astype(np.float32), (0, 0, 2, 2)))
    return []


@_fault("one domain is noisy", "thigh", "gap_texture")
def _noisy(data: Data) -> list[str]:
    for case in data.cases("training"):
        data.change(case, lambda stack: np.clip(stack + data.rng.normal(0, 0.3, stack.shape), -1, 1))
    return []


@_fault("one domain has another contrast", "thigh", "gap_intensity")
def _other_contrast(data: Data) -> list[str]:
    for case in data.cases("training_absence"):
        data.change(case, lambda stack: 2 * ((stack.astype(np.float32) + 1) / 2).clip(0) ** 3 - 1)
    return []


@_fault("one domain has a larger field of view", "thigh", "gap_view")
def _larger_view(data: Data) -> list[str]:
    def shrink(stack: np.ndarray) -> np.ndarray:
        small = ndimage.zoom(stack.astype(np.float32), (1, 1, 0.6, 0.6), order=1)
        width = [(0, 0), (0, 0)]
        for size, inner in zip(stack.shape[2:], small.shape[2:], strict=True):
            width.append(((size - inner) // 2, size - inner - (size - inner) // 2))
        return np.pad(small, width, constant_values=-1)

    for case in data.cases("training_absence"):
        data.change(case, shrink)
        data.change(case, lambda label: shrink(label[:, None])[:, 0] > 0.5, "labels")
    return []


def _with_spacing(data: Data, factors: tuple[float, float, float]) -> None:
    for case in data.domain("hard"):
        data.rewrite(case, lambda voxels, affine: (voxels, affine @ np.diag([*factors, 1])))


@_fault("one domain has coarser voxels", TABLE, "gap_spacing")
def _coarser(data: Data) -> list[str]:
    _with_spacing(data, (2, 2, 1))
    return []


@_fault("one domain has thicker slices", TABLE, "gap_spacing")
def _thicker(data: Data) -> list[str]:
    _with_spacing(data, (1, 1, 2))
    return []


@_fault("the slices of one domain are coronal", TABLE, "gap_orientation")
def _coronal(data: Data) -> list[str]:
    turn = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    for case in data.domain("hard"):
        data.rewrite(case, lambda voxels, affine: (voxels, turn @ affine))
    return []


@_fault("one domain has half of the slices", TABLE, "gap_slices")
def _fewer_slices(data: Data) -> list[str]:
    for case in data.domain("hard"):
        data.rewrite(case, lambda voxels, affine: (voxels[..., :4], affine))
    return []


@_fault("the disease is in one domain only", TABLE, "gap_prevalence")
def _prevalence(data: Data) -> list[str]:
    for row in data.rows:
        row |= {"presence": "yes" if row["domain"] == "hard" else "no", "label": ""}
    return []


@_fault("a structure is smaller in one domain", "cardiac", "gap_classes")
def _smaller_structure(data: Data) -> list[str]:
    def erode(label: np.ndarray) -> None:
        structure = label[0] == 2
        core = ndimage.binary_erosion(structure)
        label[0][structure & ~core] = 0

    for case in data.cases("training_mr"):
        data.change(case, erode, "labels")
    return []


@_fault("lesion-free slices come from another hospital", "genseg", "gap_source")
def _other_hospital(data: Data) -> list[str]:
    graded = data.content["preparation"]["groups"]
    for key, grade in (("training", "HGG"), ("training_absence", "LGG")):
        data.content[key] = [item for item in data.content[key] if graded[item["case"]] == grade]
    return []


# images


@_fault("NaN in a slice", "genseg", "not_finite")
def _nan(data: Data) -> list[str]:
    item = data.content["training"][5]

    def change(stack: np.ndarray) -> None:
        stack[item["index"], 0, 8, 8] = np.nan

    data.change(item["case"], change)
    return [item["case"]]


@_fault("infinite voxels in a scan", TABLE, "not_finite")
def _inf(data: Data) -> list[str]:
    case = data.cases("training")[1]

    def change(voxels: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        voxels = voxels.astype(np.float32)
        voxels[20, 20, 3] = np.inf
        return voxels, affine

    data.rewrite(case, change, "image")
    return [case]


@_fault("a channel is constant", "pathogan", "constant")
def _constant_channel(data: Data) -> list[str]:
    case = data.cases("training")[2]

    def change(stack: np.ndarray) -> None:
        stack[:, 1] = 0

    data.change(case, change)
    return [case]


@_fault("some slices are empty", "thigh", "constant")
def _empty_slices(data: Data) -> list[str]:
    case = data.cases("training")[0]

    def change(stack: np.ndarray) -> None:
        stack[2:4] = -1

    data.change(case, change)
    return [case]


@_fault("a stack is truncated", "genseg", "unreadable")
def _truncated_stack(data: Data) -> list[str]:
    case = data.cases("validation")[0]
    path = data.folder / "images" / f"{case}.npy"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return [case]


@_fault("a scan is truncated", TABLE, "unreadable")
def _truncated_scan(data: Data) -> list[str]:
    case = data.cases("training")[2]
    path = data.file(case, "image")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return [case]


@_fault("a scan shows nearly nothing", "pathogan", "nearly_empty")
def _nearly_empty(data: Data) -> list[str]:
    case = data.cases("training")[1]

    def change(stack: np.ndarray) -> np.ndarray:
        empty = np.full_like(stack, -1)
        empty[:, :, 24:26, 24:26] = stack[:, :, 24:26, 24:26]
        return empty

    data.change(case, change)
    return [case]


@_fault("one channel is a copy of another", "genseg", "copied_channel")
def _copied_channel(data: Data) -> list[str]:
    case = data.cases("training")[1]

    def change(stack: np.ndarray) -> None:
        stack[:, 3] = stack[:, 2]

    data.change(case, change)
    return [case]


@_fault("a scan is saturated", "thigh", "saturated")
def _saturated(data: Data) -> list[str]:
    case = data.cases("training_absence")[0]
    data.change(case, lambda stack: np.minimum(stack, np.quantile(stack, 0.9)))
    return [case]


@_fault("the original file of a test case is gone", "genseg", "source")
def _no_source(data: Data) -> list[str]:
    item = data.content["test_volumes"][0]
    item["image"] = [path.replace(".nii.gz", "_moved.nii.gz") for path in item["image"]]
    return [item["case"]]


@_fault("a stack has another size", "thigh", "grid")
def _other_size(data: Data) -> list[str]:
    case = data.cases("training")[1]
    data.change(case, lambda stack: stack[..., :-16])
    data.change(case, lambda stack: stack[..., :-16], "labels")
    return [case]


# masks


@_fault("a mask has an unknown value", "cardiac", "label_values")
def _unknown_value(data: Data) -> list[str]:
    case = data.cases("training_mr")[1]

    def change(label: np.ndarray) -> None:
        label[0, 10:13, 10:13, 10] = 9

    data.change(case, change, "labels")
    return [case]


@_fault("a mask holds probabilities", TABLE, "label_values")
def _probabilities(data: Data) -> list[str]:
    case = data.cases("training")[3]
    data.rewrite(case, lambda voxels, affine: (ndimage.gaussian_filter(voxels.astype(np.float32), 1), affine), "label")
    return [case]


@_fault("the mask of a labelled case is empty", "genseg", "empty_mask")
def _empty_mask(data: Data) -> list[str]:
    case = data.cases("validation")[1]
    data.change(case, np.zeros_like, "labels")
    return [case]


@_fault("presence is yes, but the mask is empty", TABLE, "empty_mask")
def _contradicted_presence(data: Data) -> list[str]:
    case = data.domain("hard")[1]
    for row in data.rows:
        row["presence"] = "yes"
    data.rewrite(case, lambda voxels, affine: (np.zeros_like(voxels), affine), "label")
    return [case]


@_fault("a mask has another shape", "genseg", "label_grid")
def _other_shape(data: Data) -> list[str]:
    case = data.cases("validation")[0]
    data.change(case, lambda label: label[:, 1:], "labels")
    return [case]


@_fault("a mask lies on another grid", TABLE, "label_grid")
def _other_grid(data: Data) -> list[str]:
    case = data.cases("training")[4]

    def change(voxels: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        affine[0, 3] += 12
        return voxels, affine

    data.rewrite(case, change, "label")
    return [case]


@_fault("a mask is speckled", "thigh", "fragments")
def _speckled(data: Data) -> list[str]:
    case = data.cases("training")[2]
    data.change(case, lambda label: label | (data.rng.random(label.shape) < 0.003), "labels")
    return [case]


@_fault("a structure is in no training mask", "cardiac", "class_missing")
def _class_missing(data: Data) -> list[str]:
    for case in [*data.cases("training_ct"), *data.cases("training_mr")]:
        data.change(case, lambda label: np.where(label == 4, 0, label), "labels")
    return []


@_fault("a mask is shifted into the background", "thigh", "mask_outside")
def _shifted(data: Data) -> list[str]:
    case = data.cases("training")[3]

    def change(label: np.ndarray) -> np.ndarray:
        moved = np.zeros_like(label)
        moved[:, :8, :8] = 1
        moved[:, -8:, -8:] = 1
        return moved

    data.change(case, change, "labels")
    return [case]


@_fault("a mask is mirrored", "cardiac", "flipped_mask")
def _mirrored_mask(data: Data) -> list[str]:
    case = data.cases("training_mr")[2]
    data.change(case, lambda label: label[:, ::-1], "labels")
    return [case]


@_fault("a mask is upside down", "genseg", "flipped_mask")
def _upside_down(data: Data) -> list[str]:
    case = data.cases("validation")[0]
    data.change(case, lambda label: label[:, :, ::-1], "labels")
    return [case]


@_fault("lesions in slices without", "genseg", "lesion_in_absence")
def _lesion_in_absence(data: Data) -> list[str]:
    case = data.cases("training")[0]
    moved = [item for item in data.content["training"] if item["case"] == case][:3]
    data.content["training"] = [item for item in data.content["training"] if item not in moved]
    data.content["training_absence"] += moved
    return [case]


# splits


@_fault("validation has no mask", "genseg", "validation_unlabelled")
def _validation_unlabelled(data: Data) -> list[str]:
    for item in data.content["validation"]:
        item.pop("label")
    return []


@_fault("one domain has few slices", "pathogan", "imbalance")
def _imbalance(data: Data) -> list[str]:
    data.content["training"] = data.content["training"][::20]
    return []


@_fault("a domain is one patient", "cardiac", "few_training")
def _one_patient(data: Data) -> list[str]:
    data.content["training_mr"] = data.content["training_mr"][:1]
    return [data.content["training_mr"][0]["case"]]


@_fault("a case failed in the preparation", "pathogan", "failed")
def _failed(data: Data) -> list[str]:
    data.content["preparation"]["failed"] = {"Phantom_777": "cannot be read"}
    return ["Phantom_777"]


def _replace(data: Data, case: str, stack: np.ndarray) -> None:
    """Give a case another stack, and let its items refer to slices that it has."""
    np.save(data.folder / "images" / f"{case}.npy", stack.astype(np.float16))
    (data.folder / "labels" / f"{case}.npy").unlink(missing_ok=True)
    for key, items in data.content.items():
        if isinstance(items, list) and not key.endswith("_volumes"):
            kept = [item for item in items if item["case"] != case or item["index"] < len(stack)]
            for item in kept:
                if item["case"] == case:
                    item.pop("label", None)
            data.content[key] = kept


def check_fault(root: Path, fault: Fault) -> tuple[Finding | None, list[Finding]]:
    """Plant a fault into a copy of its clean set and examine it.

    Args:
        root: folder that `make_clean` has filled.
        fault: to plant.

    Returns:
        The finding of the right kind that names the right case, if any; and all findings.
    """
    copy = root / f"planted_{FAULTS.index(fault)}"
    shutil.copytree(root / fault.data, copy)
    try:
        data = Data(copy)
        cases = fault.plant(data)
        data.save()
        findings = examine(read_data(copy))
    finally:
        shutil.rmtree(copy)
    right = (f for f in findings if f.kind == fault.kind and (not cases or {*cases} & {*f.cases}))
    return next(right, None), findings


def alarms(findings: list[Finding]) -> list[Finding]:
    """Those that are more than notes."""
    return [finding for finding in findings if finding.level != "note"]


def _tried(root: Path) -> Iterator[dict[str, Any]]:
    for fault in FAULTS:
        found, findings = check_fault(root, fault)
        others = sorted({finding.kind for finding in alarms(findings)} - {fault.kind})
        yield {
            "fault": fault.name,
            "data": fault.data,
            "kind": fault.kind,
            "found": found is not None,
            "level": found and found.level,
            "text": found and found.text.replace(f"{root}/", ""),
            "other_alarms": others,
        }


def main(work: Annotated[Path, typer.Argument(help="Folder for the phantoms, new or empty.")]) -> None:
    """Plant every fault and write `doctor.json`."""
    work = work.resolve()
    make_clean(work)
    clean = {name: [finding.text for finding in alarms(examine(read_data(work / name)))] for name in CLEAN}
    tried = list(_tried(work))
    figures = {
        "found": sum(fault["found"] for fault in tried),
        "planted": len(tried),
        "alarms_on_clean_sets": sum(map(len, clean.values())),
        "clean": clean,
        "faults": tried,
    }
    print(f"{figures['found']} of {figures['planted']} faults found, {figures['alarms_on_clean_sets']} false alarms")
    for fault in tried:
        if not fault["found"]:
            print(f"missed: {fault['fault']} ({fault['data']})")
    path = write_result("doctor", "phantoms of the four bundles, and a table of thighs", [RNG_SEED], figures)
    print(f"wrote {path}")


if __name__ == "__main__":
    typer.run(main)
