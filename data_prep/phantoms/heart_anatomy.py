"""Shapes inside a chest: heart chambers, great vessels, lungs, spine, chest wall.

Points are (3, n) in mm; distances are (n,) in mm, positive inside. Three frames: the chest's (right, anterior,
superior, 0 at its middle); the heart's, turned and scaled, with 0 between the mitral and the tricuspid valve; and the
axes of the heart, LONG_AXES of it: (to the right heart, to the diaphragm, to the apex). The valves lie in the plane
where the third is 0: ventricles beyond, atria before it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from data_prep.phantoms.common import Field, ellipsoid, noise_field, rotate

_APEX = np.array([-0.60, 0.55, -0.58]) / np.linalg.norm([-0.60, 0.55, -0.58])
_RIGHT = np.array([0.8, 0.6, 0.0]) - np.dot([0.8, 0.6, 0.0], _APEX) * _APEX
_RIGHT = _RIGHT / np.linalg.norm(_RIGHT)
LONG_AXES = np.stack([_RIGHT, np.cross(_APEX, _RIGHT), _APEX]).astype(np.float32)

# Nodes (right, anterior, superior, radius in mm) of vessels in the frame of the heart.
Nodes = Sequence[tuple[float, float, float, float]]
ASCENDING: Nodes = ((-9, 9, 15, 13), (-2, 8, 32, 15), (5, 4, 55, 14), (2, -8, 76, 13))
PULMONARY: Nodes = ((-17, 28, 33, 13), (-20, 18, 50, 13), (-17, 2, 62, 12))
PULMONARY_BRANCHES: Sequence[Nodes] = (
    ((-17, 2, 62, 11), (-38, -20, 64, 10), (-66, -32, 56, 8)),
    ((-17, 2, 62, 11), (8, -22, 60, 10), (46, -20, 52, 9)),
)
VENA_CAVA_UPPER: Nodes = ((35, 6, 20, 10), (33, 4, 45, 9), (31, 2, 110, 9))
VENA_CAVA_LOWER: Nodes = ((38, 0, -16, 12), (33, -8, -50, 11), (28, -16, -110, 11))
PULMONARY_VEINS: Sequence[Nodes] = (
    ((18, -28, 22, 7), (66, -40, 36, 5)),
    ((18, -30, 8, 7), (66, -46, -8, 5)),
    ((-18, -30, 24, 7), (-62, -42, 38, 5)),
    ((-20, -30, 8, 7), (-60, -48, -4, 5)),
)
OUTFLOW = ((10.0, -16.0, 22.0, 15.0), (4.0, -44.0, 6.0, 13.0))  # of the right ventricle, in the axes of the heart


@dataclass(frozen=True)
class Heart:
    """Sizes of one heart, its pose and its deformation.

    Attributes:
        valves: place of the middle of the valve plane in the chest in mm.
        turn: rotation matrix (3, 3) from the chest to the heart.
        size: factor of all lengths.
        cavity: radius of the left ventricle's blood in mm.
        wall: thickness of its muscle in mm.
        length: from the valves to the end of its blood in mm.
        scales: factors of the radii of right ventricle, right atrium and left atrium (3, 3).
        fat: thickness of the fat around the heart in mm.
        warp: deformation, three smooth fields.
    """

    valves: np.ndarray
    turn: np.ndarray
    size: float
    cavity: float
    wall: float
    length: float
    scales: np.ndarray
    fat: float
    warp: Sequence[Field]

    def frame(self, points: np.ndarray) -> np.ndarray:
        """Points (3, n) of the chest in the frame of the heart."""
        return self.turn @ ((points - self.valves[:, None]) / self.size).astype(np.float32)

    def deform(self, q: np.ndarray, by: float) -> np.ndarray:
        """Move points (3, n) by about `by` mm."""
        return q + np.float32(by) * np.stack([field(q) for field in self.warp])

    def chambers(self, p: np.ndarray) -> dict[str, np.ndarray]:
        """Distances in the axes of the heart: LV, RV, LA, RA (blood) and Myo (the left ventricle, blood included).

        The chambers do not overlap; the muscle is what of Myo is in no chamber.
        """
        u, _, w = p
        middle, half = 0.22 * self.length, 0.78 * self.length
        r, t = self.cavity, self.wall
        muscle = ellipsoid(p, (-24, 0, middle), (r + t, 1.06 * r + t, half + 0.8 * t))
        left = np.minimum(ellipsoid(p, (-24, 0, middle), (r, 1.06 * r, half)), w)
        rv, ra, la = self.scales
        right = ellipsoid(p, (14, 4, 0.27 * self.length), np.multiply(rv, (29, 39, 0.66 * self.length)))
        right = np.minimum.reduce([np.maximum(right, tube(p, OUTFLOW)), -muscle, w - 1 + 0.1 * np.clip(u, -9, 9)])
        left_atrium = np.minimum(ellipsoid(p, (-19, 3, -24), np.multiply(la, (31, 27, 24))), -w)
        right_atrium = np.minimum.reduce(
            [ellipsoid(p, (29, 9, -22), np.multiply(ra, (27, 29, 28))), -w, -1.5 - left_atrium]
        )
        return {"LV": left, "RV": right, "LA": left_atrium, "RA": right_atrium, "Myo": np.minimum(muscle, w + 1)}


@dataclass(frozen=True)
class Chest:
    """Sizes of one chest in mm.

    Attributes:
        radii: of the skin (right, anterior).
        skin: thickness of the fat below it.
        dome: height of the diaphragm below the heart.
        phase: place of the first rib and vertebra along the body.
        back: place of the middle of the vertebrae (anterior).
    """

    radii: tuple[float, float]
    skin: float
    dome: float
    phase: float
    back: float

    def body(self, p: np.ndarray) -> np.ndarray:
        """Depth below the skin."""
        return ellipsoid(p[:2], (0, 0), self.radii, power=2.3)

    def cavity(self, p: np.ndarray, muscle: np.ndarray) -> np.ndarray:
        """Depth below the inner side of the ribs; `muscle` is the depth below the fat under the skin."""
        return np.minimum(muscle - 13, 4 + np.hypot(p[0], p[1] - self.back) - 24)

    def ribs(self, p: np.ndarray, muscle: np.ndarray) -> np.ndarray:
        """Distance to the ribs and the breastbone."""
        angle = np.rad2deg(np.arctan2(p[1] + 10, np.abs(p[0])))
        along = (p[2] + 0.7 * angle + self.phase) % 30 - 15
        rib = 5 - np.hypot(muscle - 7, 0.85 * along)
        bone = np.minimum(6 - np.abs(muscle - 8), 17 - np.abs(p[0])) * (p[1] > 0)
        return np.where(p[1] > 0, np.maximum(np.where(angle < 62, rib, -9), bone), rib)

    def spine(self, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Distance to the bone of the vertebrae, and whether a point is at the height of a disc."""
        x, y = p[0], p[1] - self.back
        body = ellipsoid(np.stack([x, y]), (0, 0), (19, 16), power=2.4)
        arch = np.maximum(
            ellipsoid(np.stack([x, y]), (0, -34), (5, 16)), ellipsoid(np.stack([np.abs(x), y]), (20, -24), (18, 5))
        )
        disc = np.cos(2 * np.pi * (p[2] + self.phase) / 27) > 0.85
        return np.maximum(body, np.where(disc, -9, arch)), disc

    def diaphragm(self, p: np.ndarray) -> np.ndarray:
        """Height above the diaphragm, higher on the right."""
        top = self.dome + 14 * np.exp(-(((p[0] - 70) / 45) ** 2)) - 8 * np.exp(-(((p[0] + 70) / 40) ** 2))
        return 0.85 * (p[2] - top + 0.004 * (p[1] - 10) ** 2)


