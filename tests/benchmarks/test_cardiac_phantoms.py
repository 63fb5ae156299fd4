import pytest

from benchmarks.cardiac_phantoms import Schedule, gap_closed, over_seeds, read_scores


def test_epochs_are_shared_out_as_the_bundle_does():
    assert Schedule.of() == (28, 14, 14)
    assert Schedule.of(7) == (3, 1, 3)


def test_scores_by_region(tmp_path):
    (tmp_path / "raw.csv").write_text(
        "filename,class0,class1,class2,class3,class4,mean\na.nii.gz,0.1,0.2,0.3,0.4,0.5,0.3\nb.nii.gz,1,1,1,1,0,0.8\n"
    )
    scores = read_scores(tmp_path / "raw.csv")
    assert list(scores) == ["Myo", "LA", "LV", "RA", "RV", "mean"]
    assert (scores["Myo"], scores["RV"], scores["mean"]) == ([0.1, 1], [0.5, 0], [0.3, 0.8])


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
