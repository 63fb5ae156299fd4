"""Noise-free T1w signal, muscle mask and fat fraction of a leg: healthy tissue first, then the fat within muscles."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from data_prep.phantoms.common import Field, mix, rotate, soft
from data_prep.phantoms.thigh_anatomy import MUSCLES, Leg

# Spin-echo T1 at short TR: fat is about three times as bright as muscle; cortex, flowing blood and air give nothing.
SIGNAL = {"fat": 1.0, "marrow": 0.95, "muscle": 0.31, "fascia": 0.30, "skin": 0.38, "cortex": 0.05, "blood": 0.06}
# Node distance in mm of each noise.
NOISES = {"grain": 4.5, "septa": 9.0, "patch": 8.0, "streak": 5.0, "fine": 2.5}
# Streaks are long along the fibres (mostly the z axis) and oblong across them: factors of the three coordinates.
FIBRE = np.array([[1.0], [0.38], [0.22]], np.float32)


@dataclass(frozen=True)
class Grade:
    """Fat in the muscles of a grade.

    Attributes:
        fat: range of the mean fat fraction over the muscles of a patient.
        depth: fat fraction in streaks and patches.
        diffuse: maximum fat fraction elsewhere in a diseased muscle.
        spread: variation between the muscles of a patient (standard deviation of the logit).
    """

    fat: tuple[float, float]
    depth: float
    diffuse: float
    spread: float


GRADES = {
    "healthy": Grade((0.0, 0.01), 0.5, 0.0, 0.3),
    "minor": Grade((0.01, 0.04), 0.6, 0.02, 0.5),
    "moderate": Grade((0.12, 0.28), 0.9, 0.10, 1.0),
    "severe": Grade((0.36, 0.60), 0.96, 0.18, 1.5),
}


def draw_severity(rng: np.random.Generator, grade: str) -> np.ndarray:
    """Fat fraction of each muscle (muscles,), the same pattern in both legs."""
    low, high = GRADES[grade].fat
    mean = rng.uniform(low, high)
    prone = np.array([muscle.prone for muscle in MUSCLES])
    odds = mean / (1 - mean) * prone**1.5 * np.exp(GRADES[grade].spread * rng.standard_normal(len(MUSCLES)))
    return odds / (1 + odds)


def draw_leg(
    p: np.ndarray,
    leg: Leg,
    severity: np.ndarray,
    fields: Mapping[str, Field],
    rng: np.random.Generator,
    grade: str,
    voxel: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw a leg at some points.

    Args:
        p: points (3, n) in mm in the frame of the leg.
        leg: its shape.
        severity: fat fraction of each muscle.
        fields: the noise of each name in NOISES.
        rng: source of what differs between muscles and legs.
        grade: name in GRADES.
        voxel: size of a voxel in the slice in mm, the width of partial volume.

    Returns:
        Signal (n,) float32, muscle mask (n,) bool, fat fraction (n,) float32, 0 outside the mask.
    """
    skin, q = leg.skin(leg.deform(p, 1.5)), leg.deform(p, 2.5)
    grain = fields["grain"](p)
    muscle, which = leg.muscles(q)
    signal = SIGNAL["fat"] * (1 + 0.03 * grain)
    mix(signal, 0.3 * soft(0.22 - np.abs(fields["septa"](p)), 0.3), SIGNAL["fascia"])
    mix(signal, soft(0.7 - np.abs(leg.lata(q)), voxel), SIGNAL["fascia"])
    mix(signal, soft(leg.vein(p), voxel), SIGNAL["blood"])

    fat = infiltration(q, which, muscle, severity, fields, rng, grade)
    # The sheath of a muscle stays dark, so that a completely replaced muscle is still recognisable.
    tissue = SIGNAL["muscle"] * (1 + 0.04 * grain) + fat * (0.97 * SIGNAL["fat"] - SIGNAL["muscle"]) * (
        1 + 0.03 * grain
    )
    mix(tissue, soft(0.6 - np.abs(muscle - 0.3), voxel), SIGNAL["fascia"])
    mix(signal, soft(muscle + 0.3, voxel), tissue)

    bone = leg.femur(q)
    mix(signal, soft(bone, voxel), SIGNAL["cortex"])
    mix(signal, soft(bone - leg.cortex, voxel + 0.5), SIGNAL["marrow"] * (1 + 0.04 * grain))
    mix(signal, soft(leg.vessels(q), voxel), SIGNAL["blood"])
    mix(signal, soft(1.0 - skin, voxel), SIGNAL["skin"])
    mask = (muscle > 0) & (skin > 0)
    return signal * soft(skin, voxel), mask, fat * mask


def infiltration(
    q: np.ndarray,
    which: np.ndarray,
    depth: np.ndarray,
    severity: np.ndarray,
    fields: Mapping[str, Field],
    rng: np.random.Generator,
    grade: str,
) -> np.ndarray:
    """Fat fraction at points inside muscles: streaks along the fibres and patches, sparing a rim at the fascia.

    The texture is thresholded at the quantile that gives each muscle its fat fraction, so severity is that fraction up
    to the rim and the blur of edges.

    Args:
        q: points (3, n) in mm in the frame of the leg.
        which: muscle of each point.
        depth: distance to the muscle's surface in mm.
        severity: fat fraction of each muscle.
        fields: the noise of each name in NOISES.
        rng: source of the direction of the fibres.
        grade: name in GRADES.

    Returns:
        Fat fraction (n,) in [0, 1].
    """
    fat = np.zeros(q.shape[1], np.float32)
    look = GRADES[grade]
    for k, wanted in enumerate(severity):
        slant, streaky = [*rng.uniform(-20, 20, 2).tolist(), rng.uniform(-90, 90)], rng.uniform(0.5, 1.1)
        share = float(np.clip(wanted * rng.normal(1, 0.08), 0, 1))
        at = (which == k) & (depth > 0)
        if not at.any():
            continue
        points = q[:, at]
        along = rotate(points, slant) * FIBRE
        streak = 1 - np.abs(fields["streak"](along)) + 0.4 * (1 - np.abs(fields["fine"](along)))
        texture = streaky * streak + fields["patch"](points * FIBRE[2::-1] ** 0.2) * (0.35 + 0.5 * share)
        texture = texture + 0.5 * np.clip(depth[at] / 3 - 1, -1, 0)
        cut = np.quantile(texture, 1 - share)
        diffuse = look.diffuse * share
        fat[at] = diffuse + (look.depth - diffuse) * soft(texture - cut, 0.45)
    return fat
