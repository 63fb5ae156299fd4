import pytest
from transeg.evaluation.rows import EMPTY_MASK, METHOD, write_rows
from transeg.metrics.scores import MaskScore

from benchmarks.cardiac_phantoms import Schedule, gap_closed, over_seeds, read_scores


def test_epochs_are_shared_out_as_the_bundle_does():
    assert Schedule.of() == (28, 14, 14)
    assert Schedule.of(7) == (3, 1, 3)


def test_scores_by_region(tmp_path):
    rows = []
    for case, values in {"a": (0.1, 0.2, 0.3), "b": (1.0, 1.0, 0.4)}.items():
        for region, value in zip(("Myo", "LA", "LV"), values, strict=True):
            score = MaskScore(value, *[0.0] * (len(MaskScore._fields) - 1))._asdict()
            about = {"run": 1, "case": case, "patient": case, "structure": region, "mask": "", "seen": ""}
            rows += [{"method": name, **about, **score} for name in (METHOD, EMPTY_MASK)]
    write_rows(tmp_path / "evaluation.csv", rows)
    scores = read_scores(tmp_path / "evaluation.csv")
    assert list(scores) == ["Myo", "LA", "LV", "mean"]
    assert (scores["Myo"], scores["LV"]) == ([0.1, 1], [0.3, 0.4])
    assert scores["mean"] == pytest.approx([0.2, 0.8])


def test_mean_over_volumes_then_over_seeds():
    seeds = [{"ct": {"ours": {"Myo": [0.0], "mean": values}}} for values in ([0.2, 0.4], [0.5, 0.9])]
    found = over_seeds(seeds)["ct"]["ours"]
    assert found["mean"] == pytest.approx(0.5)
    assert found["std"] == pytest.approx(0.08**0.5)
    assert found["seeds"] == pytest.approx([0.3, 0.7])
    assert over_seeds(seeds[:1])["ct"]["ours"]["std"] == 0


def test_share_of_the_gap():
    level = lambda value: {"mean": value}  # noqa: E731
    table = {
        "few_real": {"mr": {"real only": level(0.1), "ADA": level(0.4), "ours": level(0.7)}},
        "all_real": {"mr": {"real only": level(0.8), "ours": level(0.9)}},
    }
    assert gap_closed(table, "mr") == pytest.approx(0.75)
