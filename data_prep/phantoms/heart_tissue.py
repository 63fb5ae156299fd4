"""Noise-free signal and labels of a chest with its heart, in CT or MR.

One anatomy for both: what differs is the signal of each tissue. In contrast CT blood is bright, more so in the left
heart, and the muscle is not much brighter than the liver; in MR (balanced steady state, fat suppressed) blood is
bright everywhere, muscle is grey and bone and lung give nothing.
"""

from collections.abc import Mapping

import numpy as np

from data_prep.phantoms.common import Field, mix, soft
from data_prep.phantoms.heart_anatomy import (
    ASCENDING,
    LONG_AXES,
    PULMONARY,
    PULMONARY_BRANCHES,
    PULMONARY_VEINS,
    VENA_CAVA_LOWER,
    VENA_CAVA_UPPER,
    Chest,
    Heart,
    tube,
)

# Values of the public MM-WHS data.
LABELS = {"Myo": 205, "LA": 420, "LV": 500, "RA": 550, "RV": 600, "AA": 820, "PA": 850}
# Node distance in mm of each noise.
NOISES = {"grain": 5.0, "flow": 16.0, "twig_a": 17.0, "twig_b": 17.0, "trabecula": 8.0}
Signal = dict[str, float]


def draw_signal(rng: np.random.Generator, modality: str, difficulty: float) -> Signal:
    """Signal of each tissue: CT in HU, MR with about 1 for blood. `grain` and `flow` are the strength of noise."""
    if modality == "ct":
        muscle = rng.normal(105 + 10 * difficulty, 10)
        left = muscle + rng.normal(310 - 110 * difficulty, 35)
        right = muscle + (left - muscle) * rng.uniform(0.45 - 0.2 * difficulty, 0.9)
        return {
            "air": -1000.0, "lung": rng.normal(-840, 25), "fat": rng.normal(-95, 8), "skin": 20.0,
            "muscle": rng.normal(58, 6), "myocardium": muscle, "left": left, "right": right,
            "cava": right + rng.uniform(-40, 250), "marrow": rng.normal(190, 30), "cortex": rng.normal(560, 80),
            "disc": 95.0, "liver": rng.normal(95, 10), "bowel": 40.0, "twig": 0.8 * left,
            "grain": 7.0, "flow": 10 + 35 * difficulty,
        }  # fmt: skip
    muscle = rng.normal(0.36 + 0.10 * difficulty, 0.03)
    return {
        "air": 0.01, "lung": rng.uniform(0.04, 0.1), "fat": rng.uniform(0.15, 0.3 + 0.4 * difficulty), "skin": 0.3,
        "muscle": 0.9 * muscle, "myocardium": muscle, "left": 1.0, "right": rng.normal(0.95, 0.06),
        "cava": rng.normal(0.9, 0.08), "marrow": rng.uniform(0.2, 0.4), "cortex": 0.05,
        "disc": 0.5, "liver": rng.normal(0.45, 0.06), "bowel": 0.4, "twig": 0.6,
        "grain": 0.02, "flow": 0.03 + 0.07 * difficulty,
    }  # fmt: skip


