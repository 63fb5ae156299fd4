"""Noise-free intensities and labels of a head: healthy tissue first, then the tumour over it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from data_prep.phantoms.brain_anatomy import Head, Tumour, deep_grey, pial_distance, scar, ventricles
from data_prep.phantoms.common import Field, mix, rotate, soft

# Intensities in the order of FLAIR, T1c, T1, T2; white matter of a sequence differs between heads by a few per cent.
TISSUES = {
    "white": (0.58, 0.84, 0.86, 0.47),
    "grey": (0.76, 0.60, 0.56, 0.74),
    "deep": (0.70, 0.70, 0.67, 0.60),
    "fluid": (0.20, 0.28, 0.26, 1.35),
    "oedema": (1.00, 0.66, 0.63, 1.00),
    "enhancing": (0.96, 1.32, 0.64, 0.92),
    "necrosis": (0.72, 0.32, 0.32, 1.20),
    "solid": (0.98, 0.54, 0.50, 1.08),
    "cyst": (0.36, 0.34, 0.32, 1.28),
    "wmh": (1.00, 0.70, 0.68, 0.92),
    "vessel": (0.45, 1.40, 0.62, 0.40),
}
# Parts of tumours differ between patients more than healthy tissue does.
LESIONAL = ("oedema", "enhancing", "necrosis", "solid", "cyst", "wmh")
# Node distance in mm of each noise that shapes the anatomy.
NOISES = {
    "fold": 8.5,
    "fold_fine": 5.0,
    "wave": 30,
    "lobe": 17,
    "rough": 7,
    "ring": 9,
    "wmh": 5.5,
    "patch": 26,
    "grain": 4.5,
}


@dataclass(frozen=True)
class _Shares:
    """Tissue fractions and distances at the points, each (n,).

    Attributes:
        grey, deep, fluid: fraction of the voxel that is grey matter, deep grey matter, fluid.
        inner: distance to the nearest sulcus or fissure in mm.
        depth: depth below the hull in mm.
        hind: whether it belongs to cerebellum or brain stem.
    """

    grey: np.ndarray
    deep: np.ndarray
    fluid: np.ndarray
    inner: np.ndarray
    depth: np.ndarray
    hind: np.ndarray


def draw_tissue(
    p: np.ndarray,
    head: Head,
    tumour: Tumour,
    fields: Mapping[str, Field],
    rng: np.random.Generator,
    difficulty: float,
    voxel: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a head at some points.

    Args:
        p: points (3, n) in mm in the head's own frame.
        head: shape of the head.
        tumour: shape of the tumour.
        fields: the noise of each name in NOISES.
        rng: source of what differs between patients.
        difficulty: 0 to 1.
        voxel: voxel size in mm, the width of partial volume.

    Returns:
        Intensities (4, n) float32 in the order FLAIR, T1c, T1, T2, and labels (n,) uint8.
    """
    look = {
        name: (np.array(v) * rng.normal(1, 0.09 if name in LESIONAL else 0.035, len(v))).astype(np.float32)[:, None]
        for name, v in TISSUES.items()
    }
    lobe, rough = fields["lobe"](p), fields["rough"](p)
    offset = p - tumour.centre[:, None]
    level = np.sqrt(((rotate(offset, tumour.turn) / tumour.stretch[:, None]) ** 2).sum(0)) / tumour.radius
    level = level + 0.22 * lobe + 0.08 * rough
    if tumour.satellite:
        away, size = tumour.satellite
        bud = np.sqrt(((p - away) ** 2).sum(0)) - size
        level = np.minimum(level, 1 + bud / tumour.radius + 0.1 * lobe + 0.08 * rough)
    healthy = tumour.grade == "healthy"  # all is drawn nevertheless, so that the rest of the patient stays the same
    # Mass effect: healthy tissue is looked up nearer to the tumour's centre, hence pushed outwards; the hull stays.
    calm = np.clip(np.maximum(head.cerebrum(p), head.hindbrain(p)) / 15, 0, 1)
    distance = np.sqrt((offset**2).sum(0))
    shrink = (0 if healthy else tumour.push) * np.exp(-((distance / (1.3 * tumour.radius)) ** 2)) * calm
    q = p - offset * shrink

    image, shares = _healthy(q, head, fields, look, rng, difficulty, voxel)
    # An old infarct now and then: a cavity with a bright seam, which is no tumour either.
    if rng.random() < 0.1 + 0.4 * difficulty:
        bed = scar(q, head, tumour, rng) - 3 * lobe
        mix(image, soft(bed, 4), look["wmh"])
        mix(image, soft(bed - rng.uniform(2.5, 6), 2), look["cyst"])
    _paint_fluid_and_vessels(image, q, shares, fields, look, voxel)
    grain = fields["grain"](p)
    image *= 1 + 0.035 * grain
    # Contrast of the tumour in FLAIR falls with difficulty and differs from tumour to tumour.
    gain = np.clip(1.14 - 0.42 * difficulty + rng.normal(0, 0.16), 0.3, 1.5)
    for part in ("oedema", "solid", "enhancing"):
        look[part][0] = look["white"][0] + gain * (look[part][0] + 0.12 - look["white"][0])
    texture = {"oedema": 1 + 0.05 * rough, "core": 1 + 0.06 * rough + 0.04 * grain, "ring": fields["ring"](p)}
    if healthy:
        return image, np.zeros(p.shape[1], np.uint8)
    return image, _paint_tumour(image, q[0], level, tumour, shares, look, texture, voxel)


