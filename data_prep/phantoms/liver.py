"""Liver CT phantoms: a portal-venous abdomen in Hounsfield units with lesions in the liver, laid out as LiTS.

Organs are smooth deformed solids painted one over the other from the skin inwards; hepatic and portal vessels are
the curves in which the zero sets of two noise fields cross. Most lesions are darker than liver, some only
slightly, some have a bright rim, some are cysts; one patient in seven has none. Gall bladder, unopacified veins and
patches of fatty liver are also dark but are not lesions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter
from transeg.errors import UserError

from data_prep.phantoms.common import Field, ellipsoid, grid, mix, noise_field, rotate, save, soft

FIELD_OF_VIEW = (384.0, 384.0, 240.0)
AIR, LUNG, FAT = -1000.0, -840.0, -102.0
_NOISES = {
    "grain": 5,
    "steatosis": 38,
    "vein_a": 34,
    "vein_b": 34,
    "twig_a": 21,
    "twig_b": 21,
    "gut": 17,
    "shape": 22,
    "bump": 9,
}


@dataclass(frozen=True)
class LiverPhantom:
    """One synthetic patient.

    Attributes:
        image: (X, Y, Z) int16 in Hounsfield units.
        label: (X, Y, Z) uint8: 0 background, 1 liver, 2 lesion (inside the liver).
        affine: (4, 4) voxel to mm, LPS order of the axes.
        lesions: number of lesions drawn.
    """

    image: np.ndarray
    label: np.ndarray
    affine: np.ndarray
    lesions: int


def liver_phantom(
    seed: int | Sequence[int],
    shape: Sequence[int] = (128, 128, 48),
    spacing: float | Sequence[float] = (3.0, 3.0, 5.0),
    difficulty: float = 0.5,
    with_lesions: bool | None = None,
) -> LiverPhantom:
    """Draw one patient.

    Args:
        seed: a seed, or (seed, case number); with the other options it determines every voxel.
        shape: voxels along x, y, z.
        spacing: voxel size in mm, one or three numbers. In a field of view smaller than 384 x 384 x 240 mm the
            body shrinks to fit.
        difficulty: 0 (dark lesions, clean images) to 1 (faint lesions, patchy liver, strong noise).
        with_lesions: whether the liver has lesions; drawn (six of seven do) when None.

    Raises:
        ValueError: an option out of range.
    """
    if not 0 <= difficulty <= 1:
        raise UserError(f"difficulty must lie in [0, 1], got {difficulty}")
    rng = np.random.default_rng(seed)
    drawn = rng.random() < 6 / 7
    with_lesions = bool(drawn if with_lesions is None else with_lesions)
    points, affine = grid(shape, spacing)
    steps = np.abs(np.diag(affine)[:3])
    fit = min(1.0, *(n * s / f for n, s, f in zip(shape, steps, FIELD_OF_VIEW, strict=True)))
    voxel = float(steps[:2].mean() / fit)

    fields = {name: noise_field(rng, scale) for name, scale in _NOISES.items()}
    warp = [noise_field(rng, 75) for _ in range(3)]
    p = points.reshape(3, -1) / np.float32(fit) / np.float32(rng.normal(1, 0.035))
    body = ellipsoid(p, (0, 0, 0), (rng.normal(160, 6), rng.normal(112, 6), 900), power=2.3)
    out = np.full(p.shape[1], AIR, np.float32)
    inner = body > -voxel
    q = p[:, inner]
    calm = np.clip(body[inner] / 20, 0, 1)
    q = (q + 5 * calm * np.stack([w(q) for w in warp])).astype(np.float32)

    hu, liver = _abdomen(q, body[inner], fields, rng, voxel)
    lesion, count = _paint_liver(hu, liver, q, fields, rng, difficulty, voxel, with_lesions)
    out[inner] = AIR + soft(body[inner], voxel) * (hu - AIR)

    image = out.reshape(shape)
    dose = (7 + 12 * difficulty) * rng.uniform(0.8, 1.25)
    quantum = gaussian_filter(rng.standard_normal(shape, dtype=np.float32), (0.6, 0.6, 0))
    image = gaussian_filter(image, (0.5, 0.5, 0)) + dose / 0.47 * quantum
    labels = np.zeros(p.shape[1], np.uint8)
    labels[inner] = np.where(lesion, 2, liver > 0)
    return LiverPhantom(np.clip(np.rint(image), -1024, 3000).astype(np.int16), labels.reshape(shape), affine, count)


def _abdomen(
    q: np.ndarray, body: np.ndarray, fields: dict[str, Field], rng: np.random.Generator, voxel: float
) -> tuple[np.ndarray, np.ndarray]:
    """Everything but the inside of the liver: HU (n,), and the distance to the liver's surface, positive inside."""
    x, y, z = q
    grain = fields["grain"](q)
    hu = np.full(q.shape[1], FAT, np.float32) + 6 * grain
    mix(hu, soft(2.5 - body, voxel), 10.0)
    skin = rng.uniform(14, 34)
    back = np.clip(-y / 90, 0, 1)
    wall = body - skin * (1 - 0.35 * back)
    mix(hu, soft(wall, voxel), 58 + 8 * grain)
    cavity = np.minimum(wall - 13, ellipsoid(q, (0, 22, 0), (128, 84, 900), power=2.4))
    mix(hu, soft(cavity, voxel), FAT + 8 * grain)

    dome = rng.uniform(62, 84)
    # Spine, ribs, and the muscles beside the spine.
    mix(hu, soft(ellipsoid(np.stack([np.abs(x), y, 0 * z]), (30, -76, 0), (23, 17, 1)), voxel), 60 + 8 * grain)
    disc = np.cos(2 * np.pi * z / 34) > 0.86
    vertebra = ellipsoid(np.stack([x, y, 0 * z]), (0, -58, 0), (23, 18, 1), power=2.4)
    arch = np.maximum(
        ellipsoid(np.stack([x, y, 0 * z]), (0, -92, 0), (4, 17, 1)),
        ellipsoid(np.stack([np.abs(x), y, 0 * z]), (20, -80, 0), (17, 4.5, 1)),
    )
    mix(hu, soft(vertebra, voxel), np.where(disc, 95, 190 + 55 * grain))
    mix(hu, soft(3 - np.abs(vertebra), voxel) * ~disc, 480.0)
    mix(hu, soft(arch, voxel), 420.0)
    mix(hu, soft(8 - np.hypot(x, y + 80), voxel), 25.0)
    angle = np.arctan2(y + 10, np.abs(x)) * 57.3
    rib = 5 - np.hypot(wall - 6.5, ((z + 0.7 * angle + 8) % 32 - 16) * 0.85)
    mix(hu, soft(rib, voxel) * (angle < 62) * (z > -60 + 0.4 * np.abs(x) - 40), 330 - 25 * rib)

    bowel = soft(fields["gut"](q) - 0.1, 0.5) * soft(cavity - 4, 6) * soft(20 - z, 30)
    mix(hu, bowel, 32 + 14 * grain)
    mix(hu, soft(fields["gut"](q) - 1.9, 0.3) * bowel * (y > 15), -700.0)
    organ = rng.normal(0, 6)
    kidney = ellipsoid(
        rotate(np.stack([np.abs(x) - 62, y + 48, z + 48 - 6 * np.sign(x)]), (0, 0, -25)), (0, 0, 0), (24, 29, 54)
    )
    mix(hu, soft(kidney, voxel), 165 + organ + 8 * grain)
    mix(hu, soft(kidney - 13 + 4 * fields["gut"](q), 6), 60.0)
    spleen = ellipsoid(rotate(q - np.array([[-103], [-28], [22]], np.float32), (0, 0, 28)), (0, 0, 0), (23, 46, 50))
    spleen = np.minimum(spleen, cavity - 2)
    mix(hu, soft(spleen, voxel), 118 + organ + 6 * grain)
    stomach = np.minimum(
        ellipsoid(rotate(q - np.array([[-58], [26], [22]], np.float32), (0, 0, 30)), (0, 0, 0), (36, 50, 52)),
        cavity - 3,
    )
    mix(hu, soft(stomach, voxel), 75.0)
    content = np.where(y > rng.uniform(30, 48), -960, 22 + 12 * grain)
    mix(hu, soft(stomach - 4.5, voxel), content)

    aorta = 11.5 - np.hypot(x + 9, y + 28 + 0.02 * z)
    cava = 12 - np.hypot((x - 22) * 0.85, y + 22)
    mix(hu, soft(aorta, voxel), 150 + organ)
    mix(hu, soft(cava, voxel), 125 + organ)

    right = ellipsoid(q, (68, 4, 4), (64, 78, rng.uniform(76, 92)), power=2.3)
    left = ellipsoid(
        rotate(q - np.array([[-4], [44], [34]], np.float32), (0, 16, -8)), (0, 0, 0), (rng.uniform(56, 84), 34, 34)
    )
    # The lower edge slants: the right lobe reaches down, the left lobe ends high.
    slant = (z + 62 - 0.75 * np.clip(52 - x, 0, None)) * 0.75
    liver = np.minimum.reduce([np.maximum(right, left), cavity - 2, slant, dome - z - 0.0045 * ((x - 40) ** 2 + y**2)])
    liver = np.minimum.reduce([liver + 2.5 * fields["shape"](q), -kidney - 2, -cava - 1, -stomach - 1])
    liver = np.minimum(liver, cavity - 2)
    gall = ellipsoid(rotate(q - np.array([[46], [38], [-34]], np.float32), (25, 0, 0)), (0, 0, 0), (14, 17, 27))
    liver = np.minimum(liver, -gall)
    # Above the diaphragm the cavity is lung, with the liver's dome bulging into it; the heart lies in the middle.
    chest = np.minimum(cavity - 1, z - dome + 0.0045 * ((np.abs(x) - 40) ** 2 + y**2) + 6)
    chest = np.minimum.reduce(
        [chest, -liver - 2, -aorta - 2, -ellipsoid(np.stack([x, y, 0 * z]), (0, -48, 0), (30, 34, 1))]
    )
    mix(hu, soft(chest, voxel), LUNG + 45 * grain)
    heart = np.minimum(ellipsoid(q, (-28, 38, dome + 34), (54, 44, 46)), cavity - 2)
    mix(hu, soft(np.minimum(heart, chest + 12), voxel), 120 + organ)
    mix(hu, soft(gall, voxel), 14.0)
    return hu, liver


