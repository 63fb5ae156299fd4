"""Splits by patient, stratified by a group such as the grade.

Not scikit-learn's StratifiedGroupKFold: its folds are of equal size, whereas sizes here are fractions or counts and
some cases may be fixed; it would also change the splits of existing seeds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from transeg.data.table import Case
from transeg.errors import UserError


def split_patients(
    cases: Sequence[Case],
    validation: float,
    test: float,
    seed: int,
    validation_cases: Sequence[str] = (),
    test_cases: Sequence[str] = (),
) -> dict[str, str]:
    """Assign every case to "training", "validation" or "test", all cases of a patient to the same split.

    Args:
        cases: all cases, including those that may fail, so that repairing one does not change the split.
        validation: fraction of the patients (below 1) or their number; a fraction above 0 gives at least one.
        test: fraction or number, likewise.
        seed: random seed of the draw, which is stratified by group.
        validation_cases: case names; overrides the draw.
        test_cases: case names; overrides the draw.

    Returns:
        Split by case name.

    Raises:
        UserError: unknown names, a patient in two splits, or no patient left for training.
    """
    chosen = dict.fromkeys(validation_cases, "validation") | dict.fromkeys(test_cases, "test")
    patients = {case.name: case.patient or case.name for case in cases}
    unknown = sorted(set(chosen) - set(patients))
    if unknown:
        raise UserError(f"no case named {', '.join(unknown)}; the cases are: {', '.join(sorted(patients))}")
    splits = {patients[name]: split for name, split in chosen.items()}
    torn = sorted(name for name, split in chosen.items() if splits[patients[name]] != split)
    if torn or set(validation_cases) & set(test_cases):
        raise UserError(f"{', '.join(torn) or 'a case'}: the same patient is in both validation and test; choose one")
    order = [patient for patient in _spread(cases, seed) if patient not in splits]
    for split, amount, names in (("test", test, test_cases), ("validation", validation, validation_cases)):
        if not names and amount:
            count = max(1, round(amount * len(set(patients.values())))) if amount < 1 else int(amount)
            splits |= dict.fromkeys(order[:count], split)
            order = order[count:]
    if not order:
        raise UserError(f"{len(splits)} patient(s) to split and none left for training; reduce --validation and --test")
    return {name: splits.get(patient, "training") for name, patient in patients.items()}


def split_labelled(
    cases: Sequence[Case],
    validation: float,
    test: float,
    seed: int,
    validation_cases: Sequence[str] = (),
    test_cases: Sequence[str] = (),
    pool: Sequence[Case] | None = None,
) -> dict[str, str]:
    """Split like `split_patients`, but draw validation and test patients from those with a label, if there are any.

    Scores need labels, training does not. Splits that the cases state are kept; with them nothing is drawn for
    validation or test. Fractions of two labelled patients give one for validation and none for testing; a single one is
    for training.

    Args:
        cases: all cases.
        validation: fraction or number of the labelled patients.
        test: likewise.
        seed: see `split_patients`.
        validation_cases: see `split_patients`.
        test_cases: see `split_patients`.
        pool: cases to draw from; default those with a label, otherwise all.
    """
    patients = {case.name: case.patient or case.name for case in cases}
    stated = {patients[case.name]: case.split for case in cases if case.split}
    drawn: dict[str, str] = {}
    if not {"validation", "test"} & set(stated.values()):
        found = list(pool) if pool is not None else [case for case in cases if case.label] or list(cases)
        found = [case for case in found if patients[case.name] not in stated]
        number = len({patients[case.name] for case in found})
        named = set(validation_cases) | set(test_cases)
        found += [case for case in cases if case.name in named and case not in found]
        if not named and test < 1 and number < 3:  # too few for three parts
            test = 0
        if found and (named or number > 1 or max(validation, test) >= 1):
            splits = split_patients(found, validation, test, seed, validation_cases, test_cases)
            drawn = {patients[name]: split for name, split in splits.items()}
    return {name: (stated | drawn).get(patient, "training") for name, patient in patients.items()}


def _spread(cases: Sequence[Case], seed: int) -> list[str]:
    """Patients in random order, such that any contiguous part is stratified by group."""
    groups: dict[str, list[str]] = {}
    for case in sorted(cases, key=lambda case: case.name):
        patients = groups.setdefault(case.group, [])
        if (case.patient or case.name) not in patients:
            patients.append(case.patient or case.name)
    rng = np.random.default_rng((seed, 0))
    placed: list[tuple[float, str, str]] = []
    for group in sorted(groups):
        shuffled = rng.permutation(groups[group]).tolist()
        placed += [((i + 0.5) / len(shuffled), group, patient) for i, patient in enumerate(shuffled)]
    return [patient for *_, patient in sorted(placed)]
