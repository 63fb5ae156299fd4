"""Shapes inside a thigh: skin, fascia lata, femur, vessels and the muscles with the fascia between them.

Points p are (3, n) in mm in a leg's own frame (lateral, anterior, superior) with 0 at the middle of the leg; distances
are (n,) in mm, positive inside.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data_prep.phantoms.common import Field, ellipsoid, noise_field, rotate


@dataclass(frozen=True)
class Muscle:
    """Middle and radii (lateral, anterior) in units of the compartment's radii at mid-thigh.

    Attributes:
        drift: how far the middle moves (lateral, anterior) over 100 mm upwards, in the same units.
        prone: how early the muscle is replaced by fat, 1 on average; gracilis and sartorius are known to be spared.
    """

    name: str
    centre: tuple[float, float]
    radii: tuple[float, float]
    drift: tuple[float, float] = (0.0, 0.0)
    prone: float = 1.0


MUSCLES = (
    Muscle("vastus lateralis", (0.60, 0.22), (0.36, 0.52), (0.0, -0.05)),
    Muscle("vastus intermedius", (0.14, 0.30), (0.38, 0.34)),
    Muscle("vastus medialis", (-0.44, 0.36), (0.30, 0.38), (0.06, 0.10)),
    Muscle("rectus femoris", (0.10, 0.76), (0.32, 0.22), (-0.05, 0.0), 0.8),
    Muscle("sartorius", (-0.76, 0.20), (0.15, 0.24), (0.10, 0.25), 0.5),
    Muscle("adductor longus", (-0.48, -0.06), (0.26, 0.15), (0.0, 0.06)),
    Muscle("adductor magnus", (-0.28, -0.36), (0.46, 0.28), (0.0, 0.05), 1.2),
    Muscle("gracilis", (-0.84, -0.24), (0.12, 0.24), (0.02, 0.05), 0.5),
    Muscle("semimembranosus", (-0.38, -0.78), (0.30, 0.20), (0.12, 0.0), 1.3),
    Muscle("semitendinosus", (0.06, -0.82), (0.24, 0.20), (0.0, 0.0), 1.0),
    Muscle("biceps femoris", (0.46, -0.60), (0.34, 0.32), (-0.05, 0.0), 1.3),
)
FEMUR = (0.14, 0.14)
# femoral artery and vein, deep vessels, all beside muscles: middle as above, radius in mm
VESSELS = (((-0.54, 0.12), 4.2), ((-0.58, 0.0), 5.0), ((-0.02, -0.16), 2.6))
SAPHENOUS = (-0.95, 0.25)  # a vein in the subcutaneous fat
SLACK = 5.0  # how far a muscle reaches beyond its ellipse where no neighbour stops it


@dataclass(frozen=True)
class Leg:
    """Sizes of one leg in mm, its pose and its deformation.

    Attributes:
        side: +1 for the patient's right leg, -1 for the left one.
        centre: place of its middle in the image (right, anterior).
        turn: rotation about the z axis in degrees.
        lean: how far the middle moves to the side over 1 mm upwards.
        radii: of the compartment inside the fascia lata (lateral, anterior) at mid-thigh.
        taper: growth of the radii over 1 mm upwards, as a share.
        fat: thickness of the subcutaneous fat.
        bone: outer radius of the femur.
        cortex: thickness of its cortex.
        gap: width of the fat between two muscles.
        offsets: what each muscle's middle differs from the table by (muscles, 2).
        scales: factors of each muscle's radii (muscles, 2).
        warp: deformation, two smooth fields.
    """

    side: int
    centre: tuple[float, float]
    turn: float
    lean: float
    radii: tuple[float, float]
    taper: float
    fat: float
    bone: float
    cortex: float
    gap: float
    offsets: np.ndarray
    scales: np.ndarray
    warp: Sequence[Field]

    def frame(self, points: np.ndarray) -> np.ndarray:
        """Points (3, n) of the image in the frame of the leg, undeformed."""
        x = (points[0] - self.centre[0] - self.side * self.lean * points[2]) * self.side
        p = rotate(np.stack([x, points[1] - self.centre[1], points[2]]).astype(np.float32), (0, 0, self.turn))
        grow = 1 + self.taper * p[2]
        return np.stack([p[0] / grow, p[1] / grow, p[2]])

    def deform(self, p: np.ndarray, by: float) -> np.ndarray:
        """Move points (3, n) sideways and forwards by about `by` mm."""
        return np.stack([p[0] + by * self.warp[0](p), p[1] + by * self.warp[1](p), p[2]]).astype(np.float32)

    def lata(self, p: np.ndarray) -> np.ndarray:
        """Depth below the fascia lata."""
        return _disc(p, (0, 0), self.radii, power=2.15)

    def skin(self, p: np.ndarray) -> np.ndarray:
        """Depth below the skin; the fat is thicker at the back and on the inner side."""
        radii = tuple(r + self.fat for r in self.radii)
        return _disc(p, (-0.12 * self.fat, -0.22 * self.fat), radii, power=2.1)

    def femur(self, p: np.ndarray) -> np.ndarray:
        """Depth below the surface of the bone."""
        return _disc(p, self._place(FEMUR), (self.bone, self.bone * 1.06))

    def vessels(self, p: np.ndarray) -> np.ndarray:
        """Depth below the wall of the nearest deep vessel."""
        return np.max([_disc(p, self._place(at), (r, r)) for at, r in VESSELS], axis=0)

    def vein(self, p: np.ndarray) -> np.ndarray:
        """Depth below the wall of the vein under the skin."""
        outward = tuple(c * (r + 0.45 * self.fat) for c, r in zip(SAPHENOUS, self.radii, strict=True))
        return _disc(p, outward, (2.0, 2.0))

    def muscles(self, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Distance to the surface of the nearest muscle, and which of MUSCLES that is.

        Muscles meet half-way between their ellipses and leave room for the fascia, the bone and the vessels.
        """
        levels = np.stack([self._muscle(p, k) for k in range(len(MUSCLES))])
        first, second = np.sort(levels, axis=0)[:-3:-1]
        free = np.minimum.reduce([self.lata(p) - self.gap, -self.femur(p) - 0.5, -self.vessels(p) - 1.5])
        inside = np.minimum.reduce([(first - second - self.gap) / 2, first + SLACK, free])
        return inside, levels.argmax(axis=0)

    def _muscle(self, p: np.ndarray, k: int) -> np.ndarray:
        muscle = MUSCLES[k]
        middle = self._place(np.add(muscle.centre, self.offsets[k]))
        drift = np.multiply(muscle.drift, self.radii) / 100
        q = np.stack([p[0] - drift[0] * p[2], p[1] - drift[1] * p[2], p[2]])
        return _disc(q, middle, np.multiply(muscle.radii, self.radii) * self.scales[k])

    def _place(self, at: Sequence[float]) -> tuple[float, float]:
        return at[0] * self.radii[0], at[1] * self.radii[1]


