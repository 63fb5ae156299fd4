"""Mean of several segmentations of a scan, by other networks and of mirrored copies, and how uncertain it is.

A member is a network applied to a copy of the scan. Used on the preprocessed grid, where the networks see the scan;
`uncertainty_output` brings what is saved to the grid of the scan.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, combinations, count, islice
from pathlib import Path
from typing import Any

import torch
from monai.config import KeysCollection, PathLike
from monai.data import MetaTensor
from monai.networks.utils import eval_mode
from monai.transforms import Compose, Invertd, InvertibleTransform, MapTransform
from monai.utils import convert_to_dst_type
from torch import Tensor, nn

from transeg.files import case_name, write_rows
from transeg.metrics.calibration import tempered
from transeg.metrics.uncertainty import classes_of, doubtful_region, entropy, mutual_information, pairwise_dice
from transeg.transforms.intensity import foreground_mask
from transeg.transforms.outputs import SaveVolumed
from transeg.transforms.reports import format_value

GAMMA = 0.1  # step of the changes of contrast
TABLE = "uncertainty.csv"
PROBABILITY, UNCERTAINTY, DISAGREEMENT = "prob", "uncertainty", "disagreement"  # keys and postfixes
MEMBERS, AGREEMENT = "members", "member_dice"


@dataclass(frozen=True)
class ScanCopy:
    """A mirrored copy of a scan with another contrast.

    Attributes:
        mirror: spatial axes that are mirrored.
        gamma: exponent of the intensities of each channel, scaled to [0, 1] by its range, which stays as it is.
    """

    mirror: tuple[int, ...] = ()
    gamma: float = 1.0

    def apply(self, image: MetaTensor) -> MetaTensor:
        """The copy of a preprocessed scan (C, *S); its background keeps its value."""
        values = image.as_tensor()
        if self.gamma != 1:
            spatial = tuple(range(1, values.ndim))
            low, high = values.amin(spatial, keepdim=True), values.amax(spatial, keepdim=True)
            unit = (values - low) / (high - low).clamp(min=1e-6)
            changed = low + unit**self.gamma * (high - low)
            values = torch.where(torch.as_tensor(foreground_mask(image)), changed, values)
        copy: MetaTensor = convert_to_dst_type(self._flipped(values), image)[0]
        return copy

    def undo(self, output: Tensor) -> Tensor:
        """The output (K, *S) for the copy, mirrored back."""
        return self._flipped(output)

    def _flipped(self, values: Tensor) -> Tensor:
        return values.flip([1 + axis for axis in self.mirror]) if self.mirror else values


def scan_copies(number: int, mirror: Sequence[int] = ()) -> list[ScanCopy]:
    """The scan itself and a number of copies, the same ones every time.

    First those mirrored along any of the axes, alone and together; then all of these, and the scan, with a contrast
    that is a little lower, a little higher, lower still, and so on.
    """
    subsets = [*chain.from_iterable(combinations(mirror, size) for size in range(len(mirror) + 1))]
    return list(islice((ScanCopy(axes, gamma) for gamma in _gammas() for axes in subsets), 1 + number))


def _gammas() -> Iterator[float]:
    yield 1.0
    for k in count(1):
        yield 1 + k * GAMMA
        yield 1 / (1 + k * GAMMA)


class MeanProbabilityd(MapTransform):
    """Mean of the probabilities of members; the first is the one that the item has already.

    Adds "prob" (C, *S), the mean at the temperature, "members", their number, and if there are several "disagreement"
    (1, *S) at temperature 1, see `mutual_information`, and "member_dice", see `pairwise_dice`; the mean at
    temperature 1 then replaces `keys`.

    Args:
        keys: output of the network after `probability`: probabilities (C, *S), or a mask if "prob" has these.
        probability: from an item with the output of a network in place of `keys`, and "image" and "case", to one with
            probabilities, in the same place or as "prob".
        network: the network.
        inferer: MONAI inferer, called as `inferer(batch, network)`.
        others: further networks.
        copies: of the scan, see `scan_copies`; the first one is the scan.
        threshold: of an only structure, in masks of members.
        temperature: see `tempered`; of the mean.
        image_key: preprocessed scan (C, *S).
    """

    def __init__(
        self,
        keys: KeysCollection,
        probability: Callable[[dict[Hashable, Any]], Mapping[Hashable, Any]],
        network: nn.Module,
        inferer: Callable[..., Tensor],
        others: Sequence[nn.Module] = (),
        copies: Sequence[ScanCopy] = (ScanCopy(),),
        threshold: float = 0.5,
        temperature: float = 1.0,
        image_key: str = "image",
    ) -> None:
        super().__init__(keys)
        self.probability, self.networks, self.inferer = probability, (network, *others), inferer
        self.copies, self.threshold, self.temperature, self.image_key = copies, threshold, temperature, image_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of the item with the mean."""
        item = dict(data)
        for key in self.key_iterator(item):
            mean, entropies = torch.zeros(()), torch.zeros(())
            classes = []
            for probability in self._members(item, key):
                mean, entropies = mean + probability, entropies + entropy(probability)
                classes.append(classes_of(probability, self.threshold).numpy(force=True))
            number = len(classes)
            mean = mean / number
            found: dict[Hashable, Tensor] = {PROBABILITY: tempered(mean, self.temperature)}
            if number > 1:
                found |= {key: mean, DISAGREEMENT: mutual_information(mean, entropies / number)}
                item[AGREEMENT] = pairwise_dice(classes)
            like = item[key]
            item |= {name: convert_to_dst_type(value, like)[0] for name, value in found.items()}
            item[MEMBERS] = number
        return item

    def _members(self, item: Mapping[Hashable, Any], key: Hashable) -> Iterator[Tensor]:
        yield _probabilities(item, key)
        image = item[self.image_key]
        known: dict[Hashable, Any] = {name: item[name] for name in (self.image_key, "case") if name in item}
        for k, network in enumerate(self.networks):
            for copy in self.copies[0 if k else 1 :]:
                with eval_mode(network):
                    output = copy.undo(self.inferer(copy.apply(image)[None], network)[0])
                yield _probabilities(self.probability(known | {key: output}), key)


