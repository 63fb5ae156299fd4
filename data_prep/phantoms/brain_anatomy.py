"""Shapes inside a head: its surface, ventricles, deep grey matter, sulci, and where a tumour lies.

Points p are (3, n) in mm in the head's own frame (right, anterior, superior); distances are (n,) in mm, positive
inside.
"""

from dataclasses import dataclass

import numpy as np

from data_prep.phantoms.common import ellipsoid, rotate


@dataclass(frozen=True)
class Head:
    """Sizes of one head in mm and its deformation; the methods tell how deep a point lies in it."""

    radii: tuple[float, float, float]
    floor: float
    tilt: tuple[float, float, float]
    shift: tuple[float, float, float]
    ventricle: float
    cortex: float
    sulcus: float

    def cerebrum(self, p: np.ndarray) -> np.ndarray:
        """Distance to the surface of the hemispheres: narrower in front, flatter below."""
        x, y, z = p
        along = np.clip(y / self.radii[1], -1, 1)
        narrow = 1 - 0.07 * along - 0.09 * along**2
        below = self.radii[2] * np.where(z < 0, self.floor * (1 - 0.28 * np.clip(along - 0.15, 0, 1)), 1)
        q = np.stack([x / narrow, y, z * (self.radii[2] / below)])
        return ellipsoid(q, (0, 0, 0), self.radii, power=2.1) * 0.95 - 5 * np.exp(-((x / 5) ** 2))

    def hindbrain(self, p: np.ndarray) -> np.ndarray:
        """Distance to the surface of cerebellum and brain stem."""
        a, b, c = (r / n for r, n in zip(self.radii, (68, 85, 72), strict=True))
        lobes = np.stack([np.abs(p[0]), p[1], p[2]])
        cerebellum = ellipsoid(lobes, (20 * a, -47 * b, -45 * c), (31 * a, 29 * b, 24 * c))
        stem = ellipsoid(p, (0, -17 * b, -48 * c), (14 * a, 14 * b, 32 * c))
        return np.maximum(cerebellum, stem)


def draw_head(rng: np.random.Generator) -> Head:
    """Draw the sizes of one head."""
    size = rng.normal(1, 0.03)
    width, length, height = size * np.array([67, 84, 71]) * rng.normal(1, 0.03, 3)
    return Head(
        radii=(float(width), float(length), float(height)),
        floor=rng.uniform(0.6, 0.7),
        tilt=tuple(rng.uniform(-5, 5, 3)),
        shift=tuple(rng.uniform(-4, 4, 3)),
        ventricle=float(np.exp(rng.normal(0.3, 0.25))),
        cortex=rng.uniform(3.0, 4.2),
        sulcus=rng.uniform(0.5, 1.5),
    )


def ventricles(p: np.ndarray, head: Head) -> np.ndarray:
    """Distance to the lateral ventricles (bodies, horns) and the third ventricle."""
    x, y, z = np.abs(p[0]), p[1], p[2]
    b, v = head.radii[1] / 85, head.ventricle
    y = y / b
    # The bodies run close to the midline in front and diverge and sink behind.
    aside = 2.5 + 5 * v**0.8 + 0.0045 * np.clip(8 - y, 0, None) ** 2 + 0.004 * np.clip(y - 12, 0, None) ** 2
    rise = 15 - 0.007 * (y - 2) ** 2
    body = ellipsoid(np.stack([x - aside, y, z - rise]), (0, -6, 0), (5.0 * v, 42, 7.5 * v**0.8))
    third = ellipsoid(np.stack([x, y, z]), (0, -8, 1), (1.6 * v, 11, 8))
    return np.maximum(body, third)


def deep_grey(p: np.ndarray) -> np.ndarray:
    """Distance to thalami, caudate heads and lentiform nuclei."""
    q = np.stack([np.abs(p[0]), p[1], p[2]])
    thalamus = ellipsoid(q, (11, -14, 5), (8, 13, 9))
    caudate = ellipsoid(q, (13, 17, 9), (5, 9, 9))
    lentiform = ellipsoid(rotate(q - np.array([[25], [4], [1]], np.float32), (0, 0, 12)), (0, 0, 0), (6, 17, 10))
    return np.maximum(np.maximum(thalamus, caudate), lentiform)


