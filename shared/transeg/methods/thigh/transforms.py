"""The classical segmenters as transforms: from an image, original or translated, to a muscle mask."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from monai.config import KeysCollection, PathLike
from monai.data import MetaTensor
from monai.data.utils import affine_to_spacing
from monai.transforms import MapTransform
from monai.utils import ensure_tuple_rep

from transeg.errors import ConfigError, VolumeError
from transeg.methods.thigh.classical.intensity import IntensityModel
from transeg.methods.thigh.classical.mixture import fit_mixture, segment_mixture
from transeg.methods.thigh.classical.shape_prior import Leg, crop_legs, load_atlas, scan_shape_map
from transeg.methods.thigh.classical.spgc import CutParameters, segment_cut
from transeg.methods.thigh.legs import split_legs
from transeg.metrics.silhouette import silhouette


class SegmentMixtured(MapTransform):
    """Segment muscle by a Gaussian mixture of three tissues, without training.

    Args:
        keys: images (1, X, Y, Z), slices along Z, or single slices (1, X, Y).
        output_keys: keys of the masks, float32 0 and 1, with the shape and affine of the image.
        probability_keys: keys of the muscle probability; None omits it.
        air: include air in the fit, as in the paper; otherwise both the fit and the mask are limited to the silhouette.
        per_slice: fit each slice separately.
        quantiles: see `fit_mixture`.
        max_voxels: see `fit_mixture`.
        seed: see `fit_mixture`.
        body_key: key of the original scan, outside whose body no mask has muscle; a translation may brighten the air.

    Raises:
        VolumeError: more than one channel.
        MixtureError: an image without three tissues.
    """

    def __init__(
        self,
        keys: KeysCollection,
        output_keys: KeysCollection = "pred",
        probability_keys: KeysCollection | None = None,
        air: bool = True,
        per_slice: bool = False,
        quantiles: tuple[float, float] = (0.0, 0.995),
        max_voxels: int | None = 50_000,
        seed: int = 0,
        body_key: str | None = None,
    ) -> None:
        super().__init__(keys)
        self.body_key = body_key
        self.output_keys = ensure_tuple_rep(output_keys, len(self.keys))
        self.probability_keys = ensure_tuple_rep(probability_keys, len(self.keys))
        self.air, self.per_slice = air, per_slice
        self.options: dict[str, Any] = {"quantiles": tuple(quantiles), "max_voxels": max_voxels, "seed": seed}

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of the item with the masks."""
        item = dict(data)
        body = None if self.body_key is None else silhouette(_volume(item[self.body_key]))
        for key, output, probability in self.key_iterator(item, self.output_keys, self.probability_keys):
            volume, name = _volume(item[key]), _name(item[key], key)
            within = None if self.air else silhouette(volume)
            mask, likely = segment_mixture(volume, within, self.per_slice, name, **self.options)
            if body is not None:
                mask, likely = mask & body, likely * body
            if probability is not None:
                item[probability] = _like(item[key], likely)
            item[output] = _like(item[key], mask)
        return item