def _probabilities(item: Mapping[Hashable, Any], key: Hashable) -> Tensor:
    value = item[PROBABILITY] if PROBABILITY in item else item[key]
    return value.as_tensor() if isinstance(value, MetaTensor) else value


class UncertaintyReportd(MapTransform):
    """Add "uncertainty" (1, *S), see `entropy`, and write a row of `uncertainty.csv` for each case.

    Its columns are the number of members, the mean entropy and the mean disagreement in the `doubtful_region`, and the
    Dice between members; the last two are empty for a single member.

    Args:
        keys: probabilities (C, *S) of `MeanProbabilityd`.
        output_dir: folder, created if needed.
        threshold: see `classes_of`.
        image_key: names the case, see `case_name`.
    """

    def __init__(
        self, keys: KeysCollection, output_dir: PathLike, threshold: float = 0.5, image_key: str = "image"
    ) -> None:
        super().__init__(keys)
        self.output_dir, self.threshold, self.image_key = Path(output_dir), threshold, image_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of the item with the map."""
        item = dict(data)
        for key in self.key_iterator(item):
            probability = item[key].as_tensor()
            item[UNCERTAINTY] = convert_to_dst_type(entropy(probability), item[key])[0]
            region = torch.from_numpy(doubtful_region(probability, self.threshold)).to(probability.device)
            row = {
                "case": case_name(item, self.image_key),
                MEMBERS: item[MEMBERS],
                "entropy": _mean_within(region, item[UNCERTAINTY]),
                DISAGREEMENT: _mean_within(region, item[DISAGREEMENT]) if DISAGREEMENT in item else "",
                AGREEMENT: item.get(AGREEMENT, ""),
            }
            row = {name: format_value(value) for name, value in row.items()}
            write_rows(self.output_dir / TABLE, list(row), [row])
        return item


def _mean_within(region: Tensor, volume: Tensor) -> float:
    return float(torch.as_tensor(volume)[0][region].mean())


def member_mean(
    active: bool,
    probability: Callable[[dict[Hashable, Any]], Mapping[Hashable, Any]],
    network: nn.Module,
    inferer: Callable[..., Tensor],
    others: Sequence[nn.Module] = (),
    tta: int = 0,
    mirror: Sequence[int] = (),
    threshold: float = 0.5,
    temperature: float = 1.0,
    report_dir: PathLike | None = None,
) -> Compose:
    """Compose: mean probability of members under "pred" and "prob", and its uncertainty; nothing if not active.

    Args:
        active: whether anything is asked for.
        probability: see `MeanProbabilityd`, as are `network`, `inferer`, `others`, `threshold` and `temperature`.
        tta: number of copies of the scan, see `scan_copies`.
        mirror: axes along which the training data are mirrored.
        report_dir: see `UncertaintyReportd`; None: no report.
    """
    if not active:
        return Compose([])
    copies = scan_copies(tta, mirror)
    mean = MeanProbabilityd("pred", probability, network, inferer, others, copies, threshold, temperature)
    if report_dir is None:
        return Compose([mean])
    same = float(tempered(torch.tensor([[threshold]]), temperature))  # the mask is made at temperature 1
    return Compose([mean, UncertaintyReportd(PROBABILITY, report_dir, same)])


def uncertainty_output(
    preprocessing: InvertibleTransform,
    output_dir: PathLike,
    save_probability: bool = False,
    save_uncertainty: bool = False,
    several: bool = False,
) -> Compose:
    """Compose: restore the grid of the scan and save probabilities and maps of uncertainty.

    `<case>_prob.nii.gz` (one channel, or 4D with the background first), `<case>_uncertainty.nii.gz` and, of several
    members, `<case>_disagreement.nii.gz`. Outside of the preprocessing's crop, all is certainly background.

    Args:
        preprocessing: transform to invert.
        output_dir: see `SaveVolumed`.
        save_probability: save the probabilities.
        save_uncertainty: save the maps.
        several: whether there are several members.
    """
    maps = [UNCERTAINTY, *([DISAGREEMENT] if several else [])] if save_uncertainty else []
    saved = [*([PROBABILITY] if save_probability else []), *maps]
    if not saved:
        return Compose([])
    inverse = Invertd(saved, preprocessing, orig_keys="image", nearest_interp=False)
    filled = [FillBackgroundd(PROBABILITY)] if save_probability else []
    return Compose([inverse, *filled, *(SaveVolumed(name, output_dir, postfix=name) for name in saved)])


class FillBackgroundd(MapTransform):
    """Give the first of several channels (C, *S) what the others leave to 1, also where the inverse of a crop padded.

    Args:
        keys: probabilities; those of an only structure are left as they are.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return a copy of the item with the probabilities."""
        item = dict(data)
        for key in self.key_iterator(item):
            if len(item[key]) > 1:
                item[key] = item[key].clone()
                item[key][0] = (1 - item[key][1:].as_tensor().sum(dim=0)).clamp(min=0)
        return item
