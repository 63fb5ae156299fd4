"""Find the cases below a folder: which volume is what of which case, and what every other file is.

Names decide (`transeg.data.names`), by the rules of public data sets (`transeg.data.layouts`) or by general ones: a
case is a folder and a stem, the name without the words of its role. Where names leave two possibilities, the finder
refuses and says how to decide; it never guesses.
"""

from __future__ import annotations

import logging
import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from transeg.data.layouts import GRADES, PATIENT, Part, group_of, layouts, read_grades
from transeg.data.names import (
    FOREGROUND,
    IMAGE,
    LABEL,
    MODALITIES,
    OUTPUT,
    SEQUENCES,
    canonical,
    folder_role,
    read_name,
)
from transeg.data.sources import NO_SCANS, Contents, Volume, looks_like_mask, nifti_header, read_folder
from transeg.data.table import Case
from transeg.errors import DataError, TableError, listed
from transeg.references import VOLUMES, files_of, is_dicom, suffix_of

logger = logging.getLogger(__name__)

Patterns = Mapping[str, str | Sequence[str]]  # by name; any of several matches
Key = tuple[Path, str, str]  # of a case, see `Part.key`
SKIP = "skip"  # name of a pattern for files to leave out
_MASKS = (LABEL, FOREGROUND)
_ROLE_TEXTS = {LABEL: "mask"}


class Doubt(NamedTuple):
    """Something that names do not decide."""

    text: str
    roles: frozenset[str]  # that it is about


@dataclass
class Findings:
    """Cases below a folder, and an account of every file."""

    root: Path
    cases: list[Case] = field(default_factory=list)
    account: list[tuple[Path, str]] = field(default_factory=list)
    doubts: list[Doubt] = field(default_factory=list)

    @property
    def skipped(self) -> list[tuple[Path, str]]:
        """Files that are not used, with the reason."""
        return [(path, what) for path, what in self.account if what.startswith("skipped")]

    def check(self, roles: Iterable[str] | None = None) -> None:
        """Raise if there is a doubt, or no case; see `find_cases`."""
        wanted = None if roles is None else {canonical(role) for role in roles} | {IMAGE}
        doubts = [doubt.text for doubt in self.doubts if wanted is None or wanted & doubt.roles]
        if doubts:
            listed = "".join(f"\n  {doubt}" for doubt in doubts)
            raise TableError(
                f"{self.root}: {len(doubts)} doubt(s):{listed}\nMove or rename files, or list the cases in a table. "
                "`python -m data_prep.table` drafts it: --pattern t1='*_T1w*' tells which files are a channel, label "
                "or foreground, and no others are (give all patterns that it takes), skip='*old*' which to leave out"
            )
        if not self.cases:
            reasons = Counter(what.removeprefix("skipped: ") for _, what in self.skipped)
            found = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common(5))
            raise DataError(
                f"{self.root}: no scan found (NIfTI, NRRD, MHA, DICOM, numbered TIF or PNG); "
                + (f"files: {found}" if found else "the folder is empty")
            )

    def log(self) -> None:
        """Log what every file is, and warn of scans that are not used: of each volume, and by reason of the others."""
        files: dict[str, list[Path]] = {}
        for path, what in self.account:
            if what.startswith("skipped") and what not in NO_SCANS and suffix_of(path) in VOLUMES:
                logger.warning("%s: %s", path, what)
            else:
                files.setdefault(what, []).append(path)
        for what, paths in files.items():
            level = logging.WARNING if what.startswith("skipped") and what not in NO_SCANS else logging.INFO
            places = paths[0] if len(paths) == 1 else f"{len(paths)} files, such as {paths[0]}"
            logger.log(level, "%s: %s", what, places)


def find_cases(
    source: str | os.PathLike,
    patterns: Patterns | None = None,
    domains: Patterns | None = None,
    groups: Patterns | None = None,
    roles: Iterable[str] | None = None,
) -> Findings:
    """Find the cases below a folder, or that of one file.

    Args:
        source: folder, file, or reference to slices (`P1/P1_*.tif`).
        patterns: file name pattern, or several, by channel, "label", "foreground" or "skip"; a role with a pattern is
            decided by it alone. Patterns with a slash are compared with the path below the folder.
        domains: pattern of the path below the folder, or several, by domain.
        groups: likewise, by group.
        roles: channels, "label" and "foreground" that matter; doubts about others do not. Default: all.

    Raises:
        DataError: no such source, or no scan in it.
        TableError: all that names do not decide.
    """
    findings = survey(source, patterns, domains, groups)
    findings.check(roles)
    return findings