def _healthy(
    q: np.ndarray,
    head: Head,
    fields: Mapping[str, Field],
    look: Mapping[str, np.ndarray],
    rng: np.random.Generator,
    difficulty: float,
    voxel: float,
) -> tuple[np.ndarray, _Shares]:
    """White, grey and deep grey matter with white-matter hyperintensities; the fluid is only measured."""
    radius = np.sqrt((q**2).sum(0))
    surface = q * (70 / np.maximum(radius, 8)) ** 0.72
    hind = head.hindbrain(q) > head.cerebrum(q)
    folds = np.where(hind, fields["fold_fine"](q), fields["fold"](surface) + 0.25 * fields["fold_fine"](q))
    pial, inner, depth = pial_distance(q, head, folds, fields["wave"](q))
    hollow = ventricles(q, head)

    grey = np.where(hind, 0.45 + 0.55 * soft(1.6 - pial, 4), soft(head.cortex - pial, voxel * 0.8))
    deep = soft(deep_grey(q), voxel + 1.5)
    fluid = np.maximum(soft(head.sulcus * 0.55 - inner, voxel * 0.9) * soft(depth + 1, 2), soft(hollow, voxel))
    image = np.repeat(look["white"], q.shape[1], axis=1)
    bright = np.clip(fields["patch"](q) * 0.6 + 0.1, 0, 1)
    mix(image, grey, look["grey"] * (1 + difficulty * np.array([[0.5], [0.0], [0.0], [0.12]], np.float32) * bright))
    mix(image, deep, look["deep"])
    # Hyperintensities grow frequent towards the ventricles and cap them.
    load = rng.uniform(0.2, 1.0) * (0.2 + 0.8 * difficulty)
    near = np.exp(np.minimum(hollow, 0) / rng.uniform(5, 11))
    spots = soft(fields["wmh"](q) - 2.5 + 1.3 * load * (0.45 + 2.2 * near), 0.9)
    mix(image, spots * (1 - grey) * (1 - deep) * rng.uniform(0.6, 1.0), look["wmh"])
    return image, _Shares(grey, deep, fluid, inner, depth, hind)


def _paint_fluid_and_vessels(
    image: np.ndarray,
    q: np.ndarray,
    shares: _Shares,
    fields: Mapping[str, Field],
    look: Mapping[str, np.ndarray],
    voxel: float,
) -> None:
    """Fluid, and what contrast agent lights up on T1c only: the superior sagittal sinus and vessels in the sulci."""
    mix(image, shares.fluid, look["fluid"])
    sinus = soft(3.0 - np.hypot(q[0], shares.depth - 1), voxel) * (q[2] > -10) * ~shares.hind
    vessels = soft(fields["ring"](q) - 1.5, 0.6) * soft(1.8 - shares.inner, voxel)
    mix(image, np.maximum(sinus, 0.75 * vessels), look["vessel"])


def _paint_tumour(
    image: np.ndarray,
    x: np.ndarray,
    level: np.ndarray,
    tumour: Tumour,
    shares: _Shares,
    look: Mapping[str, np.ndarray],
    texture: Mapping[str, np.ndarray],
    voxel: float,
) -> np.ndarray:
    """Paint the tumour into the image; returns labels. `level` is 0 at its centre and 1 at the edge of the oedema."""
    # Oedema follows white matter and spares cortex, deep grey and the other hemisphere.
    across = np.clip(-np.sign(tumour.centre[0]) * x + 1, 0, None)
    spare = 0.5 * shares.grey + 0.25 * shares.deep + (0.01 if tumour.crosses else 0.15) * across + 1.2 * shares.fluid
    edge = voxel * 0.8
    whole = soft((1 - level - spare * np.clip(level / tumour.core - 0.8, 0, 1)) * tumour.radius, 2 * edge + 2)
    core_distance = (tumour.core - level - 0.3 * across - 0.02 * np.clip(3 - shares.depth, 0, None)) * tumour.radius
    core = soft(core_distance, edge + 1)
    whole = np.maximum(whole * (1 - shares.fluid * (1 - core)), core)
    mix(image, whole, look["oedema"] * texture["oedema"])
    rim = np.clip(tumour.rim * (1 + 0.35 * texture["ring"]), 1.0, None)
    hollow = soft(core_distance - rim, edge + 1) if tumour.hollow else np.zeros_like(core)
    if tumour.grade == "HGG":
        glow = tumour.glow * np.clip(0.95 + 0.3 * texture["ring"], 0.35, 1.2)
        mix(image, core, (image + glow * (look["enhancing"] - image)) * texture["core"])
        mix(image, hollow, look["necrosis"] * texture["core"])
        parts: np.ndarray | int = np.where(hollow > 0.5, 1, 4)
    else:
        mix(image, core, look["solid"] * texture["core"])
        mix(image, hollow, look["cyst"] * texture["core"])
        parts = 1
    return np.where(core > 0.5, parts, np.where(whole > 0.5, 2, 0)).astype(np.uint8)