def _disc(p: np.ndarray, centre: Sequence[float], radii: Sequence[float], power: float = 2.0) -> np.ndarray:
    return ellipsoid(p[:2], centre, radii, power)


def draw_legs(rng: np.random.Generator, legs: int) -> list[Leg]:
    """Draw the legs of one patient: two that differ a little, or one at the middle of the image."""
    size, fat = rng.normal(1, 0.045), float(np.clip(np.exp(rng.normal(2.3, 0.4)), 5, 18))
    radii = size * np.array([67, 70]) * rng.normal(1, 0.03, 2)
    wide = float(min(radii[0] + 1.12 * fat, 92))
    gap = rng.uniform(2, 10)
    shared = {
        "taper": rng.uniform(0.0006, 0.0018),
        "bone": rng.uniform(13.5, 16),
        "cortex": rng.uniform(4.5, 6.5),
        "gap": rng.uniform(1.2, 2.2),
    }
    shift = rng.uniform(-4, 4, 2)
    drawn = []
    for side in (1, -1):
        leg = Leg(
            side=side,
            centre=(float(side * (wide + gap) * (legs - 1) + shift[0]), float(shift[1] + rng.uniform(-2, 2))),
            turn=rng.normal(0, 8),
            lean=rng.uniform(0, 0.03) * (legs - 1),
            radii=tuple((radii * rng.normal(1, 0.012, 2)).tolist()),
            fat=fat,
            offsets=rng.normal(0, 0.02, (len(MUSCLES), 2)),
            scales=np.exp(rng.normal(0, 0.05, (len(MUSCLES), 2))),
            warp=[noise_field(rng, 34) for _ in range(2)],
            **shared,
        )
        drawn.append(leg)
    return drawn if legs == 2 else drawn[:1] if rng.random() < 0.5 else drawn[1:]