def survey(
    source: str | os.PathLike,
    patterns: Patterns | None = None,
    domains: Patterns | None = None,
    groups: Patterns | None = None,
) -> Findings:
    """What `find_cases` finds, with its doubts instead of an error.

    Raises:
        DataError: no such source.
    """
    path = Path(source)
    if not path.exists():
        if "*" in path.name and files_of(path):
            name = read_name(path.name[: -len(suffix_of(path))].replace("*", "")).stem or path.parent.resolve().name
            return Findings(
                path, [Case(name, {IMAGE: str(path)})], [(file, f"image of {name}") for file in files_of(path)]
            )
        raise DataError(f"{path}: no such file or folder")
    # a DICOM file stands for its series
    contents = read_folder(path) if path.is_dir() else read_folder(path.parent, None if is_dicom(path) else path)
    if path.is_file() and not (contents.volumes or contents.faults):
        why = contents.account[path].removeprefix("skipped: ")
        raise DataError(f"{path}: {why}; name a NIfTI, NRRD or MHA file, or the folder of a DICOM series or of slices")
    return _Search(contents, patterns or {}, domains or {}, groups or {}).findings()


class _Search:
    """One search: from volumes to parts, from parts to cases."""

    def __init__(self, contents: Contents, patterns: Patterns, domains: Patterns, groups: Patterns) -> None:
        self.root, self.volumes, self.account = contents.root, contents.volumes, contents.account
        self.patterns = _listed((_role_of(name), pattern) for name, pattern in patterns.items())
        self.domains, self.groups = _listed(domains.items()), _listed(groups.items())
        self.doubts = [Doubt(fault, frozenset((IMAGE,))) for fault in contents.faults]
        shown = [path for path, what in self.account.items() if not what.startswith("skipped: hidden")]
        self.layouts, self.grades = layouts(self.root, shown), read_grades(shown)
        self.account |= {path: "grades of cases" for path in shown if path.name == "name_mapping.csv"}
        self.parts: dict[Path, list[Part]] = {}

    def findings(self) -> Findings:
        """Search."""
        for volume in self.volumes:
            self.parts[volume.path] = self._parts(volume)
        self._join_series()
        self._merge_folders()
        self._attach_masks()
        self._check_patterns()
        cases = self._cases()
        return Findings(self.root, cases, sorted(self.account.items()), self.doubts)

    def _parts(self, volume: Volume) -> list[Part]:
        role = self._pattern_role(volume)
        if role == SKIP:
            return self._skip(volume, "as a pattern says")
        if role is None:
            for layout in self.layouts:
                parts = layout(volume)
                if parts is None:
                    continue
                parts = [part for part in parts if part.role not in self.patterns]
                return parts or self._skip(volume, "not the scan or mask of a case")
        return self._general(volume, role)

    def _pattern_role(self, volume: Volume) -> str | None:
        """Role by --pattern; the longest pattern decides if several match."""
        matching = [
            (len(pattern), name)
            for name, patterns in self.patterns.items()
            for pattern in patterns
            if self._matches(volume.path, pattern)
        ]
        return max(matching, key=itemgetter(0), default=(0, None))[1]

    def _check_patterns(self) -> None:
        """Doubt patterns that nothing matches."""
        paths = [volume.path for volume in self.volumes]
        named = chain(*self.patterns.values())
        unmatched = [pattern for pattern in named if not any(self._matches(path, pattern) for path in paths)]
        whole = chain(*self.domains.values(), *self.groups.values())
        unmatched += [pattern for pattern in whole if not any(self._lies_at(path, pattern) for path in paths)]
        for pattern in unmatched:
            self.doubts.append(Doubt(f"the pattern {pattern!r} matches no scan or mask", frozenset((IMAGE,))))

    def _matches(self, path: Path, pattern: str) -> bool:
        name = path.relative_to(self.root).as_posix() if "/" in pattern else path.name
        return fnmatch(name.lower(), pattern.lower())

    def _lies_at(self, path: Path, pattern: str) -> bool:
        """Whether the path below the root matches."""
        return fnmatch(path.relative_to(self.root).as_posix().lower(), pattern.lower())

    def _general(self, volume: Volume, role: str | None) -> list[Part]:
        """The part by the words of the names of file and folders."""
        literals = re.split(r"[*?\[\]]+", "*".join(self.patterns[role]).lower()) if role else []
        literals = [literal[: -len(suffix_of(literal)) or None] for literal in literals]
        words = [word for literal in literals for word in re.findall(r"[^\W_]+", literal)]
        place = volume.path.parent
        if volume.tags:  # of DICOM: the folder of the series stands for a file
            name = read_name(volume.path.name if volume.path != self.root else self.root.resolve().name, words)
            place = place if volume.path != self.root else self.root
            described = read_name(volume.name, words)
            name = name._replace(role=described.role or name.role, modality=described.modality or name.modality)
        else:
            name = read_name(volume.name, words)
        found = role or name.role
        if found == OUTPUT:
            return self._skip(volume, "a former result")
        while place != self.root and self._agrees(place, found or IMAGE):
            inner = folder_role(place.name)
            if place.name.lower() == "original" and inner == "":
                return self._skip(volume, "a label proposed by a model")
            found, place = found or inner, place.parent
        if role is None and found in self.patterns:
            return self._skip(volume, f"not what the pattern of {_ROLE_TEXTS.get(found, found)} matches")
        domain = name.modality if (found or IMAGE) == IMAGE else ""
        study = volume.tags.get("study", "")
        study = study and f"{volume.tags.get('patient', '')} {study}"  # some anonymisers give all studies one number
        return [Part(place, name.stem, found or IMAGE, str(volume.path), "", domain, study, fixed=False)]

    def _agrees(self, folder: Path, role: str) -> bool:
        """Whether the folder is only there for a role that a file of `role` may have."""
        if folder.name.lower() in ("final", "original"):  # of MONAI Label, in a folder of labels
            return folder.parent != self.root.parent and folder_role(folder.parent.name) == LABEL
        inner = folder_role(folder.name)
        return inner != "" and (inner == IMAGE or role in (IMAGE, inner))

    def _skip(self, volume: Volume, reason: str) -> list[Part]:
        self.account |= dict.fromkeys(volume.files, f"skipped: {reason}")
        return []

    def _all(self) -> list[tuple[Volume, Part]]:
        return [(volume, part) for volume in self.volumes for part in self.parts[volume.path]]

    def _join_series(self) -> None:
        """Make one case of the DICOM series of a study that lie in several folders."""
        studies: dict[str, list[tuple[Volume, Part]]] = {}
        for volume, part in self._all():
            if part.study:
                studies.setdefault(part.study, []).append((volume, part))
        for members in studies.values():
            if len(members) == 1:
                [(volume, part)] = members
                self.parts[volume.path] = [part._replace(study="")]
                continue
            place = Path(os.path.commonpath([volume.path for volume, _ in members]))
            known = any(part.role != IMAGE for _, part in members)
            for volume, part in members:
                if known and part.role == IMAGE:
                    self.parts[volume.path] = self._skip(volume, f"series {volume.name!r} is no known sequence")
                else:
                    self.parts[volume.path] = [part._replace(place=place, stem="")]

    def _merge_folders(self) -> None:
        """Make one case of a folder of scans with different names, if each is another known sequence."""
        places: dict[Path, list[tuple[Volume, Part]]] = {}
        for volume, part in self._all():
            if not part.fixed and part.role not in _MASKS:
                places.setdefault(part.place, []).append((volume, part))
        for place, members in places.items():
            roles = [part.role for _, part in members]
            if (
                self._may_be_a_patient(place)
                and IMAGE not in roles
                and len(set(roles)) == len(roles) == len({part.stem for _, part in members}) > 1
            ):
                for volume, part in members:
                    self.parts[volume.path] = [part._replace(stem="")]

    def _attach_masks(self) -> None:
        """Give masks of another stem than their scan to the case that they can only be of."""
        scans: dict[Key, list[tuple[Volume, Part]]] = {}
        for volume, part in self._all():
            if part.role not in _MASKS:
                scans.setdefault(part.key, []).append((volume, part))
        places = {place for place, *_ in scans}
        lone: dict[str, list[tuple[Volume, Part]]] = {}
        for volume, part in self._all():
            if part.role not in _MASKS or part.key in scans:
                continue
            if not part.fixed:
                part = part._replace(place=self._place_of_scans(part.place, places))
            if part.key in scans:
                self.parts[volume.path] = [part]
                continue
            here = [key for key in scans if key[0] == part.place and _may_share_grid(volume, scans[key][0][0])]
            named = [key for key in here if key[1] and re.match(re.escape(key[1]) + r"[\W_]", part.stem)]
            owners = sorted(named, key=lambda key: len(key[1]))[-1:] or here
            sure = named or (len(here) == 1 and self._is_of(part, [scan for _, scan in scans[here[0]]]))
            if sure:
                place, stem, study = owners[0]
                self.parts[volume.path] = [part._replace(place=place, stem=stem, study=study)]
                continue
            if owners and (not part.stem or (len(owners) == 1 and self._may_be_a_patient(part.place))):
                named_after = ", ".join(key[1] or key[0].name for key in owners[:5])
                text = f"{volume.path}: a mask of which case in its folder ({named_after})?"
                self.doubts.append(Doubt(text, frozenset((part.role,))))
            else:
                lone.setdefault(part.role, []).append((volume, part))
            self.parts[volume.path] = self._skip(volume, "mask without a scan")
        if scans:
            self.doubts += [_doubt_lone(role, members) for role, members in lone.items()]

    def _place_of_scans(self, place: Path, places: Collection[Path]) -> Path:
        """Folder of the scans for a mask: they have left a folder that is only there for their sequence."""
        while place not in places and place != self.root and folder_role(place.name) in (*SEQUENCES, LABEL):
            place = place.parent
        return place

    def _is_of(self, mask: Part, scans: Sequence[Part]) -> bool:
        """Whether the only case of a folder owns a mask of another name: if its folder, not its name, is the case."""
        several = len({scan.role for scan in scans} - {IMAGE}) > 1
        return not mask.stem or not scans[0].stem or (several and self._may_be_a_patient(mask.place))

    def _may_be_a_patient(self, folder: Path) -> bool:
        return folder != self.root and folder.name.lower() not in GRADES

    def _cases(self) -> list[Case]:
        members: dict[Key, list[tuple[Volume, Part]]] = {}
        for volume, part in self._all():
            members.setdefault(part.key, []).append((volume, part))
        names = self._names(members)
        ids = {volume.tags["patient"] for volume in self.volumes if volume.tags}
        # a modality in the name is a domain only where there is another one
        domains = {part.domain for parts in members.values() for _, part in parts if part.domain and not part.fixed}
        cases = []
        for key in sorted(members, key=names.__getitem__):
            self._check(names[key], members[key])
            for volume, _ in members[key]:
                texts = ", ".join(_ROLE_TEXTS.get(part.role, part.role) for v, part in members[key] if v is volume)
                self.account |= dict.fromkeys(volume.files, f"{texts} of {names[key]}")
            case = self._case(names[key], members[key], by_id=len(ids) > 1)
            only = case.domain in domains and len(domains) == 1 and not self.domains
            cases.append(replace(case, domain="") if only else case)
        return cases

    def _case(self, name: str, members: Sequence[tuple[Volume, Part]], by_id: bool) -> Case:
        order = {channel: number for number, channel in enumerate(SEQUENCES)}
        members = sorted(members, key=lambda member: order.get(member[1].role, len(order)))
        roles = {part.role: part.reference for _, part in members}
        label, foreground = roles.pop(LABEL, None), roles.pop(FOREGROUND, None)
        scans = [(volume, part) for volume, part in members if part.role in roles]
        volume, part = scans[0]
        patient = part.patient or (volume.tags.get("patient", "") if by_id else "") or _patient(name, part)
        path = Path(self.root.resolve().name, volume.path.relative_to(self.root))
        return Case(
            name,
            roles,
            label,
            foreground,
            patient=patient,
            domain=self._named(name, scans, self.domains) or part.domain,
            group=self._named(name, scans, self.groups) or group_of(path, name, self.grades),
        )

    def _named(self, name: str, scans: Sequence[tuple[Volume, Part]], patterns: Mapping[str, Sequence[str]]) -> str:
        """Name of the pattern that a scan of the case matches."""
        paths = [volume.path for volume, _ in scans]
        found = {
            name
            for name, several in patterns.items()
            if any(self._lies_at(path, pattern) for path in paths for pattern in several)
        }
        if len(found) > 1:
            self.doubts.append(
                Doubt(f"{name} matches the patterns of {' and '.join(sorted(found))}", frozenset((IMAGE,)))
            )
        return min(found, default="")

    def _check(self, name: str, members: Sequence[tuple[Volume, Part]]) -> None:
        """Doubt two candidates for one role, and scans that look like masks."""
        candidates: dict[str, list[str]] = {}
        for volume, part in members:
            candidates.setdefault(part.role, []).append(volume.path.relative_to(self.root).as_posix())
            by_name = part.role not in (*_MASKS, *self.patterns) and suffix_of(part.reference) in VOLUMES
            if by_name and looks_like_mask(volume.path):
                text = f"{volume.path}: named like a scan ({part.role} of {name}), but its voxels look like a mask"
                self.doubts.append(Doubt(text, frozenset((part.role,))))
        for role, paths in candidates.items():
            if len(paths) > 1:
                what = _ROLE_TEXTS.get(role, role)
                text = f"{name}: {len(paths)} candidates for {what}: {', '.join(sorted(paths))}"
                self.doubts.append(Doubt(text, frozenset((role,))))

    def _names(self, members: Mapping[Key, Sequence[tuple[Volume, Part]]]) -> dict[Key, str]:
        """Name of each case: the first of its choices that no other case has."""
        together = Counter(place for place, *_ in members)
        choices = {
            key: self._choices([part for _, part in parts], alone=together[key[0]] == 1)
            for key, parts in members.items()
        }
        names: dict[Key, str] = {}
        for level in range(max(map(len, choices.values()), default=0)):
            chosen = {key: found[min(level, len(found) - 1)] for key, found in choices.items() if key not in names}
            counts = Counter([*chosen.values(), *names.values()])
            names |= {key: name for key, name in chosen.items() if counts[name] == 1}
        for key in members.keys() - names.keys():
            names[key] = choices[key][-1]
            self.doubts.append(Doubt(f"several cases would be named {names[key]}; rename them", frozenset((IMAGE,))))
        return names

    def _choices(self, parts: Sequence[Part], alone: bool) -> list[str]:
        """Names of a case by preference: its stem, or its folder if that is the patient's; then more folders above.

        Args:
            parts: of the case.
            alone: it is the only case of its folder.
        """
        place, stem, fixed = parts[0].place, parts[0].stem, parts[0].fixed
        above = [self.root.resolve().name, *place.relative_to(self.root).parts]
        own = alone and not fixed and self._may_be_a_patient(place)
        several = len({part.role for part in parts} - {IMAGE, *_MASKS}) > 1
        folders = [
            "_".join([*above[-depth:], *([] if own or not stem else [stem])]) for depth in range(1, len(above) + 1)
        ]
        return folders if not stem or stem.lower() in MODALITIES or (own and several) else [stem, *folders]


