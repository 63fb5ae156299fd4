"""What the warnings of a segmentation tell: false alarms on clean scans, and which planted faults are noticed.

Every bundle segments, with its released weights, clean scans like those of its training that it has never seen, the
same with a fault (`benchmarks.faults`), scans of other body parts, and clean scans whose translation gets a fault. An
alarm is a refusal, or any warning in the manifest of `transeg segment`. The brain bundles are tried on test patients of
TCGA-LGG, the others on phantoms of another seed; the scans of other body parts are of patients.

    python -m benchmarks.alarms SLICES DATA WORK
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import nibabel as nib
import numpy as np
import typer
from scipy.stats import binomtest
from transeg.bundle.segment import MANIFEST, run_segmentation
from transeg.data.datalist import read_datalist
from transeg.errors import BatchError
from transeg.files import write_text

from benchmarks import faults
from benchmarks.faults import Fault, Scan
from benchmarks.lgg import FLAIR, GENSEG, PATHOGAN, Slices, Test, Validation, Work, load_scan, prepare
from benchmarks.results import ROOT, write_result

THIGH = ROOT / "bundles" / "thigh_mri_muscle_segmentation"
HEART = ROOT / "bundles" / "cardiac_ct_mr_segmentation"
SEED = 4711  # of phantoms; not one of a training run

OF_ALL: dict[str, Fault] = {
    "voxel size in cm": faults.centimetres,
    "upside down": faults.upside_down,
    "cropped to half": faults.cropped,
    "a third of the slices missing": faults.missing_slices,
    "ghosting": faults.ghosting,
    "bias field": faults.bias_field,
    "noise": faults.noise,
}
OF_TRANSLATIONS = {"ball added to the translation": False, "ball erased from the translation": True}
KINDS = {  # by words of a warning
    "does not resemble": "unfamiliar",
    "Review this case visually": "implausible",
    "cut off": "cut off",
    "the same image twice": "unfamiliar",
}
Scans = Sequence[Scan]


@dataclass(frozen=True)
class Kind:
    """Scans that a bundle is made for.

    Attributes:
        bundle: folder of the bundle.
        part: body part that they show, see `body_parts`.
        phantoms: patterns of the files of phantoms; nothing for patients of TCGA-LGG.
        domain: of the bundle's domains; nothing if it tells them not apart.
        faults: that only such scans can have.
    """

    bundle: Path
    part: str
    phantoms: tuple[str, ...] = ()
    domain: str = ""
    faults: Mapping[str, Fault] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Of bundle and domain."""
        return f"{self.bundle.name} {self.domain}".strip()


SEQUENCES: dict[str, Fault] = {"sequences in another order": faults.other_order, "negative": faults.negative}
MR = {"negative": faults.negative}
KINDS_OF_SCANS = (
    Kind(GENSEG, "brain", faults=SEQUENCES),
    Kind(THIGH, "thigh", ("*/Phantom_???.nii.gz",), faults=MR),
    Kind(HEART, "heart", ("ct_train/*_image.nii.gz",), "ct", {"HU + 1024": faults.unsigned}),
    Kind(HEART, "heart", ("mr_train/*_image.nii.gz",), "mr", MR),
    Kind(PATHOGAN, "brain", faults=SEQUENCES),
)


def main(
    slices: Slices,
    data: Annotated[Path, typer.Argument(help="Folder of mscmr, sts and torso.")],
    work: Work,
    count: Annotated[int, typer.Option(help="Clean scans of each bundle.")] = 20,
    faulty: Annotated[int, typer.Option(help="Of them those that get a fault.")] = 8,
    validation: Validation = 8,
    test: Test = 16,
    only: Annotated[str, typer.Option(help="One of the bundles, by a part of its name.")] = "",
) -> None:
    """Segment everything and count the alarms."""
    patients = read_datalist(
        prepare(slices, work / "data", PATHOGAN, validation, test, "--image-level") / "datalist.json", "test_volumes"
    )
    loaded = {item["case"]: load_scan(item) for item in patients[:count]}
    brains = [Scan(case, scan.numpy(), scan.affine.numpy()) for case, scan in loaded.items()]
    parts = body_parts(data) | {"brain": [replace(scan, voxels=scan.voxels[FLAIR : FLAIR + 1]) for scan in brains[:6]]}
    clean = {
        kind.name: phantoms(work / "phantoms", kind, count) if kind.phantoms else brains for kind in KINDS_OF_SCANS
    }
    found: dict[str, dict[str, Any]] = {}
    for kind in KINDS_OF_SCANS:
        if only not in kind.name:
            continue
        own = clean[kind.name]
        trials: dict[str, tuple[Scans, dict[str, Any]]] = {"clean": (own, {})}
        some = own[:faulty]
        trials |= {name: ([fault(scan) for scan in some], {}) for name, fault in (OF_ALL | dict(kind.faults)).items()}
        if kind.domain:
            others = next(other.name for other in KINDS_OF_SCANS if other.bundle == kind.bundle and other != kind)
            trials["other modality"] = clean[others][:faulty], {}
        strangers = [scan for part, scans in parts.items() if part != kind.part for scan in scans]
        trials["other body part"] = [repeat(scan, len(own[0].voxels)) for scan in strangers], {}
        trials |= {name: (some, planted(kind.bundle, erased)) for name, erased in OF_TRANSLATIONS.items()}
        found[kind.name] = {
            name: count_alarms(kind, work / kind.name.replace(" ", "_") / name.replace(" ", "_"), scans, settings)
            for name, (scans, settings) in trials.items()
            if settings or name not in OF_TRANSLATIONS
        }
        for name, one in found[kind.name].items():
            print(f"{kind.name}, {name}: {one['alarms']} of {one['n']} {one['kinds']}")
    print(write_result("alarms", "test patients of TCGA-LGG, phantoms; other body parts of patients", [SEED], found))


