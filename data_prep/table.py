"""Draft the table of a data set, `cases.csv`: which file is what of which case.

It knows public data sets (BIDS, Medical Segmentation Decathlon, nnU-Net, BraTS 2013 to 2024, LiTS, MM-WHS, MS-CMRSeg,
TCGA-LGG, thighs in folders of grades) and otherwise goes by names: sequences (flair, t1ce, T1w, ...), masks (seg,
label, mask, dseg, ...), foregrounds (brainmask). It accounts for every file and refuses what names do not decide. Check
the table, complete it in any editor, and prepare the data from it.

    python -m data_prep.table FOLDER --out cases.csv
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer
from transeg.data.finder import Findings, survey
from transeg.data.table import Case, table_channels, write_table
from transeg.errors import UserError
from transeg.files import write_text
from transeg.references import SLICES, parse, suffix_of

from data_prep.cases import run_command
from data_prep.options import Domains, Groups, Patterns, patterns_of

SHOWN = 20  # files per reason


def draft(
    folder: Annotated[Path, typer.Argument(help="Folder of the scans, searched with its subfolders.")],
    out: Annotated[Path, typer.Option(help="The table to write.")] = Path("cases.csv"),
    pattern: Patterns = None,
    domain: Domains = None,
    group: Groups = None,
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
    path = write_table(out, findings.cases)
    print("\n".join([*_skipped(findings), *_summary(findings), *_checks(findings.cases), f"wrote {path}"]))
    return path


def _write_account(path: Path, findings: Findings) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(("file", "what"))
    writer.writerows((file.relative_to(findings.root), what) for file, what in findings.account)
    write_text(path, text.getvalue())


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


def _summary(findings: Findings) -> list[str]:
    cases = findings.cases
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


def _checks(cases: Sequence[Case]) -> list[str]:
    """What the user should look at."""
    channels = {domain: table_channels(c for c in cases if c.domain == domain) for domain in {c.domain for c in cases}}
    lacking = [case.name for case in cases if set(channels[case.domain]) - set(case.images)]
    unlabelled = [case.name for case in cases if not case.label]
    stacks = [case.name for case in cases if any(_has_no_spacing(image) for image in case.images.values())]
    checks = {
        "lack a channel that others have": lacking,
        "have no label; give their presence (yes, no or slices such as 40-73) if it is known": unlabelled,
        "are slices without a voxel size; fill in the column spacing (mm: x y z)": stacks,
    }
    lines = [f"check: {len(found)} cases {what}: {_few(found)}" for what, found in checks.items() if found]
    return [*lines, "check: the column patient, since patients are kept in one split, and some rows by eye"]


def _has_no_spacing(reference: str) -> bool:
    return suffix_of(parse(reference).path) in SLICES


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


if __name__ == "__main__":
    run_command(draft)
