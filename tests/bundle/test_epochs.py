import pytest
import torch
from transeg.bundle.epochs import alarms, candidates, explain, read_epochs, recommended, translation_criteria
from transeg.files import write_csv


def row(epoch, cycle, distance, phase=1, change=1.0, variety=1.0, **scores):
    criteria = {"cycle": cycle, "distance": distance, "change": change, "variety": variety}
    return {"epoch": epoch, "phase": phase, **criteria, **scores}


def test_criteria_of_one_direction():
    source = [torch.zeros(1, 8, 8), torch.zeros(1, 8, 8)]
    source[0][:, :4], source[1][:, 4:] = 1, 1  # standard deviation 0.504 in each, 0.707 in each voxel over the two
    made = [image + 0.5 for image in source]
    back = [image + 0.25 for image in source]
    found = translation_criteria(made, source, made, back)
    assert found["cycle"] == pytest.approx(0.25)
    assert found["distance"] == 0
    assert found["change"] == pytest.approx(0.5 / source[0].std().item())
    assert found["variety"] == pytest.approx(1)


def test_inputs_are_repeated_where_each_has_several_translations():
    source = [torch.full((1, 8, 8), value) for value in (0.0, 1.0)]
    source[0][:, 0] = 0.5  # not constant
    found = translation_criteria([*source, *source], source, source, [*source, *source])
    assert (found["cycle"], found["change"]) == (0, 0)


def test_equal_and_constant_inputs_raise_no_alarm():
    image = torch.randn(1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert translation_criteria([image, -image], [image, image], [image], [image, image])["variety"] == 1
    constant = [torch.zeros(1, 8, 8)] * 2
    assert alarms(translation_criteria(constant, constant, constant, constant)) == []


def test_nearly_unchanged_and_nearly_alike_translations_raise_an_alarm():
    source = [torch.randn(1, 8, 8, generator=torch.Generator().manual_seed(k)) for k in range(3)]
    unchanged = translation_criteria([image + 0.001 for image in source], source, source, source)
    alike = translation_criteria([source[0] + 0.01 * image for image in source], source, source, source)
    assert alarms(unchanged) == ["change"]
    assert alarms(alike) == ["variety"]
    assert alarms(translation_criteria([-image for image in source], source, source, source)) == []


def test_the_epoch_with_the_least_mean_rank_is_recommended_of_equal_ones_the_last():
    assert recommended([row(1, 3, 3), row(2, 1, 1), row(3, 2, 2)])["epoch"] == 2
    assert recommended([row(1, 2, 1), row(2, 1, 2), row(3, 3, 3)])["epoch"] == 2


def test_epochs_with_an_alarm_or_of_an_earlier_phase_are_left_out():
    rows = [row(1, 0, 0), row(2, 2, 2, phase=2), row(3, 1, 1, phase=2, change=0.001), row(4, 3, 3, phase=2)]
    assert [known["epoch"] for known in candidates(rows)] == [2, 4]
    assert recommended(rows)["epoch"] == 2
    assert [known["epoch"] for known in candidates([row(1, 1, 1, change=0), row(2, 1, 1, change=0)])] == [1, 2]


def test_the_reason_is_told():
    told = explain([row(1, 0.3, 0.1), row(2, 0.1, 0.2), row(3, 0.2, 0.3, variety=0), row(4, 0.2, 0.05)])
    assert told == (
        "Epoch 4 is recommended without labels: least mean rank of 3 epochs (cycle 0.2, rank 2; distance 0.05, rank "
        "1); 1 of all 4 raised an alarm."
    )


def test_the_table_is_read_back(tmp_path):
    rows = [row(1, 0.3, 0.1), row(2, 0.1, 0.2, val_global_dice=0.5)]
    write_csv(tmp_path / "epochs.csv", list(rows[1]), rows)
    assert read_epochs(tmp_path / "epochs.csv") == rows
    assert read_epochs(tmp_path / "none.csv") == []
