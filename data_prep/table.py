"""Draft the table of a data set, `cases.csv`: which file is what of which case.

It knows public data sets (BIDS, Medical Segmentation Decathlon, nnU-Net, BraTS 2013 to 2024, LiTS, MM-WHS, MS-CMRSeg,
TCGA-LGG, thighs in folders of grades) and otherwise goes by names: sequences (flair, t1ce, T1w, ...), masks (seg,
label, mask, dseg, ...), foregrounds (brainmask). It accounts for every file and refuses what names do not decide. Check
the table, complete it in any editor, and prepare the data from it.

    python -m data_prep.table FOLDER --out cases.csv
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from operator import itemgetter
from pathlib import Path
from typing import Annotated, Any

import typer
from transeg.data.finder import Findings, survey
from transeg.data.table import Case, flag_faults, parse_presence, read_rows, table_channels, write_table
from transeg.errors import TableError, UserError
from transeg.files import volume_stem, write_csv
from transeg.references import SLICES, parse, suffix_of

from data_prep.cases import run_command
from data_prep.options import Domains, Groups, Patterns, patterns_of

KNOWN = ("presence", "domain", "group", "patient", "split")  # what a spreadsheet may add to a draft
SHOWN = 20  # files per reason


def draft(
    folder: Annotated[Path, typer.Argument(help="Folder of the scans, searched with its subfolders.")],
    out: Annotated[Path, typer.Option(help="The table to write.")] = Path("cases.csv"),
    pattern: Patterns = None,
    domain: Domains = None,
    group: Groups = None,
    join: Annotated[
        Path | None,
        typer.Option(
            help="CSV file of what is known of the cases: case, or patient, and any other columns of a table."
        ),
    ] = None,
    spacing: Annotated[
        tuple[float, float, float] | None,
        typer.Option(help="Voxel size in mm of slices whose format holds none (TIF, PNG): X Y Z."),
    ] = None,
    account: Annotated[Path | None, typer.Option(help="Also write what every file is to this CSV file.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing table.")] = False,
) -> Path:
    """Draft the table of cases of a folder, and account for every file in it."""
    if out.exists() and not overwrite:
        raise UserError(f"{out}: exists, perhaps with your corrections; choose another --out or give --overwrite")
    findings = survey(
        folder,
        patterns_of(pattern or ()),
        patterns_of(domain or (), "--domain"),
        patterns_of(group or (), "--group"),
    )
    if account is not None:
        _write_account(account, findings)
    findings.check()
    if spacing is not None and min(spacing) <= 0:
        raise UserError(f"--spacing {' '.join(map(str, spacing))}: voxel sizes are above 0")
    cases = [replace(case, spacing=spacing) if _lacks_spacing(case) else case for case in findings.cases]
    cases = cases if join is None else join_known(cases, join)
    path = write_table(out, cases)
    print("\n".join([*_skipped(findings), *_summary(findings, cases), *_checks(findings.root, cases), f"wrote {path}"]))
    return path


def _write_account(path: Path, findings: Findings) -> None:
    rows = [{"file": file.relative_to(findings.root), "what": what} for file, what in findings.account]
    write_csv(path, ("file", "what"), rows)


def _skipped(findings: Findings) -> list[str]:
    """Every skipped file by reason."""
    reasons: dict[str, list[str]] = {}
    for file, what in findings.skipped:
        reasons.setdefault(what, []).append(file.relative_to(findings.root).as_posix())
    lines = []
    for reason, files in sorted(reasons.items()):
        lines.append(f"{reason} ({len(files)}):")
        lines += [f"  {file}" for file in files[:SHOWN]]
        lines += [f"  ... and {len(files) - SHOWN} more, see --account"] if len(files) > SHOWN else []
    return lines


def join_known(cases: Sequence[Case], path: Path) -> list[Case]:
    """Cases with what a CSV file says of them: presence, domain, group, patient or split; other columns are left.

    Args:
        cases: of the draft.
        path: with a column "case", or "patient" for all cases of a patient; empty cells change nothing. Rows without
            a scan are listed and left.

    Raises:
        TableError: everything that is wrong: no such column, no row with a scan, a case twice, an invalid presence.
    """
    rows = read_rows(path)
    key = next((name for name in ("case", "patient") if rows and name in rows[0][1]), None)
    used = [name for name in KNOWN if rows and name in rows[0][1] and name != key]
    if key is None or not used:
        raise TableError(
            f"{path}: expected a column case or patient, and at least one of {', '.join(KNOWN)}; the columns are: "
            + ", ".join(rows[0][1])
        )
    named = [volume_stem(row[key]) for _, row in rows]
    most, count = max(Counter(filter(None, named)).items(), key=itemgetter(1), default=("", 0))
    if count > 2:
        raise TableError(
            f"{path}: {count} rows of {key} {most!r}; expected one row per {key}, with the slices that show the "
            "disease as ranges in the column presence, counted from 0, such as 12;40-73"
        )
    of_case = {case.name: case.name if key == "case" else case.patient for case in cases}
    lone = [name for name in named if name not in of_case.values()]
    if len(lone) == len(rows):
        raise TableError(
            f"{path}: no {key} of it is among the scans: {_few(lone)}; the scans: {_few([*of_case.values()])}"
        )
    faults, known = flag_faults(row.get("presence", "") for _, row in rows), {}
    for name, (number, row) in zip(named, rows, strict=True):
        if not name:
            faults.append(f"row {number}: no {key}")
        elif name in known:
            faults.append(f"row {number}: {key} {row[key]!r} again")
        try:
            known[name] = {field: _value(field, row[field]) for field in used if row[field]}
        except ValueError as error:
            faults.append(f"row {number}: {error}")
    if faults:
        raise TableError(f"{path}: {len(faults)} fault(s):" + "".join(f"\n  {fault}" for fault in faults))
    if lone:
        print(f"warning: {path}: no scan of {len(lone)} {key}s: {_few(lone, 10)}")
    left = [name for name in rows[0][1] if name not in (key, *used)]
    if left:
        print(f"columns of {path} that are not used: {', '.join(left)}")
    return [replace(case, **known.get(of_case[case.name], {})) for case in cases]


def _value(field: str, text: str) -> Any:
    return parse_presence(text) if field == "presence" else text.lower() if field in ("domain", "split") else text


def _summary(findings: Findings, cases: Sequence[Case]) -> list[str]:
    columns = Counter(name for case in cases for name in case.images)
    columns |= Counter({name: sum(bool(getattr(case, name)) for case in cases) for name in ("label", "foreground")})
    lines = [
        f"{len(findings.account)} files: {len(findings.account) - len(findings.skipped)} used, "
        f"{len(findings.skipped)} skipped",
        f"{len(cases)} cases of {len({case.patient for case in cases})} patients; "
        + _counted((name, columns[name]) for name in (*table_channels(cases), "label", "foreground")),
    ]
    for name in ("domain", "group"):
        values = Counter(getattr(case, name) for case in cases)
        lines += [f"{name}: " + _counted((value or "none", values[value]) for value in sorted(values))] * any(values)
    return lines


def _counted(counts: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts if count)


def _checks(root: Path, cases: Sequence[Case]) -> list[str]:
    """What the user should look at."""
    channels = {domain: table_channels(c for c in cases if c.domain == domain) for domain in {c.domain for c in cases}}
    lacking = [case.name for case in cases if set(channels[case.domain]) - set(case.images)]
    unlabelled = [case.name for case in cases if not case.label and case.presence is None and not case.domain]
    stacks = [case.name for case in cases if _lacks_spacing(case)]
    checks = {
        "lack a channel that others have": lacking,
        "have no label; give their presence (yes, no or slices such as 40-73) if it is known": unlabelled,
        "are slices without a voxel size; give --spacing, or fill in the column spacing (mm: x y z)": stacks,
        "have the same name as others in another folder; if a patient is the same, name it so in the column patient": (
            _namesakes(root, cases)
        ),
    }
    lines = [f"check: {len(found)} cases {what}: {_few(found)}" for what, found in checks.items() if found]
    return [*lines, "check: the column patient, since patients are kept in one split, and some rows by eye"]


def _lacks_spacing(case: Case) -> bool:
    return case.spacing is None and any(suffix_of(parse(image).path) in SLICES for image in case.images.values())


def _namesakes(root: Path, cases: Sequence[Case]) -> list[str]:
    """Cases of different patients at the same place below different folders of the root, such as ct/p1 and mr/p1."""
    places: dict[tuple[str, ...], list[Case]] = {}
    for case in cases:
        place = parse(next(iter(case.images.values()))).path.relative_to(root).parts[1:]
        if place and case.name.endswith(f"_{volume_stem(place[0])}"):  # not the scan in the folder of each patient
            places.setdefault(place, []).append(case)
    return [case.name for found in places.values() if len({case.patient for case in found}) > 1 for case in found]


def _few(names: Sequence[str], count: int = 5) -> str:
    return ", ".join(names[:count]) + (", ..." if len(names) > count else "")


if __name__ == "__main__":
    run_command(draft)
