"""Batches of presence and absence slices, drawn independently.

Source: Vorontsov et al., section 4.2 "Data batches": n diseased and n unpaired healthy slices per batch; an epoch ends
when every diseased slice has been used once. Section 4.5: weighted sampling of healthy slices with replacement.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import ignite.distributed as idist
import numpy as np
from torch.utils.data import Sampler

from transeg.errors import UserError

PRESENCE, LABELLED, ABSENCE = range(3)  # independent random streams


class UnpairedData(Protocol):
    """What the sampler needs of a dataset such as `UnpairedDataset`: items of two domains."""

    data: Sequence[Mapping[str, Any]]
    absence: Sequence[Mapping[str, Any]] | None

    def __len__(self) -> int:
        """Number of presence items."""


class UnpairedBatchSampler(Sampler[list]):
    """Batch sampler for `UnpairedDataset`: lists of pairs (i, j), or of i without an absence domain.

    If the domains are two modalities, the one with more volumes takes the role of presence.

    Batches are a pure function of seed and epoch (`set_epoch`), so a resumed run draws the same ones. Each batch is
    split round-robin across processes and does not depend on their number. Every batch is full: the last one of an
    epoch continues into another permutation, as do batches larger than the dataset.

    Args:
        dataset: dataset to draw from.
        batch_size: n, number of presence slices (and of absence slices) per batch, over all processes.
        batches_per_epoch: length of an epoch, which then continues the previous one's permutation. Default: as many
            batches as cover every presence slice.
        labelled_per_batch: k, number of the n presence slices drawn from the labelled ones, in separate permutations;
            0 draws labelled slices at their natural rate.
        seed: non-negative random seed.

    Raises:
        UserError: k > 0 without labelled slices, k > n, k = n without `batches_per_epoch`, n not divisible by the
            number of processes, or invalid weights.
    """

    def __init__(
        self,
        dataset: UnpairedData,
        batch_size: int,
        batches_per_epoch: int | None = None,
        labelled_per_batch: int = 0,
        seed: int = 0,
    ) -> None:
        if batch_size < 1 or not 0 <= labelled_per_batch <= batch_size:
            raise UserError(
                f"labelled_per_batch ({labelled_per_batch}) must lie between 0 and batch_size ({batch_size} >= 1)"
            )
        if labelled_per_batch == batch_size and batches_per_epoch is None:
            raise UserError(
                f"labelled_per_batch equals batch_size ({batch_size}): unlabelled slices are never used and an epoch "
                f"has no natural end; set batches_per_epoch or lower labelled_per_batch"
            )
        if batch_size % idist.get_world_size():
            raise UserError(
                f"a batch of {batch_size} cannot be split equally across {idist.get_world_size()} processes; set "
                f"batch_size to a multiple of their number"
            )
        self.labelled = [i for i, item in enumerate(dataset.data) if "label" in item]
        if labelled_per_batch and not self.labelled:
            raise UserError(
                f"no labelled volume: none of the {len(dataset)} presence slices has a label, but every batch needs "
                f"{labelled_per_batch}; prepare the data with a larger labelled fraction, or set "
                f"labelled_per_batch to 0"
            )
        self.dataset = dataset
        self.batch_size = batch_size
        self.batches_per_epoch = batches_per_epoch
        self.labelled_per_batch = labelled_per_batch
        self.seed = seed
        self.epoch = 0
        self.weights = _weights(dataset)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch (from 0) of the next iteration."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Batches per epoch."""
        if self.batches_per_epoch is not None:
            return self.batches_per_epoch
        return -(-len(self.dataset) // (self.batch_size - self.labelled_per_batch))

    def __iter__(self) -> Iterator[list]:
        k, absence = self.labelled_per_batch, self.dataset.absence
        # a natural epoch starts a new permutation, so that it covers every slice
        free = self._draw(PRESENCE, len(self.dataset), self.batch_size - k, fresh=self.batches_per_epoch is None)
        chosen = self._draw(LABELLED, len(self.labelled), k)
        presence = np.concatenate([np.asarray(self.labelled, dtype=int)[chosen], free], axis=1).tolist()
        if absence is None:
            yield from (self._share(batch) for batch in presence)
            return
        if self.weights is None:
            partners = self._draw(ABSENCE, len(absence), self.batch_size)
        else:
            rng = np.random.default_rng((self.seed, ABSENCE, self.epoch))
            partners = rng.choice(len(absence), size=(len(self), self.batch_size), p=self.weights)
        for i, j in zip(presence, partners.tolist(), strict=True):
            yield self._share(list(zip(i, j, strict=True)))

    def _share(self, batch: list) -> list:
        return batch[idist.get_rank() :: idist.get_world_size()]

    def _draw(self, stream: int, population: int, per_batch: int, fresh: bool = False) -> np.ndarray:
        """This epoch's part (batches, per_batch) of an endless sequence of permutations."""
        count = len(self) * per_batch
        if count == 0:
            return np.empty((len(self), 0), dtype=int)
        stride = -(-count // population) * population if fresh else count
        start = self.epoch * stride
        first, last = start // population, (start + count - 1) // population
        sequence = np.concatenate(
            [np.random.default_rng((self.seed, stream, n)).permutation(population) for n in range(first, last + 1)]
        )
        offset = start - first * population
        return sequence[offset : offset + count].reshape(len(self), per_batch)


def _weights(dataset: UnpairedData) -> np.ndarray | None:
    """Probabilities of the absence slices, or None if no item has a weight."""
    items = dataset.absence or ()
    if not any("weight" in item for item in items):
        return None
    weights = np.array([item.get("weight", 0.0) for item in items], dtype=float)
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.sum() > 0):
        raise UserError("the weights of the absence slices must be finite, non-negative and not all zero")
    return weights / weights.sum()
