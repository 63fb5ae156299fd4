"""An honest translation passes; one that invents, erases, brightens or moves is flagged for just that."""

from dataclasses import replace

import numpy as np
import pytest
from transeg.errors import UserError
from transeg.metrics.trust import FEWEST, TrustLimits, calibrate, largest_ball, trust_report

SPACING = (2.0, 2.0, 5.0)  # 0.02 ml a voxel
LIMITS = TrustLimits(outside=0.1, wrong_sign=0.1, silhouette=0.05, displacement_mm=6.0, removed=0.15, scans=64)


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
        limits=LIMITS,
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
    report = trust_report(source, translation, sign=-1, region=region, limits=LIMITS)
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
    report = trust_report(source, translation, spacing=SPACING, sign=-1, region=muscle, limits=LIMITS)
    assert report.flagged
    assert words in report.sentence


def test_erased_muscle_is_flagged():
    source, muscle = scene()
    report = trust_report(
        source, source, spacing=SPACING, source_mask=muscle, translation_mask=np.roll(muscle, 8, 0), limits=LIMITS
    )
    assert f"{report.removed_ml:.0f} of {muscle.sum() * 0.02:.0f} ml" in report.sentence


def test_shapes_and_masks_must_agree():
    with pytest.raises(ValueError, match="differ in shape"):
        trust_report(np.zeros((4, 4, 1)), np.zeros((4, 5, 1)))
    with pytest.raises(ValueError, match="or none"):
        trust_report(np.zeros((4, 4, 1)), np.zeros((4, 4, 1)), source_mask=np.zeros((4, 4, 1)))


def values(**changed):
    plain = {"outside_share": 0.1, "wrong_sign_share": float("nan"), "silhouette_dice": 0.99, "displacement_mm": 2.0}
    return {**plain, "removed_ml": float("nan"), "kept_ml": float("nan"), "lump_mm": 3.0, **changed}


def test_limits_by_hand():
    """Shares of 0.00 to 0.20: median 0.10, 90th percentile 0.18; the highest is 1.25 spreads above the median."""
    limits = calibrate([values(outside_share=k / 100) for k in range(21)], 0)
    assert limits.outside == pytest.approx(0.2, abs=1e-3)
    assert limits.wrong_sign == pytest.approx(1.25 * 0.02, abs=1e-3)  # not measured: the smallest spread around 0
    assert limits.silhouette == pytest.approx(0.01 + 1.25 * 0.01, abs=1e-3)
    assert limits.displacement_mm == pytest.approx(2 + 1.25 * 1, abs=1e-3)
    assert limits.lump_mm == pytest.approx(3 + 1.25 * 1, abs=1e-3)
    assert limits.rate == pytest.approx(1 / 22)
    with pytest.raises(UserError, match="19 scans to calibrate on"):
        calibrate([values()] * (FEWEST - 1))


def test_a_higher_rate_lets_the_most_implausible_scans_exceed_the_limits():
    reports = [values(outside_share=k / 100) for k in range(60)]
    limits = calibrate([*reports[:-1], values(outside_share=40.0)], 0.05)  # an outlier widens no limit
    assert (limits.scans, limits.reached) == (60, 3)
    assert limits.rate == pytest.approx(3 / 61)
    assert limits.outside == pytest.approx(0.57, abs=1e-3)
    assert limits.lump_mm == pytest.approx(3 + (0.57 - 0.295) / (0.531 - 0.295), abs=1e-2)
    assert calibrate(reports, 0).reached == 1


@pytest.mark.parametrize(("scans", "rate", "expected"), [(24, 0.05, 1 / 25), (39, 0.1, 4 / 40)])
def test_the_rate_of_false_alarms_is_the_stated_one(scans, rate, expected):
    rng = np.random.default_rng(0)

    def scan():
        low, high = rng.gamma(2.0, 0.05, 2)
        return {"outside_share": low, "displacement_mm": 40 * high}

    flagged = 0
    for _ in range(300):
        limits = calibrate([values(**scan()) for _ in range(scans)], rate)
        another = scan()
        flagged += another["outside_share"] > limits.outside or another["displacement_mm"] > limits.displacement_mm
    assert abs(flagged / 300 - expected) < 2 * (expected * (1 - expected) / 300) ** 0.5  # two standard errors


@pytest.mark.parametrize("erased", [False, True])
def test_a_lump_is_told_from_the_same_change_scattered(erased):
    """A ball of 8 mm that is brighter, or gone, in muscle that may only get darker; as many voxels one by one."""
    rng = np.random.default_rng(0)
    source = np.full((30, 30, 30), 400.0)
    source[:2] = 0
    place = np.indices(source.shape) - 15
    ball = np.sqrt((place**2).sum(0)) * 2 < 8
    scattered = rng.permutation(ball.ravel()).reshape(ball.shape) & (source > 0)
    limits = replace(LIMITS, outside=1, wrong_sign=1, lump_mm=4.0)
    lump, single = (
        trust_report(
            source,
            np.where(mask, 0 if erased else 800, source),
            spacing=2,
            sign=-1,
            foregrounds=[source > 0] * 2,
            limits=limits,
        )
        for mask in (ball, scattered)
    )
    assert lump.lump_mm == pytest.approx(8, abs=2)
    assert lump.changed_ml == pytest.approx(0.008 * ball.sum())
    assert lump.flagged
    assert "fills a ball of 8 mm" in lump.sentence
    assert single.lump_mm <= 4
    assert not single.flagged


def test_the_largest_ball_by_hand():
    mask = np.zeros((9, 9, 9), bool)
    mask[2:7, 2:7, 2:7] = True
    assert largest_ball(mask) == 3
    assert largest_ball(mask, (1, 1, 5)) == 3
    assert largest_ball(mask, (5, 1, 5)) == 3
    assert largest_ball(np.ones((5, 5, 1)), 2.0) == 2  # a slice: its neighbours are outside
    assert largest_ball(mask & False) == 0


def test_limits_of_older_runs_have_no_lump():
    source, muscle = scene()
    assert LIMITS.lump_mm == float("inf")
    report = trust_report(source, np.where(muscle, 900, source), sign=None, region=~muscle, limits=LIMITS)
    assert "ball" not in report.sentence


def test_without_limits_nothing_is_flagged_and_the_sentence_says_so():
    source, muscle = scene()
    report = trust_report(source, source * 0, spacing=SPACING, sign=-1, region=muscle)
    assert not report.flagged
    assert "no calibrated limits" in report.sentence


def test_the_sentence_states_the_rate():
    source, muscle = scene()
    report = trust_report(source, source * 0, spacing=SPACING, sign=-1, region=muscle, limits=LIMITS)
    assert "About 1.5% of scans like the 64 that set the limits are flagged without cause." in report.sentence
