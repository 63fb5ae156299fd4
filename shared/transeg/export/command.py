"""`transeg export`: training data for nnU-Net and MONAI."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from tqdm import tqdm

import transeg
from transeg.errors import CasesFailedError, DataError, UserError, failure_report, listed, root_cause
from transeg.export.dataset import NAME, SPLITS, new_folder, write_lists, write_volumes
from transeg.export.sources import Case, LeftOut, choose, read_sources
from transeg.export.volumes import Names, Volumes, read_case, shared_names
from transeg.files import write_text
from transeg.metrics.silhouette import body
from transeg.metrics.variety import Lesion, Variety, lesion_of, variety

RECORD = "export.json"
CONFIDENCE = 0.9
PLURALS = {"labelled": "labelled", "pseudo-label": "pseudo-labels", "translation": "translations", "sample": "samples"}
NAMED = 5  # cases in a sentence; the record has all
MUCH = 2.0  # times the volume of the masks: beyond it, too much of the background is ignored
LITTLE = 0.5  # of the spread of other lesions, or of the number of samples: below it, samples are too much alike


def export(
    sources: Annotated[
        list[Path],
        typer.Argument(
            help="Folders to join: prepared data (scans with masks), what `transeg segment` wrote, synthetic cases."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Data set, new: a folder such as nnUNet_raw/Dataset501_Knees.")],
    translated: Annotated[
        bool, typer.Option("--translated", help="Take the translations of segmented scans, not the scans.")
    ] = False,
    domain: Annotated[str, typer.Option(help="Domain of the labelled scans to take, e.g. mr (default: all).")] = "",
    confidence: Annotated[
        float,
        typer.Option(
            help="Voxels of predicted masks whose class has a smaller probability are ignored; 0: none.", min=0, max=1
        ),
    ] = CONFIDENCE,
    keep_warned: Annotated[
        bool, typer.Option("--keep-warned", help="Keep cases that `transeg segment` warned of.")
    ] = False,
    keep_empty: Annotated[
        bool, typer.Option("--keep-empty", help="Keep scans in which nothing was segmented, as free of it.")
    ] = False,
    channels: Annotated[
        str,
        typer.Option(
            help="Comma-separated names of the channels for nnU-Net, which scales CT by itself (default: own)."
        ),
    ] = "",
) -> None:
    """Write masks and synthetic cases as a raw data set of nnU-Net v2, which is a data list of MONAI as well.

    Scans of test patients are left out. Failed cases are listed at the end; all others are written. Exit status 1 if
    any failed.
    """
    names = [name.strip() for name in channels.split(",") if name.strip()]
    run_export(sources, out, translated, domain, confidence, keep_warned, keep_empty, names)


def run_export(
    sources: Sequence[Path],
    out: Path,
    translated: bool = False,
    domain: str = "",
    confidence: float = CONFIDENCE,
    keep_warned: bool = False,
    keep_empty: bool = False,
    channels: Sequence[str] = (),
) -> Path:
    """Write a data set, see `export`.

    Args:
        sources: see `read_sources`.
        out: new folder named Dataset, three digits, _ and a word.
        translated: see `read_sources`.
        domain: see `choose`.
        confidence: see `read_case`.
        keep_warned: see `choose`.
        keep_empty: keep predicted masks without a structure.
        channels: names for nnU-Net; default those of the first source.

    Returns:
        The folder: `imagesTr`, `labelsTr`, `dataset.json`, `splits_final.json`, `monai_datalist.json`, `export.json`.

    Raises:
        DataError: a source that cannot be used, sources that do not agree, or no case to write.
        CasesFailedError: cases that cannot be read; all others are written.
    """
    with new_folder(out) as folder:
        cases, left_out = choose(read_sources(sources, translated), domain, keep_warned)
        names = shared_names(cases) if cases else Names((), ())
        if channels and len(channels) != len(names.channels):
            raise UserError(f"--channels: {len(channels)} names, but the images have {', '.join(names.channels)}")
        shown = names._replace(channels=tuple(channels)) if channels else names
        written = _write_cases(cases, names, folder, confidence, keep_empty)
        left_out = [*left_out, *_empty(written.empty)]
        for part in left_out:
            print(f"left out: {len(part.cases)} {part.why}: {listed(part.cases, NAMED)}")
        if not written.cases:
            why = f"\n  {failure_report(written.failures, len(cases))}" if written.failures else ""
            raise DataError(f"{', '.join(map(str, sources))}: no case is left to export{why}")
        write_lists(folder, out, written.cases, shown, written.ignored > 0)
        write_text(folder / RECORD, json.dumps(_record(sources, written, left_out, confidence), indent=1) + "\n")
        has_splits = (folder / SPLITS).is_file()
    for line in _summary(out, written, confidence, has_splits):
        print(line)
    if written.failures:
        raise CasesFailedError(failure_report(written.failures, len(cases)))
    return out


@dataclass
class _Written:
    """What was written, and what was not."""

    cases: list[Case] = field(default_factory=list)
    empty: list[Case] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    entries: dict[str, dict[str, Any]] = field(default_factory=dict)
    lesions: dict[str, list[Lesion]] = field(default_factory=dict)
    ignored: int = 0  # voxels

    def add(self, case: Case, volumes: Volumes) -> None:
        """Record a case."""
        ml = abs(float(np.linalg.det(volumes.affine[:3, :3]))) / 1000
        entry: dict[str, Any] = {"kind": case.kind, "patient": case.patient, "source": str(case.source)}
        inside = volumes.label > 0
        entry["ml"] = round(float(inside.sum()) * ml, 3)
        if volumes.doubtful is not None:
            self.ignored += int(volumes.doubtful.sum())
            entry["ignored_ml"] = round(float(volumes.doubtful.sum()) * ml, 3)
        if inside.any():
            around = body(volumes.image)
            around = around if around.any() else np.ones_like(around)
            self.lesions.setdefault(case.kind, []).append(lesion_of(inside, around, volumes.affine))
        self.cases.append(case)
        self.entries[case.name] = entry

    def variety(self) -> dict[str, Variety]:
        """Of the masks of each kind, if any are samples."""
        return {kind: variety(found) for kind, found in self.lesions.items()} if "sample" in self.lesions else {}


def _write_cases(cases: Sequence[Case], names: Names, folder: Path, confidence: float, keep_empty: bool) -> _Written:
    """Write image and mask of each case that can be read and, unless it is given, shows something."""
    written = _Written()
    for case in tqdm(cases, desc="exporting", unit="case", disable=None, file=sys.stderr):
        try:
            volumes = read_case(case, names, confidence)
        except Exception as error:  # MONAI wraps it
            cause = root_cause(error)
            if not isinstance(cause, UserError):
                raise
            written.failures[case.name] = str(cause)
            continue
        kept = case.kind == "labelled" or (keep_empty and case.kind != "sample")
        if kept or volumes.label.any():
            write_volumes(folder, case.name, volumes, len(names.labels))
            written.add(case, volumes)
        else:
            written.empty.append(case)
    return written


def _empty(cases: Sequence[Case]) -> list[LeftOut]:
    samples = tuple(case.name for case in cases if case.kind == "sample")
    others = tuple(case.name for case in cases if case.kind != "sample")
    found = [LeftOut("samples with an empty mask", samples)] if samples else []
    return found + ([LeftOut("in which nothing was segmented (--keep-empty keeps them)", others)] if others else [])


def _record(
    sources: Sequence[Path], written: _Written, left_out: Sequence[LeftOut], confidence: float
) -> dict[str, Any]:
    return {
        "transeg": transeg.__version__,
        "sources": [str(source) for source in sources],
        "confidence": confidence,
        "cases": written.entries,
        "left_out": [part.record() for part in left_out],
        "failed": written.failures,
        "variety": {kind: found.record() for kind, found in written.variety().items()},
    }


def _summary(out: Path, written: _Written, confidence: float, has_splits: bool) -> list[str]:
    """What is told at the end."""
    counts = Counter(case.kind for case in written.cases)
    kinds = ", ".join(f"{count} {PLURALS[kind] if count > 1 else kind}" for kind, count in counts.items())
    lines = [f"{out}: {len(written.cases)} cases ({kinds}), {_ignored(written, confidence)}"]
    found = written.variety()
    lines += [*variety_table(found), *variety_warnings(found)] if found else []
    number = NAME.fullmatch(out.name)
    if number:
        lines.append(f"next: nnUNetv2_plan_and_preprocess -d {int(number[1])} --verify_dataset_integrity")
    if has_splits:
        lines.append(f"then copy {SPLITS} to nnUNet_preprocessed/{out.name}: no patient is in both parts of a fold")
    return lines


def _ignored(written: _Written, confidence: float) -> str:
    predicted = [entry for entry in written.entries.values() if entry["kind"] in ("pseudo-label", "translation")]
    known = [entry for entry in predicted if "ignored_ml" in entry]
    if not predicted or not confidence:
        return "no voxel is ignored"
    if not known:
        return "no voxel is ignored, as there is no map of uncertainty; segment with --save_uncertainty True for one"
    ignored, inside = (sum(entry[name] for entry in known) for name in ("ignored_ml", "ml"))
    told = f"{ignored:.1f} ml ignored as less than {confidence:.0%} certain, beside {inside:.1f} ml of masks"
    return f"{told}; that is much, a lower --confidence ignores less" if ignored > MUCH * inside else told


def variety_table(found: Mapping[str, Variety]) -> list[str]:
    """Lines of a table, a row for each kind of case."""
    lines = [f"{'lesions of':14}{'cases':>6}{'spread of places':>18}{'volume, median (range)':>28}{'shapes':>8}"]
    for kind, of in found.items():
        volume = f"{of.median_ml:.1f} ml ({of.smallest_ml:.1f} to {of.largest_ml:.1f})"
        lines.append(f"{PLURALS[kind]:14}{of.cases:6}{of.spread_mm:15.1f} mm{volume:>28}{of.shapes:8}")
    return lines


def variety_warnings(found: Mapping[str, Variety]) -> list[str]:
    """What makes samples worth little, from which a network would learn one place or one shape."""
    samples, warnings = found["sample"], []
    kind = next((kind for kind in ("labelled", "pseudo-label") if kind in found and found[kind].cases > 1), None)
    if kind and samples.cases > 1:
        others, name = found[kind], PLURALS[kind]
        if samples.spread_mm < LITTLE * others.spread_mm:
            warnings.append(
                f"warning: the samples lie in much the same place: spread {samples.spread_mm:.1f} mm, that of the "
                f"{name} {others.spread_mm:.1f} mm"
            )
        if not others.smallest_ml <= samples.median_ml <= others.largest_ml:
            warnings.append(f"warning: most samples are smaller or larger than any of the {name}")
    if samples.cases > 1 and samples.shapes < LITTLE * samples.cases:
        many = "s" * (samples.shapes > 1)
        warnings.append(f"warning: the {samples.cases} samples have only {samples.shapes} shape{many}")
    return warnings
