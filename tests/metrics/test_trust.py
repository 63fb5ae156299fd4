"""An honest translation passes; one that invents, erases, brightens or moves is flagged for just that."""

import numpy as np
import pytest
from transeg.metrics.trust import trust_report

SPACING = (2.0, 2.0, 5.0)  # 0.02 ml a voxel


def scene():
    """A bright disc (fat) with a half replaced disc of muscle in it."""
    x, y, _ = np.meshgrid(np.arange(50), np.arange(40), np.arange(3), indexing="ij")
    source = np.where(np.hypot(x - 25, y - 20) < 16, 1.0, 0.0)
    muscle = np.hypot(x - 25, y - 20) < 10
    source[muscle & (x < 25)] = 0.3
    return source * 800, muscle


def healthy(source, muscle):
    return np.where(muscle, 0.3 * 800, source)


def test_a_plausible_translation_is_not_flagged():
    source, muscle = scene()
    old = muscle & (source < 400)
    report = trust_report(
        source,
        healthy(source, muscle),
        spacing=SPACING,
        sign=-1,
        region=muscle,
        source_mask=old,
        translation_mask=muscle,
    )
    assert not report.flagged
    assert report.sentence == "No implausible change found."
    replaced = int((muscle & ~old).sum()) * 0.02
    assert report.changed_ml == pytest.approx(replaced)
    assert report.added_ml == pytest.approx(replaced)
    assert report.kept_ml == pytest.approx(int(old.sum()) * 0.02)
    assert (report.removed_ml, report.outside_ml, report.wrong_sign_ml, report.silhouette_ml) == (0, 0, 0, 0)
    assert report.silhouette_dice == 1
    assert report.displacement_mm == 0


def test_shares_by_hand():
    """Three voxels darker by a quarter of the range in the region, one brighter by half of it outside."""
    source = np.zeros((10, 10, 1))
    source[2:8, 2:8] = 400
    source[4, 4] = 200
    source[0, 0] = 1000  # the 99.5 percentile lies below it
    low, high = np.percentile(source, [0.5, 99.5])
    step = (high - low) / 4
    translation, region = source.copy(), np.zeros(source.shape, bool)
    translation[5, 5:8] -= step
    region[5, 5:8] = True
    translation[4, 4] += 2 * step
    report = trust_report(source, translation, sign=-1, region=region)
    assert report.outside_share == pytest.approx(0.4)
    assert report.wrong_sign_share == pytest.approx(0.4)
    assert report.wrong_sign_ml == pytest.approx(0.001)
    assert report.flagged
    assert "40% of the change makes tissue brighter" in report.sentence
    assert np.isnan(trust_report(source, translation).wrong_sign_share)
    assert trust_report(source, translation, sign=1).wrong_sign_share == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t, m: np.where(m, t, t * 0.5), "outside the plausible region"),
        (lambda t, m: np.where(m, 900, t), "makes tissue brighter"),
        (lambda t, m: np.roll(t, 6, axis=0), "outline of the body differs"),
        (lambda t, m: t * 0, "outline of the body differs"),
    ],
)
def test_implausible_translations_are_flagged(change, words):
    source, muscle = scene()
    translation = change(healthy(source, muscle), muscle)
    report = trust_report(source, translation, spacing=SPACING, sign=-1, region=muscle)
    assert report.flagged
    assert words in report.sentence


def test_erased_muscle_is_flagged():
    source, muscle = scene()
    report = trust_report(source, source, spacing=SPACING, source_mask=muscle, translation_mask=np.roll(muscle, 8, 0))
    assert f"{report.removed_ml:.0f} of {muscle.sum() * 0.02:.0f} ml" in report.sentence


def test_shapes_and_masks_must_agree():
    with pytest.raises(ValueError, match="differ in shape"):
        trust_report(np.zeros((4, 4, 1)), np.zeros((4, 5, 1)))
    with pytest.raises(ValueError, match="or none"):
        trust_report(np.zeros((4, 4, 1)), np.zeros((4, 4, 1)), source_mask=np.zeros((4, 4, 1)))
