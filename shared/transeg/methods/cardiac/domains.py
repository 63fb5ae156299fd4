"""Which of the two domains of a recipe a volume belongs to, such as CT and MR, and how its intensities are scaled."""

from __future__ import annotations

import logging
import re
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from transeg.errors import ConfigError, VolumeError
from transeg.files import file_name
from transeg.methods.cardiac.recipe import check_domains
from transeg.transforms.checks import CheckHounsfieldd
from transeg.transforms.intensity import ScaleRanged, WindowRanged

logger = logging.getLogger(__name__)

DOMAIN = "domain"  # key in the meta data of the image and, optionally, in the item
CT_AND_MR = {"ct", "mr"}
DARK_HU = -50.0  # fat is at -100, lungs at -850, air at -1000
ARBITRARY_UNITS = (0.0, 1000.0)  # of translations to a domain without physical units

Domains = Mapping[str, Mapping[str, Any]]  # see `check_domains`


def detect_domain(image: MetaTensor, domains: Sequence[str]) -> str | None:
    """Detect the domain of a volume, or None.

    The file name decides if one of its words (separated by anything but letters and digits) is the name of a domain, in
    any case: `patient3_LGE.nii.gz` for "lge". CT and MR are detected by `detect_modality` instead.

    Args:
        image: (C, X, Y, Z) in the units of the file.
        domains: names.
    """
    if set(domains) == CT_AND_MR:
        return detect_modality(image)
    words = set(re.split(r"[\W_]+", Path(file_name(image)).name.lower()))
    found = [name for name in domains if name.lower() in words]
    return found[0] if len(found) == 1 else None


def detect_modality(image: MetaTensor) -> str:
    """Detect the modality of a volume: "ct" or "mr".

    The file name decides if it begins with ct, cta, mr or mri, in any case and not followed by a letter
    (`ct_1001.nii.gz`, `MRI7.nii`, not `ctrl.nii`). Otherwise a volume is CT if more than 0.5 % of its voxels are below
    -50, i.e. HU of fat, lungs or air; MR has no negative intensities apart from a few resampling artefacts. Hence a CT
    that is not in HU, an MR normalised to hundreds around 0, or a subtraction image needs the name.

    Args:
        image: (C, X, Y, Z) in the units of the file.
    """
    name = Path(file_name(image)).name
    word = re.match(r"(ct)a?(?![a-z])|(mr)i?(?![a-z])", name.lower())
    if word:
        return word[1] or word[2]
    modality = "ct" if np.percentile(image.numpy(), 0.5) < DARK_HU else "mr"
    logger.info(
        "%s: detected as %s by its intensities; a file name beginning with ct or mr takes precedence",
        name,
        modality.upper(),
    )
    return modality


def check_translation_direction(modality: str, target_modality: str, domains: Domains) -> None:
    """Check that a translation has a known source domain and goes to the other domain.

    Raises:
        ConfigError: twice the same domain, or a name that is not one of `domains`.
    """
    if modality == target_modality or target_modality not in domains:
        raise ConfigError(f"cannot translate from {modality!r} to {target_modality!r}: leave target_modality out")
    if modality not in domains:
        raise ConfigError(
            f"a translation needs a source modality, not {modality!r}: set modality to {_either(domains)}"
        )


def translation_limits(domains: Domains) -> dict[str, list[float]]:
    """By domain, the intensities of the values -1 and 1 of a translation to it: its window, or arbitrary units."""
    windows = {name: rule["range"] for name, rule in domains.items() if rule["scale"] == "window"}
    return {name: [*windows.get(name, ARBITRARY_UNITS)] for name in domains}


def fill_values(domains: Domains) -> dict[str, float]:
    """By domain, the intensity of a translation beyond its crop: "fill", or the lower limit."""
    return {name: domains[name].get("fill", low) for name, (low, _) in translation_limits(domains).items()}


class ScaleDomaind(MapTransform):
    """Scale the intensities by the rule of the volume's domain to [0, 1], and record the domain.

    Args:
        keys: volumes (C, X, Y, Z) in the units of their files, all of one domain.
        domains: see `check_domains`; a window is that of all channels, percentiles are those of each.
        modality: name of the domain, in any case, or "auto": the item's "domain" if present, otherwise
            `detect_domain` of the first key.

    Raises:
        ConfigError: an unknown domain.
        VolumeError: an item of another domain or of one that cannot be detected, or of constant intensity where
            percentiles are needed, or a CT that is not in Hounsfield units.
    """

    def __init__(self, keys: KeysCollection, domains: Domains, modality: str = "auto") -> None:
        super().__init__(keys)
        self.domains = check_domains(domains)
        self.modality = modality.lower()
        if self.modality not in (*self.domains, "auto"):
            raise ConfigError(f'modality must be {", ".join(map(_quoted, self.domains))} or "auto", got {modality!r}')
        kinds = {"window": WindowRanged, "percentiles": ScaleRanged}
        windows = {name: rule["range"] for name, rule in domains.items() if rule["scale"] == "window"}
        self.checks = {name: CheckHounsfieldd(keys, windows.get(name)) for name in domains}
        self.scales = {name: kinds[rule["scale"]](keys, *map(float, rule["range"])) for name, rule in domains.items()}

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of the item with scaled images and "domain" in their meta data."""
        domain = self._domain(data)
        item = self.scales[domain](self.checks[domain](data))
        for key in self.key_iterator(item):
            item[key].meta[DOMAIN] = domain
        return item

    def _domain(self, data: Mapping[Hashable, Any]) -> str:
        image, listed = data[self.keys[0]], data.get(DOMAIN)
        if self.modality != "auto":
            if listed is not None and listed != self.modality:
                raise VolumeError(
                    f"{file_name(image)}: listed as {listed.upper()}, but modality is {self.modality!r}; "
                    "exclude it or set its domain"
                )
            if (detect_domain(image, self.domains) or self.modality) != self.modality:
                logger.warning("%s: does not look like %s", file_name(image), self.modality.upper())
            return self.modality
        domain = listed or detect_domain(image, self.domains)
        if domain is None:
            raise VolumeError(
                f"{file_name(image)}: unknown domain; set modality to {_either(self.domains)}, list the volume with "
                f"its domain, or name the file after it (..._{self.domains[0]}.nii.gz)"
            )
        if domain not in self.domains:
            raise VolumeError(f"{file_name(image)}: domain must be {_either(self.domains)}, got {domain!r}")
        return domain


def _quoted(name: str) -> str:
    return f'"{name}"'


def _either(domains: Sequence[str] | Domains) -> str:
    return " or ".join(map(_quoted, domains))
