"""Brain MR phantoms: four co-registered sequences with a tumour, skull-stripped, laid out as BraTS 2017.

A head is an egg of random size whose cortex is folded by noise that varies along the surface and hardly along the
depth, so that its zero sets are sulci. Tissue shares (white and grey matter, fluid, deep grey, tumour parts) are
mixed with one intensity for each sequence, then a scanner is drawn: gain, gamma, bias field and noise.

Healthy tissue that looks like tumour in FLAIR (white-matter hyperintensities, caps of the ventricles, bright
cortex) is there on purpose and labelled 0: a threshold must not solve the task. A tumour lies mostly in one
hemisphere, at any height and in either side, so the other half-slices of the same patients are healthy, and
neither position nor head size tells the two kinds apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from data_prep.phantoms.common import ellipsoid, grid, mix, noise_field, rotate, save, soft

SEQUENCES = ("flair", "t1ce", "t1", "t2")
# Intensities in the order of SEQUENCES; white matter of a sequence differs between heads by a few per cent.
TISSUES = {
    "white": (0.58, 0.84, 0.86, 0.47),
    "grey": (0.76, 0.60, 0.56, 0.74),
    "deep": (0.70, 0.70, 0.67, 0.60),
    "fluid": (0.20, 0.28, 0.26, 1.35),
    "edema": (1.00, 0.66, 0.63, 1.00),
    "enhancing": (0.96, 1.32, 0.64, 0.92),
    "necrosis": (0.72, 0.32, 0.32, 1.20),
    "solid": (0.98, 0.54, 0.50, 1.08),
    "cyst": (0.36, 0.34, 0.32, 1.28),
    "wmh": (1.00, 0.70, 0.68, 0.92),
    "vessel": (0.45, 1.40, 0.62, 0.40),
}
# Parts of tumours differ between patients more than healthy tissue does.
LESIONAL = ("edema", "enhancing", "necrosis", "solid", "cyst", "wmh")
FIELD_OF_VIEW = (240.0, 240.0, 155.0)


@dataclass(frozen=True)
class BrainPhantom:
    """One synthetic patient.

    Attributes:
        images: sequence name -> (X, Y, Z) int16, exactly 0 outside the brain and at least 1 inside.
        label: (X, Y, Z) uint8: 0 healthy, 1 necrosis or solid core, 2 edema, 4 enhancing.
        affine: (4, 4) voxel to mm, LPS order of the axes as in BraTS.
        grade: "HGG" (enhancing ring) or "LGG" (none).
    """

    images: dict[str, np.ndarray]
    label: np.ndarray
    affine: np.ndarray
    grade: str


@dataclass(frozen=True)
class _Head:
    """Sizes of one head in mm and its deformation; `brain` and `tissues` draw it at given points."""

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


def _draw_head(rng: np.random.Generator) -> _Head:
    size = rng.normal(1, 0.03)
    width, length, height = size * np.array([67, 84, 71]) * rng.normal(1, 0.03, 3)
    return _Head(
        radii=(float(width), float(length), float(height)),
        floor=rng.uniform(0.6, 0.7),
        tilt=tuple(rng.uniform(-5, 5, 3)),
        shift=tuple(rng.uniform(-4, 4, 3)),
        ventricle=float(np.exp(rng.normal(0.3, 0.25))),
        cortex=rng.uniform(3.0, 4.2),
        sulcus=rng.uniform(0.5, 1.5),
    )


def _ventricles(p: np.ndarray, head: _Head) -> np.ndarray:
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


def _deep_grey(p: np.ndarray) -> np.ndarray:
    """Distance to thalami, caudate heads and lentiform nuclei."""
    q = np.stack([np.abs(p[0]), p[1], p[2]])
    thalamus = ellipsoid(q, (11, -14, 5), (8, 13, 9))
    caudate = ellipsoid(q, (13, 17, 9), (5, 9, 9))
    lentiform = ellipsoid(rotate(q - np.array([[25], [4], [1]], np.float32), (0, 0, 12)), (0, 0, 0), (6, 17, 10))
    return np.maximum(np.maximum(thalamus, caudate), lentiform)


def _pial_distance(p: np.ndarray, head: _Head, folds: np.ndarray, wave: np.ndarray) -> tuple[np.ndarray, ...]:
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


def _scar(q: np.ndarray, head: _Head, tumour: "_Tumour", rng: np.random.Generator) -> np.ndarray:
    """Distance to the edge of an old infarct near the cortex, away from the tumour, in either hemisphere."""
    radii = rng.uniform(7, 15, 3)
    while True:
        centre = rng.uniform((-60, -75, -30), (60, 75, 60)).astype(np.float32)
        far = ((centre - tumour.centre) ** 2).sum() > (1.5 * tumour.radius + 20) ** 2
        if far and abs(centre[0]) > 12 and 4 < head.cerebrum(centre[:, None])[0] < 22:
            return ellipsoid(q, centre, radii)


@dataclass(frozen=True)
class _Tumour:
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


def _draw_tumour(rng: np.random.Generator, head: _Head, grade: str) -> _Tumour:
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
    return _Tumour(
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
    )


def brain_phantom(
    seed: int | Sequence[int],
    shape: Sequence[int] = (120, 120, 78),
    spacing: float | Sequence[float] = 2.0,
    difficulty: float = 0.5,
    grade: str | None = None,
) -> BrainPhantom:
    """Draw one patient.

    Args:
        seed: a seed, or (seed, case number); with the other options it decides every voxel.
        shape: voxels along x, y, z.
        spacing: voxel size in mm, one or three numbers. In a field of view smaller than BraTS's
            240 x 240 x 155 mm the head shrinks to fit.
        difficulty: 0 (bright tumours, clean images) to 1 (faint tumours, many bright healthy patches, strong noise
            and bias).
        grade: "HGG" or "LGG"; drawn (three of four are HGG) when None.

    Raises:
        ValueError: an option outside its range.
    """
    if not 0 <= difficulty <= 1:
        raise ValueError(f"difficulty must lie in [0, 1], got {difficulty}")
    if grade not in (None, "HGG", "LGG"):
        raise ValueError(f"grade must be HGG or LGG, got {grade}")
    rng = np.random.default_rng(seed)
    drawn = "HGG" if rng.random() < 0.74 else "LGG"
    grade = grade or drawn
    volume, affine = grid(shape, spacing)
    fit = min(1.0, *(n * abs(affine[a, a]) / f for a, (n, f) in enumerate(zip(shape, FIELD_OF_VIEW, strict=True))))
    voxel = float(np.abs(np.diag(affine)[:3]).mean() / fit)

    head = _draw_head(rng)
    tumour = _draw_tumour(rng, head, grade)
    warp = [noise_field(rng, 60) for _ in range(3)]
    fields = {name: noise_field(rng, scale) for name, scale in _NOISES.items()}

    # Only voxels near the brain are computed, as a list of points; the rest is background.
    near = ellipsoid(volume, (0, 0, 0), tuple(fit * r for r in (84, 102, 90)), power=2.5) > 0
    points = volume[:, near] / np.float32(fit)
    p = rotate(points - np.array(head.shift, np.float32)[:, None] - np.array([[0], [0], [3]]), head.tilt)
    p = (p + 2.5 * np.stack([w(p) for w in warp])).astype(np.float32)
    inside = np.maximum(head.cerebrum(p), head.hindbrain(p)) > 0
    near[near] = inside
    p = p[:, inside]

    images, label = _tissue(p, head, tumour, grade, fields, rng, difficulty, voxel)
    images = _scan(images, p, near, rng, difficulty)
    full = np.zeros((len(SEQUENCES), *shape), np.int16)
    full[:, near] = images
    labels = np.zeros(shape, np.uint8)
    labels[near] = label
    return BrainPhantom(dict(zip(SEQUENCES, full, strict=True)), labels, affine, grade)


# Node distance in mm of each noise that shapes the anatomy.
_NOISES = {
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


def _tissue(
    p: np.ndarray,
    head: _Head,
    tumour: _Tumour,
    grade: str,
    fields: dict,
    rng: np.random.Generator,
    difficulty: float,
    voxel: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Noise-free intensities (4, n) and labels (n,) at points p (3, n)."""
    d = difficulty
    look = {
        name: (np.array(v) * rng.normal(1, 0.09 if name in LESIONAL else 0.035, len(v))).astype(np.float32)[:, None]
        for name, v in TISSUES.items()
    }
    # Tumour coordinates, and mass effect: anatomy is looked up nearer to the centre, hence pushed outwards.
    offset = p - tumour.centre[:, None]
    distance = np.sqrt((offset**2).sum(0))
    lobe, rough = fields["lobe"](p), fields["rough"](p)
    level = np.sqrt(((rotate(offset, tumour.turn) / tumour.stretch[:, None]) ** 2).sum(0)) / tumour.radius
    level = level + 0.22 * lobe + 0.08 * rough
    if tumour.satellite:
        away, size = tumour.satellite
        bud = np.sqrt(((p - away) ** 2).sum(0)) - size
        level = np.minimum(level, 1 + bud / tumour.radius + 0.1 * lobe + 0.08 * rough)
    calm = np.clip(np.maximum(head.cerebrum(p), head.hindbrain(p)) / 15, 0, 1)
    shrink = tumour.push * np.exp(-((distance / (1.3 * tumour.radius)) ** 2)) * calm
    q = p - offset * shrink

    radius = np.sqrt((q**2).sum(0))
    surface = q * (70 / np.maximum(radius, 8)) ** 0.72
    wave = fields["wave"](q)
    hind = head.hindbrain(q) > head.cerebrum(q)
    folds = np.where(hind, fields["fold_fine"](q), fields["fold"](surface) + 0.25 * fields["fold_fine"](q))
    pial, inner, depth = _pial_distance(q, head, folds, wave)
    ventricles = _ventricles(q, head)

    grey = np.where(hind, 0.45 + 0.55 * soft(1.6 - pial, 4), soft(head.cortex - pial, voxel * 0.8))
    deep = soft(_deep_grey(q), voxel + 1.5)
    fluid = np.maximum(soft(head.sulcus * 0.55 - inner, voxel * 0.9) * soft(depth + 1, 2), soft(ventricles, voxel))
    image = np.repeat(look["white"], p.shape[1], axis=1)
    bright = np.clip(fields["patch"](q) * 0.6 + 0.1, 0, 1)
    grey_look = look["grey"] * (1 + d * np.array([[0.5], [0.0], [0.0], [0.12]], np.float32) * bright)
    mix(image, grey, grey_look)
    mix(image, deep, look["deep"])

    # White-matter hyperintensities: patches that grow frequent towards the ventricles, and caps around them.
    load = rng.uniform(0.2, 1.0) * (0.2 + 0.8 * d)
    near_ventricle = np.exp(np.minimum(ventricles, 0) / rng.uniform(5, 11))
    spots = soft(fields["wmh"](q) - 2.5 + 1.3 * load * (0.45 + 2.2 * near_ventricle), 0.9)
    mix(image, spots * (1 - grey) * (1 - deep) * rng.uniform(0.6, 1.0), look["wmh"])
    # An old infarct now and then: a cavity with a bright seam, which is no tumour either.
    if rng.random() < 0.1 + 0.4 * d:
        bed = _scar(q, head, tumour, rng) - 3 * lobe
        mix(image, soft(bed, 4), look["wmh"])
        mix(image, soft(bed - rng.uniform(2.5, 6), 2), look["cyst"])
    mix(image, fluid, look["fluid"])
    # Contrast agent: superior sagittal sinus and vessels in the sulci light up on T1c only.
    sinus = soft(3.0 - np.hypot(q[0], depth - 1), voxel) * (q[2] > -10) * ~hind
    vessels = soft(fields["ring"](q) - 1.5, 0.6) * soft(1.8 - inner, voxel)
    mix(image, np.maximum(sinus, 0.75 * vessels), look["vessel"])
    grain = fields["grain"](p)
    image *= 1 + 0.035 * grain

    # Edema follows white matter and spares cortex, deep grey and the other hemisphere.
    across = np.clip(-np.sign(tumour.centre[0]) * q[0] + 1, 0, None)
    spare = 0.5 * grey + 0.25 * deep + (0.01 if tumour.crosses else 0.15) * across + 1.2 * fluid
    edge = voxel * 0.8
    whole = soft((1 - level - spare * np.clip(level / tumour.core - 0.8, 0, 1)) * tumour.radius, 2 * edge + 2)
    core_distance = (tumour.core - level - 0.3 * across - 0.02 * np.clip(3 - depth, 0, None)) * tumour.radius
    core = soft(core_distance, edge + 1)
    whole = np.maximum(whole * (1 - fluid * (1 - core)), core)
    # Contrast in FLAIR falls with difficulty and differs from tumour to tumour.
    gain = np.clip(1.14 - 0.42 * d + rng.normal(0, 0.16), 0.3, 1.5)
    edema, solid, enhancing = (look[n].copy() for n in ("edema", "solid", "enhancing"))
    for part in (edema, solid, enhancing):
        part[0] = look["white"][0] + gain * (part[0] + 0.12 - look["white"][0])
    texture = 1 + 0.06 * rough + 0.04 * grain
    mix(image, whole, edema * (1 + 0.05 * rough))
    label = np.where(whole > 0.5, 2, 0)
    ring = fields["ring"](p)
    rim = np.clip(tumour.rim * (1 + 0.35 * ring), 1.0, None)
    hollow = soft(core_distance - rim, edge + 1) if tumour.hollow else np.zeros_like(core)
    if grade == "HGG":
        glow = tumour.glow * np.clip(0.95 + 0.3 * ring, 0.35, 1.2)
        mix(image, core, (image + glow * (enhancing - image)) * texture)
        mix(image, hollow, look["necrosis"] * texture)
        label = np.where(core > 0.5, np.where(hollow > 0.5, 1, 4), label)
    else:
        mix(image, core, solid * texture)
        mix(image, hollow, look["cyst"] * texture)
        label = np.where(core > 0.5, 1, label)
    return image, label.astype(np.uint8)