def tube(p: np.ndarray, nodes: Nodes) -> np.ndarray:
    """Distance to the wall of a tube through nodes (x, y, z, radius), whose radius changes linearly between them."""
    found = np.full(p.shape[1], -np.inf, np.float32)
    table = np.asarray(nodes, np.float32)
    for first, second in pairwise(table):
        along = second[:3] - first[:3]
        share = np.clip((p - first[:3, None]).T @ along / (along @ along), 0, 1)
        offset = p - first[:3, None] - along[:, None] * share
        radius = first[3] + (second[3] - first[3]) * share
        np.maximum(found, radius - np.sqrt((offset**2).sum(axis=0)), out=found)
    return found


def draw_heart(rng: np.random.Generator) -> Heart:
    """Draw the size, pose and shape of one heart."""
    return Heart(
        valves=np.array([-14, 10, 2]) + rng.normal(0, (5, 4, 5)),
        turn=rotate(np.eye(3, dtype=np.float32), rng.normal(0, (8, 9, 9))),
        size=float(np.clip(rng.normal(0.96, 0.06), 0.82, 1.12)),
        cavity=float(np.clip(rng.normal(23, 2), 19, 28)),
        wall=float(np.clip(rng.normal(10, 1.6), 7, 14)),
        length=rng.normal(78, 5),
        scales=np.exp(rng.normal(0, 0.08, (3, 3))) * np.exp(rng.normal(0, 0.07, (3, 1))),
        fat=rng.uniform(1, 5),
        warp=[noise_field(rng, 32) for _ in range(3)],
    )


def draw_chest(rng: np.random.Generator, heart: Heart) -> Chest:
    """Draw the sizes of the chest around a heart, which lies on the diaphragm."""
    size = 0.5 + 0.5 * heart.size / 0.96 + rng.normal(0, 0.025)
    return Chest(
        radii=(float(size * rng.normal(168, 6)), float(size * rng.normal(110, 3))),
        skin=rng.uniform(5, 14),
        dome=float(heart.valves[2] - 56 * heart.size + rng.normal(0, 4)),
        phase=rng.uniform(0, 30),
        back=float(-64 * size + rng.normal(0, 2)),
    )