def _listed(patterns: Iterable[tuple[str, str | Sequence[str]]]) -> dict[str, list[str]]:
    """All patterns of each name."""
    found: dict[str, list[str]] = {}
    for name, pattern in patterns:
        found.setdefault(name, []).extend([pattern] if isinstance(pattern, str) else pattern)
    return found


def _role_of(name: str) -> str:
    """Role that the name of a pattern stands for."""
    return {"mask": FOREGROUND, "label": LABEL}.get(name.lower(), canonical(name))


def _doubt_lone(role: str, members: Sequence[tuple[Volume, Part]]) -> Doubt:
    """Doubt about masks without a scan."""
    named = listed([f"{volume.path} (looked for {part.stem or part.place.name})" for volume, part in members], 5)
    text = f"no scan of the same name and shape for {len(members)} {_ROLE_TEXTS.get(role, role)}(s): {named}"
    return Doubt(text, frozenset((role,)))


def _may_share_grid(first: Volume, second: Volume) -> bool:
    shapes = [nifti_header(volume.path).get("shape", ())[:3] for volume in (first, second)]
    return shapes[0] == shapes[1] or () in shapes  # that of other formats and broken files is not known


def _patient(name: str, part: Part) -> str:
    if part.domain:  # without the modality where that is all that tells scans of a folder apart
        return name.removesuffix(part.stem).rstrip("-_. ") if part.stem.lower() in MODALITIES else name
    found = PATIENT.match(name)
    return found[0] if found else name