def pial_distance(p: np.ndarray, head: Head, folds: np.ndarray, wave: np.ndarray) -> tuple[np.ndarray, ...]:
    """Distance to the nearest outer surface, sulcus or the midline fissure; and the depth below the hull."""
    cerebrum, hind = head.cerebrum(p), head.hindbrain(p)
    depth = np.maximum(cerebrum, hind)
    in_hind = hind > cerebrum
    sulcus_depth = 15 + 7 * wave
    sheet = np.abs(folds) * np.where(in_hind, 4.5, 7.0)
    sulci = np.hypot(sheet, np.clip(depth - np.where(in_hind, 14, sulcus_depth), 0, None) * 0.8)
    callosum = np.hypot(p[1] / (0.56 * head.radii[1]), (p[2] - 5) / (0.37 * head.radii[2]))
    fissure = np.hypot(p[0] + 1.5 * wave, np.clip(1.1 - callosum, 0, None) * 30)
    # Hindbrain and hemispheres are parted by a tentorium: the zero set of the two distances' difference.
    tentorium = np.where(np.abs(p[0]) + np.abs(p[1] + 14) < 26, 99, np.abs(hind - cerebrum) * 0.7)
    inner = np.minimum(np.minimum(sulci, np.where(in_hind, 99, fissure)), tentorium)
    return np.minimum(depth, inner), inner, depth


def scar(q: np.ndarray, head: Head, tumour: "Tumour", rng: np.random.Generator) -> np.ndarray:
    """Distance to the edge of an old infarct near the cortex, away from the tumour, in either hemisphere."""
    radii = rng.uniform(7, 15, 3)
    while True:
        centre = rng.uniform((-60, -75, -30), (60, 75, 60)).astype(np.float32)
        far = ((centre - tumour.centre) ** 2).sum() > (1.5 * tumour.radius + 20) ** 2
        if far and abs(centre[0]) > 12 and 4 < head.cerebrum(centre[:, None])[0] < 22:
            return ellipsoid(q, centre, radii)


@dataclass(frozen=True)
class Tumour:
    """Where a tumour lies (mm in the head's own frame), how large it is, and how its parts look."""

    centre: np.ndarray
    radius: float
    stretch: np.ndarray
    turn: np.ndarray
    core: float
    rim: float
    hollow: bool
    glow: float
    push: float
    crosses: bool
    satellite: tuple[np.ndarray, float] | None
    grade: str


def draw_tumour(rng: np.random.Generator, head: Head, grade: str) -> Tumour:
    """Draw a tumour that lies well inside one hemisphere, at any height."""
    radius = rng.uniform(16, 36)
    side = rng.choice([-1, 1])
    while True:
        centre = np.array([side * rng.uniform(14, 50), rng.uniform(-62, 58), rng.uniform(-34, 58)], np.float32)
        if head.cerebrum(centre[:, None])[0] > 0.45 * radius and head.hindbrain(centre[:, None])[0] < -6:
            break
    high = grade == "HGG"
    way = rng.standard_normal(3)
    away = centre + radius * rng.uniform(1.0, 1.5) * way / np.sqrt((way**2).sum())
    satellite = (away.astype(np.float32)[:, None], radius * rng.uniform(0.25, 0.5))
    return Tumour(
        centre=centre,
        radius=radius,
        stretch=np.exp(rng.normal(0, 0.18, 3)).astype(np.float32),
        turn=rng.uniform(-90, 90, 3),
        core=rng.uniform(0.35, 0.75) if high else rng.uniform(0.5, 0.9),
        rim=rng.uniform(3, 8),
        hollow=rng.random() < (0.75 if high else 0.35),
        glow=rng.uniform(0.45, 1.1),
        push=rng.uniform(0.1, 0.4),
        crosses=rng.random() < 0.12,
        satellite=satellite if rng.random() < 0.3 else None,
        grade=grade,
    )