class SegmentGraphCutd(MapTransform):
    """Segment muscle by the graph cut (GC) or, with an atlas, by the shape-prior graph cut (SPGC).

    Args:
        keys: images (1, X, Y, Z) in RAS; their affine gives the spacing in mm.
        model: intensity model, or its JSON file.
        output_keys: keys of the masks, float32 0 and 1 (1, X, Y, Z), with the affine of the image.
        parameters: see `CutParameters`; may be a mapping.
        atlas: annotated legs or their .npz file; required for a shape weight above 0.
        shape_key: key of the shape map (1, X, Y, Z), which is computed and stored there if missing, so that a
            translation can reuse the map of its original. None: not stored.
        subject_key: key of the subject's name; legs of this subject in the atlas are excluded.
        register_by: "silhouette" or "intensity", see `register`.
        bspline: refine the registration by a B-spline.
        seed: random seed of the mixture fit.

    Raises:
        ValueError: a shape weight without an atlas, or a file that is not a model.
        VolumeError: more than one channel.
        MixtureError: an image without three tissues.
    """

    def __init__(
        self,
        keys: KeysCollection,
        model: IntensityModel | PathLike,
        output_keys: KeysCollection = "pred",
        parameters: CutParameters | Mapping[str, Any] | None = None,
        atlas: Sequence[Leg] | PathLike | None = None,
        shape_key: str | None = None,
        subject_key: str = "case",
        register_by: Literal["silhouette", "intensity"] = "silhouette",
        bspline: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(keys)
        self.output_keys = ensure_tuple_rep(output_keys, len(self.keys))
        self.model = model if isinstance(model, IntensityModel) else IntensityModel.load(model)
        self.parameters = parameters if isinstance(parameters, CutParameters) else CutParameters(**(parameters or {}))
        self.atlas = load_atlas(atlas) if isinstance(atlas, str | os.PathLike) else list(atlas or ())
        self.shape_key, self.subject_key, self.seed = shape_key, subject_key, seed
        self.registration: dict[str, Any] = {"by": register_by, "bspline": bspline}
        if self.parameters.shape_weight and not self.atlas and shape_key is None:
            raise ConfigError("a shape weight above 0 requires an atlas of annotated legs or the key of a shape map")

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of the item with the masks and, under `shape_key`, the shape map."""
        item = dict(data)
        for key, output in self.key_iterator(item, self.output_keys):
            volume, spacing = _volume(item[key]), _spacing(item[key])
            shape = self._shape(item, key, volume, spacing) if self.parameters.shape_weight else None
            mixture = fit_mixture(volume, seed=self.seed, name=_name(item[key], key))
            mask = segment_cut(mixture.normalise(volume), self.model, self.parameters, shape, spacing)
            item[output] = _like(item[key], mask)
        return item

    def _shape(
        self, item: dict[Hashable, Any], key: Hashable, volume: np.ndarray, spacing: tuple[float, ...]
    ) -> np.ndarray:
        if self.shape_key in item:
            return _volume(item[self.shape_key])
        if not self.atlas:
            raise ValueError(f"the item has no shape map {self.shape_key!r} and there is no atlas to compute it")
        legs = scan_legs(str(item.get(self.subject_key, "")), volume, spacing)
        shape = scan_shape_map(volume.shape, legs, self.atlas, **self.registration)
        if self.shape_key is not None:
            item[self.shape_key] = _like(item[key], shape)
        return shape


def scan_legs(
    subject: str, volume: np.ndarray, spacing: Sequence[float], muscle: np.ndarray | None = None
) -> list[Leg]:
    """Crop the legs, with their intensities, from a scan (X, Y, Z) in RAS; arguments as for `crop_legs`."""
    body = silhouette(volume)
    return crop_legs(subject, body, split_legs(body, spacing), spacing, muscle, volume)


def _volume(image: torch.Tensor) -> np.ndarray:
    if image.ndim not in (3, 4) or image.shape[0] != 1:
        shape = tuple(image.shape)
        raise VolumeError(f"{_name(image, 'image')}: shape {shape}, expected (1, X, Y, Z) or a slice (1, X, Y)")
    return torch.as_tensor(image)[0].detach().cpu().float().numpy()


def _spacing(image: torch.Tensor) -> tuple[float, ...]:
    if not isinstance(image, MetaTensor):
        return (1.0, 1.0, 1.0)
    return tuple(np.asarray(affine_to_spacing(image.affine), float).tolist())


def _like(image: torch.Tensor, array: np.ndarray) -> torch.Tensor:
    """(X, Y, Z) as float32 (1, X, Y, Z) on the device and with the meta data of the image."""
    tensor = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))[None].to(image.device)
    if not isinstance(image, MetaTensor):
        return tensor
    return MetaTensor(tensor, meta=dict(image.meta), applied_operations=list(image.applied_operations))


def _name(image: torch.Tensor, key: Hashable) -> str:
    return str(image.meta.get("filename_or_obj", key) if isinstance(image, MetaTensor) else key)