def draw_tissue(
    points: np.ndarray, heart: Heart, chest: Chest, signal: Signal, fields: Mapping[str, Field], voxel: float
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a chest at some points.

    Args:
        points: (3, n) in mm in the frame of the chest.
        heart: its heart.
        chest: its other shapes.
        signal: of each tissue.
        fields: the noise of each name in NOISES.
        voxel: size of a voxel in mm, the width of partial volume.

    Returns:
        Signal (n,) float32 and values of LABELS (n,) int16.
    """
    grain = signal["grain"] * fields["grain"](points)
    image = _chest(points, chest, signal, fields, grain, voxel)
    label = np.zeros(points.shape[1], np.int16)
    # all that matters of the heart and its vessels lies in this ball
    near = ((points - heart.valves[:, None]) ** 2).sum(axis=0) < 125**2
    part, marks = image[near], label[near]
    _heart(part, marks, points[:, near], heart, chest, signal, fields, grain[near], voxel)
    image[near], label[near] = part, marks
    body = chest.body(points)
    return signal["air"] + soft(body, voxel) * (image - signal["air"]), label * (body > 0)


def _chest(
    p: np.ndarray, chest: Chest, signal: Signal, fields: Mapping[str, Field], grain: np.ndarray, voxel: float
) -> np.ndarray:
    """Everything but the heart and its vessels."""
    body = chest.body(p)
    image = signal["fat"] + grain
    mix(image, soft(2 - body, voxel), signal["skin"])
    muscle = body - chest.skin
    mix(image, soft(muscle, voxel), signal["muscle"] + grain)
    ribs = chest.ribs(p, muscle)
    mix(image, soft(ribs, voxel), signal["cortex"])
    mix(image, soft(ribs - 2, voxel), signal["marrow"] + 2 * grain)
    cavity = chest.cavity(p, muscle)
    mix(image, soft(cavity, voxel), signal["lung"] + 2 * grain)
    twigs = 1.1 - 5 * np.hypot(fields["twig_a"](p), fields["twig_b"](p))
    mix(image, soft(np.minimum(twigs, cavity - 3), 1.5), signal["twig"])
    below = np.minimum(-chest.diaphragm(p), cavity)
    mix(image, soft(below, voxel), signal["liver"] + grain)
    mix(image, soft(np.minimum(below - 5, -35 - p[0] - 0.4 * p[1]), 8), signal["bowel"] + 2 * grain)
    # fat around the vessels above the heart, between heart and spine, and behind the breastbone
    above = np.minimum(34 - np.abs(p[0] - 2), p[2] - 25)
    behind = np.minimum(22 - np.abs(p[0] + 8), -28 - p[1])
    front = np.minimum(24 - np.abs(p[0] + 12) - 0.4 * (72 - p[1]), p[1] - 15)
    column = np.minimum(np.maximum.reduce([above, behind, front]), cavity)
    mix(image, soft(np.minimum(column, chest.diaphragm(p)), voxel + 1), signal["fat"] + grain)
    bone, disc = chest.spine(p)
    mix(image, soft(bone, voxel), np.where(disc, signal["disc"], signal["cortex"]))
    mix(image, soft(bone - 2, voxel) * ~disc, signal["marrow"] + 3 * grain)
    return image


def _heart(
    image: np.ndarray,
    label: np.ndarray,
    points: np.ndarray,
    heart: Heart,
    chest: Chest,
    signal: Signal,
    fields: Mapping[str, Field],
    grain: np.ndarray,
    voxel: float,
) -> None:
    """Paint the heart and its vessels into signal and labels, in place."""
    q = heart.deform(heart.frame(points), 3.0)
    p = LONG_AXES @ q
    found = {name: distance * np.float32(heart.size) for name, distance in heart.chambers(p).items()}
    vessels = _vessels(q, heart, chest)
    outer = {"Myo": 0.0, "RV": 3.0, "RA": 2.5, "LA": 2.5}
    walls = np.maximum.reduce([found[name] + thick for name, thick in outer.items()])
    # a soft maximum bridges the grooves between the chambers, where fat lies
    hull = 7 * np.log(sum(np.exp(np.clip(found[name] + thick, -60, 12) / 7) for name, thick in outer.items()))
    wrapped = np.maximum.reduce([hull + heart.fat, vessels["AA"] + 6, vessels["PA"] + 5, vessels["cava"] + 3])
    wrapped = np.minimum(wrapped, chest.diaphragm(points) + 4)
    mix(image, soft(wrapped, voxel), signal["fat"] + grain)
    sheaths = np.maximum.reduce([walls, vessels["AA"] + 1.5, vessels["PA"] + 1.5, vessels["veins"] + 1])
    mix(image, soft(sheaths, voxel), signal["myocardium"] + grain)

    flow = signal["flow"] * fields["flow"](points)
    trabecula = fields["trabecula"](points)
    left, right = signal["left"] + 0.3 * flow + grain, signal["right"] + flow + grain
    cava = signal["cava"] + 2 * flow
    blood = {"veins": left, "PA": right, "cava": cava, "AA": left, "LA": left, "RV": right, "LV": left}
    distances = found | vessels
    # where streams of blood that has mixed and blood that has not meet
    incoming = soft(q[2] + 2 * fields["flow"](points) - 8, 30)
    mix(image, soft(found["RA"], voxel), right + incoming * (cava - right))
    for name, value in blood.items():
        mix(image, soft(distances[name], voxel), value)
    # papillary muscles and trabeculae lie in the blood and count as blood; so do the leaflets of the valves
    middle = soft(p[2] - 14, 10) * soft(52 - p[2], 10)
    for name, most in (("LV", 0.8), ("RV", 0.55)):
        knots = np.minimum(1.5 * trabecula - 1.0, (9 - np.abs(found[name] - 5)) / 4)
        mix(image, most * soft(knots, 0.6) * middle * (found[name] > 0.8), signal["myocardium"] + grain)
    atria = np.maximum(found["LA"], found["RA"])
    mix(image, 0.4 * soft(0.8 - np.abs(p[2]), voxel) * (atria > -1.5), signal["myocardium"])

    for name in ("PA", "AA"):
        label[distances[f"{name} label"] > 0] = LABELS[name]
    label[found["Myo"] > 0] = LABELS["Myo"]
    label[(found["Myo"] > 0) & (vessels["AA"] > 0) & (p[2] < 4)] = LABELS["AA"]
    for name in ("LA", "RA", "RV", "LV"):
        label[found[name] > 0] = LABELS[name]
    label[chest.spine(points)[0] > 0] = 0


def _vessels(q: np.ndarray, heart: Heart, chest: Chest) -> dict[str, np.ndarray]:
    """Distances of the vessels in the frame of the heart; "... label" is the part that MM-WHS outlines."""
    # the arch ends at the aorta that goes down beside the spine, which does not turn with the heart
    ends = np.array([(-20, chest.back + 18, 66), (-25, chest.back + 12, 30), (-22, chest.back + 14, -130)], float)
    down = np.column_stack([heart.frame(ends.T).T, (12, 11.5, 10.5)])
    ascending, trunk = tube(q, ASCENDING), tube(q, PULMONARY)
    arch = tube(q, (ASCENDING[-1], (-8, -30, 84, 12), *down))
    distances = {
        "AA": np.maximum(ascending, arch),
        "AA label": ascending,
        "PA": np.maximum.reduce([trunk, *(tube(q, nodes) for nodes in PULMONARY_BRANCHES)]),
        "PA label": trunk,
        "veins": np.maximum.reduce([tube(q, nodes) for nodes in PULMONARY_VEINS]),
        "cava": np.maximum(tube(q, VENA_CAVA_UPPER), tube(q, VENA_CAVA_LOWER)),
    }
    return {name: distance * np.float32(heart.size) for name, distance in distances.items()}