def count_alarms(kind: Kind, folder: Path, scans: Scans, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Segment scans in a folder and count those of which something is told.

    Returns:
        "n", "alarms", their share with its 95 % interval (Clopper and Pearson), and "kinds": how many have which alarm.
    """
    shutil.rmtree(folder, ignore_errors=True)
    channels = json.loads((kind.bundle / "configs" / "inference.json").read_text())["recipe"]["channels"]
    items = [{"case": scan.case, "image": write(folder / "scans", scan, channels)} for scan in scans]
    write_text(folder / "scans" / "datalist.json", json.dumps({"test_volumes": items}))
    own = {"split": "test_volumes", **({"modality": kind.domain} if kind.domain else {})}
    with suppress(BatchError):  # refusals are in the manifest
        run_segmentation(folder / "scans", kind.bundle, folder / "out", {**own, **settings}, pictures=False)
    cases = json.loads((folder / "out" / MANIFEST).read_text())["cases"]
    told = [alarms_of(entry) for entry in cases.values()]
    alarms = sum(bool(names) for names in told)
    interval = binomtest(alarms, len(told)).proportion_ci()
    return {
        "n": len(told),
        "alarms": alarms,
        "share": round(alarms / len(told), 3),
        "interval": [round(float(end), 3) for end in interval],
        "kinds": dict(Counter(name for names in told for name in names)),
    }


def alarms_of(entry: Mapping[str, Any]) -> set[str]:
    """Kinds of alarms about a case in the manifest."""
    warned = {
        next((name for words, name in KINDS.items() if words in text), "other") for text in entry.get("warnings", ())
    }
    return warned | ({"refused"} if "failed" in entry else set())


def planted(bundle: Path, erased: bool) -> dict[str, Any]:
    """Setting of a bundle's inference that puts a fault into the translation it judges; none if it judges none."""
    config = json.loads((bundle / "configs" / "inference.json").read_text())
    steps = config["postprocessing"]["transforms"]
    targets = [step["_target_"] if isinstance(step, dict) else step for step in steps]
    judge = next((k for k, target in enumerate(targets) if target.endswith(".TrustReportd")), None)
    if judge is None:
        return {}
    ball = {"_target_": "benchmarks.faults.PlantBalld", "keys": "translation", "erased": erased}
    return {"postprocessing#transforms": [*steps[:judge], ball, *steps[judge:]]}


def write(folder: Path, scan: Scan, channels: Sequence[str]) -> list[str]:
    """Write a scan, a file for each channel; returns their names."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{scan.case}_{channel}.nii.gz" for channel in channels]
    for name, voxels in zip(names, scan.voxels, strict=True):
        nib.save(nib.Nifti1Image(voxels.astype(np.float32), scan.affine), folder / name)
    return names


def read(path: Path) -> Scan:
    """A scan of one channel, in RAS."""
    image = nib.as_closest_canonical(nib.Nifti1Image.from_filename(path))
    return Scan(path.name.split(".")[0], np.asarray(image.dataobj, np.float32)[None], image.affine)


def phantoms(folder: Path, kind: Kind, count: int) -> list[Scan]:
    """Phantoms for a bundle, of no seed that it was trained with."""
    out = folder / kind.part
    if not out.is_dir():
        options = ["--out", out, "--cases", count, "--seed", SEED]
        if kind.part == "thigh":  # whole, and in need of a translation
            options += ["--shape", "208,120,8", "--grades", "minor,moderate,severe"]
        subprocess.run([sys.executable, "-m", "data_prep.phantoms", kind.part, *map(str, options)], check=True)
    return [read(path) for pattern in kind.phantoms for path in sorted(out.glob(pattern))][:count]


def body_parts(data: Path) -> dict[str, list[Scan]]:
    """A few patients by body part."""
    hearts = sorted((data / "mscmr" / "C0").glob("*_C0.nii.gz"))[:6]
    limbs = [path / "MR_T1_image.nii.gz" for path in sorted((data / "sts").glob("STS_*"))[:6]]
    torsos = [data / "torso" / name for name in ("ct.nii.gz", "mr.nii.gz")]
    named = {"heart": hearts, "thigh": limbs, "abdomen": torsos}
    return {
        part: [replace(read(path), case=f"{part}_{k}") for k, path in enumerate(paths)] for part, paths in named.items()
    }


def repeat(scan: Scan, channels: int) -> Scan:
    """A scan of one channel with as many as a bundle wants, each another curve of its intensities."""
    low, high = np.percentile(scan.voxels, (0.5, 99.5))
    share = np.clip((scan.voxels[0] - low) / (high - low), 0, 1)
    return replace(
        scan, voxels=scan.voxels if channels == 1 else np.stack([share ** (2.0**k) for k in range(channels)])
    )


if __name__ == "__main__":
    typer.run(main)
