"""Volumes of two domains, such as CT and MR: splits by patient, and the prepared volumes of any table of cases."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from transeg.data.datalist import write_datalist
from transeg.data.table import SPLITS, Case
from transeg.data.training_cases import HASHES
from transeg.errors import DataError, UserError
from transeg.methods.cardiac.volumes import CardiacVolumes

from data_prep.cases import (
    DATALIST,
    familiarity,
    new_data_set,
    patients_of,
    raise_failed,
    reasons,
    scans_below,
    write_cases,
)
from data_prep.splits import split_patients


def scans_of_domains(folder: Path, recipe: Mapping[str, Any], missing: Callable[[str], str]) -> list[Case]:
    """Scans below a folder of the domains of a recipe, see `scans_below`.

    Args:
        folder: searched with its subfolders.
        recipe: with "channels" and "domains".
        missing: what to tell of a domain without a scan.

    Raises:
        DataError: no scan of a domain.
    """
    cases = [case for case in scans_below(folder, recipe["channels"]) if case.domain in recipe["domains"]]
    for domain in recipe["domains"]:
        if not any(case.domain == domain for case in cases):
            raise DataError(f"{folder}: {missing(domain)}")
    return cases


def split_by_patient(cases: Sequence[Case], validation: float, test: float, seed: int) -> dict[str, str]:
    """Split by case name: all volumes of a patient, of both domains, are in the same split.

    Stratified by the domains that a patient was scanned in. Arguments as for `split_patients`.
    """
    return split_patients(by_domains(cases), validation, test, seed)


def by_domains(cases: Sequence[Case]) -> list[Case]:
    """Cases grouped by the domains that their patient was scanned in."""
    scanned: dict[str, set[str]] = {}
    for case in cases:
        scanned.setdefault(case.patient or case.name, set()).add(case.domain)
    return [replace(case, group="+".join(sorted(scanned[case.patient or case.name]))) for case in cases]


def prepare_domains(
    cases: Sequence[Case],
    roles: Mapping[str, str],
    out: Path,
    recipe: Mapping[str, Any],
    *,
    unlabelled_domain: str | None = None,
    further_roles: Sequence[str] = (),
    name: str,
    description: str,
    options: Mapping[str, Any],
    seed: int,
    workers: int = 1,
) -> Path:
    """Write the volume of every case that has a role, then the datalist, with a list of each role and domain.

    Args:
        cases: cases, with their domain.
        roles: role by case name, one of `SPLITS` or `further_roles`.
        out: output folder.
        recipe: see `cardiac_preprocessing`.
        unlabelled_domain: hide the labels of this domain, except those of the test volumes.
        further_roles: roles of volumes that are listed but not trained on.
        name: see `write_datalist`.
        description: see `write_datalist`.
        options: options of the command.
        seed: random seed of the roles, for the record.
        workers: number of processes.

    Returns:
        Path of the datalist. Items have "domain"; those of `training_ct` and so on are prepared volumes, those of
        `training_ct_volumes` their source files.

    Raises:
        CasesFailedError: at the end, if any case failed.
        UserError: a case of another domain, no training volume of a domain, or none with a label.
    """
    domains = [*recipe["domains"]]
    stray = sorted(case.name for case in cases if case.domain not in domains)
    if stray:
        raise UserError(f"{', '.join(stray[:5])}: domain is neither {' nor '.join(domains)}; correct the table")
    used = [_shown(case, roles[case.name], unlabelled_domain) for case in cases if case.name in roles]
    with new_data_set(out, name, recipe["method"]) as folder:
        kept, failed = write_cases(used, recipe["channels"], CardiacVolumes(recipe), folder, workers)
        lists: dict[str, list[dict]] = {f"{role}_{d}": [] for role in (*SPLITS, *further_roles) for d in domains}
        volumes: dict[str, list[dict]] = {f"{key}_volumes": [] for key in lists}
        for case in (case for case in used if case.name in kept):
            key = f"{roles[case.name]}_{case.domain}"
            label = {"label": f"labels/{case.name}.npy"} if case.label else {}
            lists[key] += [item | label for item in kept[case.name].presence]
            volumes[f"{key}_volumes"].append(case.item(recipe["channels"], out))
        training = {case.name: case.domain for case in used if case.name in kept and roles[case.name] == "training"}
        _check_training(lists, domains, failed)
        write_datalist(
            folder / DATALIST,
            lists | volumes,
            name=name,
            description=description,
            recipe=dict(recipe) | familiarity({name: kept[name] for name in training}, training),
            preparation={
                "options": dict(options),
                "seed": seed,
                "kept": {key: len(items) for key, items in (lists | volumes).items()},
                "roles": dict(roles),
                "patients": patients_of(used),
                HASHES: {name: one.digests for name, one in kept.items()},
                "failed": failed,
            },
            dimensions=3,
        )
    _print_summary(lists, (*SPLITS, *further_roles), domains, len(cases) - len(used))
    print(f"wrote {out / DATALIST}")
    raise_failed(failed, len(used))
    return out / DATALIST


def _check_training(lists: Mapping[str, Sequence[Mapping]], domains: Sequence[str], failed: Mapping[str, str]) -> None:
    """Raise UserError unless there are training volumes of each domain, and of one of them with labels."""
    empty = [d for d in domains if not lists[f"training_{d}"]]
    if empty:
        fault = f"no training volume of {empty[0].upper()}; add volumes or reduce validation and test"
        raise UserError(fault + reasons(failed))
    if not any("label" in item for d in domains for item in lists[f"training_{d}"]):
        raise UserError("no training volume has a label; label some volumes of at least one domain" + reasons(failed))


def _shown(case: Case, role: str, unlabelled_domain: str | None) -> Case:
    """The case with what is to be known of it; a hidden label must not tell where to crop either."""
    return replace(case, label=None) if case.domain == unlabelled_domain and role != "test" else case


def _print_summary(lists: Mapping[str, Sequence], roles: Sequence[str], domains: Sequence[str], unused: int) -> None:
    print(f"{'':12}" + "".join(f"{d.upper():>8}{'labelled':>10}" for d in domains))
    for role in roles:
        found = [lists[f"{role}_{d}"] for d in domains]
        print(f"{role:12}" + "".join(f"{len(items):8}{sum('label' in i for i in items):10}" for items in found))
    if unused:
        print(f"not used: {unused}")
