"""CT or MR: told by the name of the file or by its intensities, and scaled as the one or the other."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from transeg.errors import VolumeError
from transeg.transforms.centre import file_name
from transeg.transforms.intensity import ScaleRanged, WindowRanged

logger = logging.getLogger(__name__)

MODALITIES = ("ct", "mr")
MODALITY = "modality"  # in the meta data of the image, and in an item that tells its own
HU_RANGE = (-100.0, 800.0)
DARK_HU = -50.0  # fat is at -100, lungs at -850, air at -1000


def detect_modality(image: MetaTensor) -> str:
    """Tell "ct" from "mr".

    A file whose name begins with the word ct, cta, mr or mri, in any case and followed by no letter (`ct_1001.nii.gz`,
    `MRI7.nii`, not `ctrl.nii`), is what it says. Of any other, a volume is CT if more than 0.5 % of its voxels lie
    below -50: HU of fat, lungs or air. MR has no negative intensities but those few that resampling leaves. So a CT
    whose units are not HU, an MR normalised to hundreds around 0, or a subtraction needs the name.

    Args:
        image: (1, X, Y, Z) in the units of the file.
    """
    name = Path(file_name(image)).name
    word = re.match(r"(ct)a?(?![a-z])|(mr)i?(?![a-z])", name.lower())
    if word:
        return word[1] or word[2]
    modality = "ct" if np.percentile(image.numpy(), 0.5) < DARK_HU else "mr"
    logger.info("%s: %s by its intensities; a name that begins with ct or mr goes first", name, modality.upper())
    return modality


def check_translation_direction(modality: str, target_modality: str) -> None:
    """Check that a translation knows what it begins from, and goes to the other modality.

    Raises:
        ValueError: "auto" or the same twice, or anything else than "ct" and "mr".
    """
    if {modality, target_modality} == {modality} or target_modality not in MODALITIES:
        raise ValueError(f"a translation from {modality!r} cannot go to {target_modality!r}: leave target_modality out")
    if modality not in MODALITIES:
        raise ValueError(f'a translation begins from one modality, not {modality!r}: set modality to "ct" or "mr"')


class ScaleModalityd(MapTransform):
    """Scale CT from -100 to 800 HU, MR from its percentiles 0.5 to 99.5, to 0 to 1, and note which of the two it was.

    Args:
        keys: volumes (1, X, Y, Z) in the units of their files, of one modality.
        modality: "ct", "mr" or "auto": the item's "modality" if it has one, or else `detect_modality` of the first key.

    Raises:
        ValueError: an unknown modality.
        VolumeError: an item that says another modality, or MR of constant intensity.
    """

    def __init__(self, keys: KeysCollection, modality: str = "auto") -> None:
        super().__init__(keys)
        if modality not in (*MODALITIES, "auto"):
            raise ValueError(f'modality must be "ct", "mr" or "auto", got {modality!r}')
        self.modality = modality
        self.scales = {"ct": WindowRanged(keys, *HU_RANGE), "mr": ScaleRanged(keys, lower=0.5, upper=99.5)}

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return a copy of the item whose scaled images have "modality" in their meta data."""
        modality = self._modality(data)
        item = self.scales[modality](data)
        for key in self.key_iterator(item):
            item[key].meta[MODALITY] = modality
        return item

    def _modality(self, data: Mapping[str, Any]) -> str:
        image = data[self.first_key(data)]
        if self.modality != "auto":
            if data.get(MODALITY, self.modality) != self.modality:
                raise VolumeError(
                    f"{file_name(image)}: given as {data[MODALITY].upper()}, but modality is {self.modality!r}; leave "
                    "it out, or run it with its own modality"
                )
            if detect_modality(image) != self.modality:
                logger.warning("%s: looks like another modality than %s", file_name(image), self.modality.upper())
            return self.modality
        modality = data.get(MODALITY) or detect_modality(image)
        if modality not in MODALITIES:
            raise VolumeError(f'{file_name(image)}: its modality is neither "ct" nor "mr": {modality!r}; correct it')
        return modality
