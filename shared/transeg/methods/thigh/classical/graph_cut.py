"""Exact minimum of a binary energy with boundary-length (Potts) smoothness, by one minimum cut.

    E(L) = sum_x L(x) u(x) + smoothness * sum_{x,y neighbours} |L(x) - L(y)| / dist(x, y)

Source: Boykov and Funka-Lea, "Graph cuts and efficient N-D image segmentation", IJCV 2006. Weights are rounded to
integers. Voxels that can be decided without a cut are decided first, by two conditions on an optimum:

- a voxel whose |u| outweighs all its undecided neighbours takes the label of its sign;
- so does a box all of whose |u|, of one sign, are at least sum_axis 2 w_axis / n_axis (n voxels long, neighbour weight
  w): along every line of the box, that part of |u| pays for cutting both ends.

Written here because PyMaxflow, the usual library, is under the GPL; the maximum flow is SciPy's.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, maximum_flow

RESOLUTION = 2**24  # integer weight of the strongest edge; 26 neighbours, counted twice, still fit in 32 bits
BOXES = (2, 4, 8, 16)  # edge lengths, in units of the finest spacing
ROUNDS = 6

Pair = tuple[tuple[slice, ...], tuple[slice, ...]]


def energy(
    labels: np.ndarray,
    unary: np.ndarray,
    smoothness: float,
    spacing: Sequence[float] | None = None,
    connectivity: int = 1,
    axes: Sequence[int] | None = None,
) -> float:
    """Energy E(L) of a binary labelling; arguments as for `graph_cut`."""
    total = float(np.sum(unary, where=np.asarray(labels, bool), dtype=np.float64))
    for offset, weight in _edges(unary.ndim, smoothness, spacing, connectivity, axes):
        a, b = _pair(offset)
        total += weight * int(np.count_nonzero(labels[a] != labels[b]))
    return total


def graph_cut(
    unary: np.ndarray,
    smoothness: float,
    spacing: Sequence[float] | None = None,
    connectivity: int = 1,
    axes: Sequence[int] | None = None,
) -> np.ndarray:
    """Labelling of minimum energy; of several, the one with the fewest voxels inside.

    Args:
        unary: u, cost of label 1 minus cost of label 0 per voxel, 2D or 3D.
        smoothness: weight lambda of the boundary, >= 0.
        spacing: voxel size along each axis, the unit of distances (default: 1).
        connectivity: number of axes along which neighbours may differ: 1 gives 4 neighbours in 2D and 6 in 3D, 2 gives
            8 and 18, 3 gives 26.
        axes: axes along which neighbours may differ, e.g. (0, 1) for a separate cut of each slice (default: all).

    Returns:
        Boolean mask. Its energy exceeds the minimum by at most (n + m) * w / 2**24 with n voxels, m pairs and the
        strongest edge weight w: nothing, when u and the weights are multiples of w / 2**24.

    Raises:
        ValueError: negative smoothness, NaN or infinite costs, a spacing of the wrong length.
    """
    unary = np.asarray(unary, np.float64)
    if not np.isfinite(unary).all():
        raise ValueError("the unary costs contain NaN or infinite values; clip the probabilities")
    edges = _edges(unary.ndim, smoothness, spacing, connectivity, axes)
    if not smoothness or not edges or not unary.size:
        return unary < 0
    sliced = sorted(set(range(unary.ndim)) - {a for o, _ in edges for a, step in enumerate(o) if step})
    if sliced:  # many small graphs are faster than one large one
        inner = [axis for axis in range(unary.ndim) if axis not in sliced]
        spacing = None if spacing is None else [spacing[axis] for axis in inner]
        parts = np.moveaxis(unary, sliced, range(len(sliced)))
        labels = np.empty(parts.shape, bool)
        for index in np.ndindex(parts.shape[: len(sliced)]):
            labels[index] = graph_cut(parts[index], smoothness, spacing, connectivity)
        return np.moveaxis(labels, range(len(sliced)), sliced)
    return _Residual(unary, edges, spacing).solve()


def _edges(
    ndim: int, smoothness: float, spacing: Sequence[float] | None, connectivity: int, axes: Sequence[int] | None
) -> list[tuple[tuple[int, ...], float]]:
    """Offset and weight of half of the neighbours (each edge once)."""
    steps = np.ones(ndim) if spacing is None else np.asarray(spacing, float)
    if smoothness < 0:
        raise ValueError(f"smoothness must be >= 0, got {smoothness}")
    if steps.shape != (ndim,) or not (steps > 0).all():
        raise ValueError(f"spacing {steps.tolist()} does not match {ndim} axes; give one positive length per axis")
    allowed = set(range(ndim)) if axes is None else {axis % ndim for axis in axes}
    edges = []
    for offset in product((0, 1, -1), repeat=ndim):
        along = np.flatnonzero(offset)
        if 0 < len(along) <= connectivity and offset[along[0]] > 0 and allowed.issuperset(along):
            edges.append((offset, smoothness / float(np.linalg.norm(np.multiply(offset, steps)))))
    return edges


def _pair(offset: Sequence[int]) -> Pair:
    """Slices that select both ends of all edges of an offset."""
    first = tuple(slice(max(0, -step), -step if step > 0 else None) for step in offset)
    second = tuple(slice(max(0, step), step if step < 0 else None) for step in offset)
    return first, second


class _Residual:
    """Integer energy over the undecided voxels: `gain` is what label 1 saves, an edge costs `weight` when cut."""

    def __init__(
        self, unary: np.ndarray, edges: list[tuple[tuple[int, ...], float]], spacing: Sequence[float] | None
    ) -> None:
        scale = RESOLUTION / max(weight for _, weight in edges)
        self.edges = [(offset, _pair(offset), round(weight * scale)) for offset, weight in edges]
        # beyond this bound a voxel is decided by its own cost, so larger costs can be clipped
        bound = 2 * sum(weight for _, _, weight in self.edges) + 1
        self.gain = np.clip(np.rint(unary * -scale), -bound, bound).astype(np.int32)
        self.free = np.ones(unary.shape, bool)
        self.inside = np.zeros(unary.shape, bool)
        self.spacing = np.ones(unary.ndim) if spacing is None else np.asarray(spacing, float)

    def solve(self) -> np.ndarray:
        self._decide(*self._uniform_boxes())
        for _ in range(ROUNDS):
            outweighed = self._incident()
            if self._decide(self.gain > outweighed, -self.gain >= outweighed) < 1e-3 * self.free.size:
                break
        if self.free.any():
            self.inside[self.free] = self._cut()
        return self.inside

    def _decide(self, ones: np.ndarray, zeros: np.ndarray) -> int:
        """Fix voxels and add their edges to the gain of their free neighbours; returns the number of fixed voxels."""
        ones, zeros = ones & self.free, zeros & self.free
        before = np.count_nonzero(self.free)
        self.inside |= ones
        self.free &= ~(ones | zeros)
        pull = ones.astype(np.int8) - zeros.astype(np.int8)
        for _, (a, b), weight in self.edges:
            self.gain[a] += np.int32(weight) * pull[b]
            self.gain[b] += np.int32(weight) * pull[a]
        return int(before - np.count_nonzero(self.free))

    def _incident(self) -> np.ndarray:
        """Total weight of the edges of each voxel to free neighbours."""
        total = np.zeros(self.gain.shape, np.int32)
        for _, (a, b), weight in self.edges:
            total[a] += np.int32(weight) * self.free[b]
            total[b] += np.int32(weight) * self.free[a]
        return total

    def _uniform_boxes(self) -> tuple[np.ndarray, np.ndarray]:
        """Voxels that uniform boxes decide for 1 and for 0."""
        ones, zeros = np.zeros_like(self.free), np.zeros_like(self.free)
        for size in BOXES:
            steps = np.maximum(np.rint(size * self.spacing.min() / self.spacing), 1)
            lengths = np.minimum(steps, self.gain.shape).astype(int)
            needed = 0.0
            for offset, _, weight in self.edges:
                along = np.flatnonzero(offset)
                # a diagonal line may be one voxel long, in a corner of the box
                needed += 2 * weight / (lengths[along[0]] if len(along) == 1 else 1)
            ones |= _opened(self.gain > needed, lengths)
            zeros |= _opened(-self.gain >= needed, lengths)
        return ones, zeros

    def _cut(self) -> np.ndarray:
        """Labels of the free voxels: those reachable from the source in the residual graph of a maximum flow."""
        gain = self.gain[self.free]
        count = gain.size
        number = np.full(self.free.shape, -1, np.int32)
        number[self.free] = np.arange(count, dtype=np.int32)
        tails: list[np.ndarray] = []
        heads: list[np.ndarray] = []
        weights: list[np.ndarray] = []
        for _, (a, b), weight in self.edges:
            both = self.free[a] & self.free[b]
            x, y = number[a][both], number[b][both]
            tails += [x, y]
            heads += [y, x]
            weights += [np.full(2 * x.size, weight, np.int32)]
        for end, nodes in ((count, np.flatnonzero(gain > 0)), (count + 1, np.flatnonzero(gain < 0))):
            ends, capacity = np.full(nodes.size, end), np.abs(gain[nodes])
            tails += [ends, nodes] if end == count else [nodes, ends]
            heads += [nodes, ends] if end == count else [ends, nodes]
            weights += [capacity, np.zeros_like(capacity)]  # reverse edges, which the flow would otherwise have to add
        index = (np.concatenate(tails), np.concatenate(heads))
        graph = csr_array((np.concatenate(weights), index), shape=(count + 2, count + 2))
        residual = graph - maximum_flow(graph, count, count + 1).flow
        residual.eliminate_zeros()
        reached = np.zeros(count + 2, bool)
        reached[breadth_first_order(residual, count, return_predecessors=False)] = True
        return reached[:count]


def _opened(mask: np.ndarray, lengths: Sequence[int]) -> np.ndarray:
    """Union of all boxes of these lengths inside the mask (binary opening; logarithmic in the lengths)."""
    for grow in (False, True):
        for axis, length in enumerate(lengths):
            mask = np.swapaxes(_windows(np.swapaxes(mask, 0, axis), length, grow), 0, axis)
    return mask


def _windows(mask: np.ndarray, length: int, grow: bool) -> np.ndarray:
    """Along axis 0: windows [i, i + length) wholly inside the mask or, `grow`, the union of windows given by i."""
    if grow:
        mask = np.pad(mask, [(length - 1, length - 1)] + [(0, 0)] * (mask.ndim - 1))
    done = 1
    while done < length:
        step = min(done, length - done)
        mask = mask[:-step] | mask[step:] if grow else mask[:-step] & mask[step:]
        done += step
    return mask
