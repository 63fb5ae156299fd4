"""Synthetic pathologies in healthy brain volumes, with masks, to train supervised networks.

Source: Andermatt et al. 2018, section 2.2: the generator G_A with a pathology code drawn from N(0, I).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection, PathLike
from monai.data import MetaTensor
from monai.networks.utils import eval_mode
from monai.transforms import AsDiscreted, Compose, Invertd, InvertibleTransform, MapTransform

from transeg.data.slices import slices_between
from transeg.errors import ConfigError, VolumeError
from transeg.files import case_name
from transeg.methods.pathogan.networks import PathoGANNet
from transeg.transforms.centre import file_name
from transeg.transforms.intensity import RestoreIntensityd, nonzero_mask
from transeg.transforms.outputs import SaveVolumed

logger = logging.getLogger(__name__)


class Synthesised(MapTransform):
    """Sample a pathology in a preprocessed healthy volume (C, X, Y, Z), in the range of slices used in training.

    Adds "pathology", the probability map l (1, X, Y, Z), 0 in all other slices, and "inpainting" p (C, X, Y, Z), the
    image itself in all other slices. All slices share one code, so that neighbours show the same pathology as far as a
    2D network can; the code depends only on `seed`, the case name and `sample`.

    Args:
        keys: the preprocessed image.
        network: for slices; a network for volumes would also need a fixed size in Z.
        sample: index of the sample.
        seed: not negative.
        first: height of the lowest changed slice in mm above the bottom slice of the preprocessed volume.
        last: height of the highest changed slice, likewise.
        batch_size: slices per forward pass of the network.

    Raises:
        ValueError: a network for volumes, or slices of another size than the network's.
        VolumeError: no slice lies between `first` and `last`.
    """

    def __init__(
        self,
        keys: KeysCollection,
        network: PathoGANNet,
        sample: int = 1,
        seed: int = 0,
        first: float = 60.0,
        last: float | None = 100.0,
        batch_size: int = 16,
    ) -> None:
        super().__init__(keys)
        self.size = tuple(network.decoder.image_size)
        if len(self.size) != 2:
            raise ConfigError(f"image_size {self.size}: pathologies are sampled in slices; use spatial_dims 2")
        self.network, self.sample, self.seed, self.batch_size = network, sample, seed, batch_size
        self.first, self.last = first, last

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return a copy of the item with pathology and inpainting, in normalised units."""
        item: dict[Any, Any] = dict(data)
        for key in self.key_iterator(item):
            image = item[key]
            chosen = self._chosen(image)
            slices = image.as_tensor()[..., chosen].movedim(-1, 0)
            generator = np.random.default_rng([self.seed, self.sample, *case_name(item, key).encode()])
            code = torch.as_tensor(generator.standard_normal((1, self.network.code), np.float32)).to(slices)
            logits, inpainting = self._generate(slices, code)
            item["pathology"], item["inpainting"] = torch.zeros_like(image[:1]), image.clone()
            item["pathology"][..., chosen] = logits.sigmoid().movedim(0, -1)
            item["inpainting"][..., chosen] = inpainting.movedim(0, -1)
        return item

    def _chosen(self, image: MetaTensor) -> list[int]:
        if tuple(image.shape[1:3]) != self.size:
            raise ValueError(f"the network expects slices of {self.size} voxels, got {tuple(image.shape[1:3])}")
        chosen = slices_between(image.shape[-1], float(image.pixdim[-1]), self.first, self.last)
        if not chosen:
            raise VolumeError(
                f"{file_name(image)}: no slices from {self.first} to {self.last} mm above the bottom slice; "
                "adjust first and last"
            )
        return chosen

    def _generate(self, slices: torch.Tensor, code: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        parts = []
        with eval_mode(self.network):
            for part in slices.split(self.batch_size):
                parts.append(self.network.synthesise(part, code.expand(len(part), -1)))
        logits, inpainting = (torch.cat(outputs) for outputs in zip(*parts, strict=True))
        return logits, inpainting


class Implanted(MapTransform):
    """Blend the inpainting into the scan, y = l p + (1 - l) x, on the grid and in the units of the scan.

    Blending after inversion to that grid keeps every detail of the scan where l is 0, which includes all voxels outside
    the brain. Adds "synthetic" (C, X, Y, Z) and restricts "pathology" to the brain.

    Args:
        keys: the scan (C, X, Y, Z), 0 outside the brain.
    """

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return a copy of the item with the blend."""
        item: dict[Any, Any] = dict(data)
        for key in self.key_iterator(item):
            scan = item[key]
            item["pathology"] = item["pathology"].to(scan.device) * nonzero_mask(scan)
            part = item["pathology"].as_tensor()
            item["synthetic"] = part * item["inpainting"].as_tensor().to(scan.device) + (1 - part) * scan
            if part.max() < 0.5:
                logger.warning(
                    "%s: the sample shows almost no pathology (maximum probability %.2f)",
                    case_name(item, key),
                    part.max(),
                )
        return item


def synthesis_output(
    network: PathoGANNet,
    preprocessing: InvertibleTransform,
    output_dir: PathLike,
    samples: int = 1,
    seed: int = 0,
    first: float = 60.0,
    last: float | None = 100.0,
    threshold: float = 0.5,
) -> Compose:
    """Make the transform that writes `<case>_sample<k>_image.nii.gz` and `_seg.nii.gz` for k = 1 to `samples`.

    It takes items with the preprocessed "image" and the healthy "scan" as loaded. Intensities are exactly preserved at
    least one slice of the preprocessed grid beyond `first` and `last`; within that slice the pathology fades out by
    interpolation. Other arguments as for `Synthesised`, `monai.transforms.Invertd` and `SaveVolumed`.

    Raises:
        ConfigError: `samples` is below 1.
    """
    if samples < 1:
        raise ConfigError(f"samples must be at least 1, got {samples}")
    drawn = ["pathology", "inpainting"]
    steps: list[MapTransform] = []
    for sample in range(1, samples + 1):
        steps += [
            Synthesised("image", network, sample, seed, first, last),
            RestoreIntensityd("inpainting", source_key="image"),
            Invertd(drawn, preprocessing, orig_keys="image", nearest_interp=False),
            Implanted("scan"),
            SaveVolumed("synthetic", output_dir, postfix=f"sample{sample}_image"),
            AsDiscreted("pathology", threshold=threshold),
            SaveVolumed("pathology", output_dir, postfix=f"sample{sample}_seg", dtype=np.uint8),
        ]
    return Compose(steps)