def _paint_liver(
    hu: np.ndarray,
    liver: np.ndarray,
    q: np.ndarray,
    fields: dict[str, Field],
    rng: np.random.Generator,
    difficulty: float,
    voxel: float,
    with_lesions: bool,
) -> tuple[np.ndarray, int]:
    """Paint liver, vessels and lesions into `hu`; returns the lesion mask (n,) and how many lesions were drawn."""
    d, inside = difficulty, liver > -voxel
    depth, at = liver[inside], q[:, inside]
    level = rng.normal(106, 9)
    tissue = level + 4 * fields["grain"](at)
    # Fatty change: broad patches, and a few sharper ones, darker than liver by up to half a lesion.
    tissue -= (4 + 14 * d) * np.clip(fields["steatosis"](at) - 0.4, 0, 2)
    for a, b, width, depth_min in (("vein_a", "vein_b", 5.5, 3), ("twig_a", "twig_b", 3.0, 5)):
        tube = width - np.hypot(fields[a](at), fields[b](at)) * _NOISES[a] * 0.62
        mix(tissue, soft(np.minimum(tube, depth - depth_min), voxel), level + rng.uniform(-16 * d, 60))

    lesion = np.zeros(at.shape[1], bool)
    count = min(1 + rng.geometric(0.28), 14) if with_lesions else 0
    # Candidates are drawn in a box around the liver; those outside it or too near its surface are passed over.
    drawn = 0
    for _ in range(count * 12):
        radius = float(np.clip(np.exp(rng.normal(2.35, 0.6)), 4, 34))
        centre, stretch = rng.uniform((-60, -70, -70), (130, 80, 80)), np.exp(rng.normal(0, 0.15, 3))
        turn, kind, faint = rng.uniform(-90, 90, 3), rng.random(), rng.uniform(0.6, 1.3)
        rim, core = rng.random() < 0.3, rng.random() < 0.4
        offset = (at - centre[:, None]).astype(np.float32)
        near = (offset**2).sum(0) < (2.2 * radius) ** 2
        if drawn == count or not _inside(offset, depth, voxel, radius):
            continue
        spot = rotate(offset[:, near], turn) / stretch[:, None]
        edge = radius * (1 - 0.16 * fields["bump"](at[:, near] * (14 / max(radius, 10)))) - np.sqrt((spot**2).sum(0))
        edge = np.minimum(edge, depth[near])
        cyst = kind < 0.12
        drop = 90 if cyst else (58 - 34 * d) * faint
        blur = voxel if cyst else voxel + 1 + 0.08 * radius
        part = tissue[near]
        if rim and not cyst and radius > 8:
            mix(part, soft(edge + 2.5, 2 * voxel) * 0.7, level + 22)
        share = soft(edge - 0.5, blur)
        mix(part, share, level - drop + 0.4 * (part - level))
        if core and not cyst and radius > 10:
            mix(part, soft(edge - 0.5 * radius, 0.4 * radius) * 0.8, level - drop - 25)
        tissue[near] = part
        lesion[near] |= edge > 0
        drawn += 1
    share = soft(depth, voxel)
    hu[inside] += share * (tissue - hu[inside])
    mask = np.zeros(hu.shape, bool)
    mask[inside] = lesion & (depth > 0)
    return mask, drawn


def _inside(offset: np.ndarray, depth: np.ndarray, voxel: float, radius: float) -> bool:
    """Whether the point at offset 0 lies in the liver, deep enough for a lesion of this radius."""
    nearest = (offset**2).sum(0).argmin()
    return bool((offset[:, nearest] ** 2).sum() < (2.5 * voxel) ** 2 and depth[nearest] > 0.6 * radius)


def write_liver(phantom: LiverPhantom, folder: Path, case: int) -> None:
    """Write one patient as FOLDER/volume-N.nii.gz and FOLDER/segmentation-N.nii.gz."""
    save(phantom.image, phantom.affine, folder / f"volume-{case}.nii.gz")
    save(phantom.label, phantom.affine, folder / f"segmentation-{case}.nii.gz")
