from benchmarks.pathogan_phantoms import over_seeds
from benchmarks.tables import documents, renew, rows, slice_cells


def summary(dice, patients=2, healthy=4, alarms=0.25, empty=1):
    spread = {"mean": dice, "std": 0.1, "median": 0.5}
    distance = {"mean": 3.0, "std": 1.5, "median": 2.0}
    return {
        "patients": patients,
        "healthy_slices": healthy,
        "slice_dice": spread,
        "slice_hd95": distance,
        "slice_avd": distance,
        "patient_dice": spread,
        "false_alarm_rate": alarms if healthy else None,
        "empty_predictions": empty,
    }


def test_rows():
    assert rows(("a", "b"), (1, 2.5)) == "| a | b |\n| --- | --- |\n| 1 | 2.5 |"


def test_slice_scores_are_averaged_over_seeds():
    cells = slice_cells([summary(0.4, empty=1), summary(0.7, alarms=0.75, empty=2)])
    assert cells == ("55.0 ± 10.0 (50.0)", "3.0 ± 1.5 (2.0)", "3.0 ± 1.5 (2.0)", "55.0 ± 10.0 (50.0)", "50%", "1.5")


def test_without_healthy_slices_there_is_no_false_alarm_rate():
    cells = slice_cells([summary(0.4, healthy=0)])
    assert cells[3:] == ("40.0 ± 10.0 (50.0)", "-", "1")


def test_spread_over_seeds():
    found = over_seeds([summary(0.4, healthy=0), summary(0.6, healthy=0)])
    assert abs(found["patient_dice"]["mean"] - 0.5) < 1e-12
    assert abs(found["patient_dice"]["std"] - 0.02**0.5) < 1e-12
    assert "false_alarm_rate" not in found
    assert over_seeds([summary(0.4)])["patient_dice"] == {"mean": 0.4, "std": 0.0}


def test_tables_in_the_docs_are_those_of_the_results():
    for path in documents():
        text = path.read_text()
        assert renew(text) == text, f"{path} is out of date: run python -m benchmarks.tables"