def _scan(
    image: np.ndarray, p: np.ndarray, inside: np.ndarray, rng: np.random.Generator, difficulty: float
) -> np.ndarray:
    """What a scanner makes of it: contrast, bias field, Rician noise of slightly correlated voxels, gain; int16."""
    out = np.empty(image.shape, np.int16)
    for c, clean in enumerate(image):
        gamma = rng.uniform(0.85, 1.2)
        strength = (0.04 + 0.14 * difficulty) * rng.uniform(0.5, 1.3)
        sigma = (0.015 + 0.04 * difficulty) * rng.uniform(0.7, 1.4)
        gain = np.exp(rng.uniform(np.log(250), np.log(900)))
        bias = np.exp(strength * noise_field(rng, 90)(p))
        real, imaginary = (
            gaussian_filter(rng.standard_normal(inside.shape, dtype=np.float32), 0.45)[inside] / 0.6 for _ in range(2)
        )
        signal = np.clip(clean, 0.02, None) ** gamma * bias
        out[c] = np.clip(np.rint(gain * np.hypot(signal + sigma * real, sigma * imaginary)), 1, 32000)
    return out


def write_brain(phantom: BrainPhantom, folder: Path, case: int) -> Path:
    """Write one patient as FOLDER/{HGG,LGG}/<case>/<case>_{flair,t1ce,t1,t2,seg}.nii.gz; returns its folder."""
    name = f"Phantom_{case:03d}"
    target = folder / phantom.grade / name
    target.mkdir(parents=True)
    for sequence, image in phantom.images.items():
        save(image, phantom.affine, target / f"{name}_{sequence}.nii.gz")
    save(phantom.label, phantom.affine, target / f"{name}_seg.nii.gz")
    return target
