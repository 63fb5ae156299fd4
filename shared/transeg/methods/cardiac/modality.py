"""Detection of the modality, CT or MR, from the file name or the intensities, and its intensity scaling."""

from __future__ import annotations

import logging
import re
from collections.abc import Hashable, Mapping
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
MODALITY = "modality"  # key in the meta data of the image and, optionally, in the item
HU_RANGE = (-100.0, 800.0)  # of CT
PERCENTILES = (0.5, 99.5)  # of MR
DARK_HU = -50.0  # fat is at -100, lungs at -850, air at -1000


def detect_modality(image: MetaTensor) -> str:
    """Detect the modality of a volume: "ct" or "mr".

    The file name decides if it begins with ct, cta, mr or mri, in any case and not followed by a letter
    (`ct_1001.nii.gz`, `MRI7.nii`, not `ctrl.nii`). Otherwise a volume is CT if more than 0.5 % of its voxels are below
    -50, i.e. HU of fat, lungs or air; MR has no negative intensities apart from a few resampling artefacts. Hence a CT
    that is not in HU, an MR normalised to hundreds around 0, or a subtraction image needs the name.

    Args:
        image: (1, X, Y, Z) in the units of the file.

    Returns:
        One of `MODALITIES`.
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


def check_translation_direction(modality: str, target_modality: str) -> None:
    """Check that a translation has a known source modality and goes to the other modality.

    Raises:
        ValueError: twice the same modality, or anything other than "ct" and "mr".
    """
    if modality == target_modality or target_modality not in MODALITIES:
        raise ValueError(f"cannot translate from {modality!r} to {target_modality!r}: leave target_modality out")
    if modality not in MODALITIES:
        raise ValueError(f'a translation needs a source modality, not {modality!r}: set modality to "ct" or "mr"')


class ScaleModalityd(MapTransform):
    """Scale CT from `HU_RANGE`, MR from its `PERCENTILES`, to [0, 1], and record the modality.

    Args:
        keys: volumes (1, X, Y, Z) in the units of their files, all of one modality.
        modality: "ct", "mr" or "auto": the item's "modality" if present, otherwise `detect_modality` of the first key.

    Raises:
        ValueError: an unknown modality.
        VolumeError: an item of another modality, or MR of constant intensity.
    """

    def __init__(self, keys: KeysCollection, modality: str = "auto") -> None:
        super().__init__(keys)
        if modality not in (*MODALITIES, "auto"):
            raise ValueError(f'modality must be "ct", "mr" or "auto", got {modality!r}')
        self.modality = modality
        self.scales = {"ct": WindowRanged(keys, *HU_RANGE), "mr": ScaleRanged(keys, *PERCENTILES)}

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of the item with scaled images and "modality" in their meta data."""
        modality = self._modality(data)
        item = self.scales[modality](data)
        for key in self.key_iterator(item):
            item[key].meta[MODALITY] = modality
        return item

    def _modality(self, data: Mapping[Hashable, Any]) -> str:
        image = data[self.keys[0]]
        if self.modality != "auto":
            if data.get(MODALITY, self.modality) != self.modality:
                raise VolumeError(
                    f"{file_name(image)}: listed as {data[MODALITY].upper()}, but modality is {self.modality!r}; "
                    "exclude it or set its modality"
                )
            if detect_modality(image) != self.modality:
                logger.warning("%s: does not look like %s", file_name(image), self.modality.upper())
            return self.modality
        modality = data.get(MODALITY) or detect_modality(image)
        if modality not in MODALITIES:
            raise VolumeError(f'{file_name(image)}: modality must be "ct" or "mr", got {modality!r}')
        return modality
