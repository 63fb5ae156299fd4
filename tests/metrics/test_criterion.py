"""What a validation can be scored by depends on what is known of its slices."""

import pytest
import torch
from transeg.errors import UserError
from transeg.metrics.criterion import known_pairs, validation_metrics

MASK, YES, NO = {"label": "a.npy", "presence": True}, {"presence": True}, {"presence": False}


@pytest.mark.parametrize(
    ("items", "criterion", "names", "told"),
    [
        ([MASK, YES, NO], None, ["val_global_dice", "val_presence_auc"], "Dice of 1 slices with masks; it chooses"),
        ([MASK, NO], "presence", ["val_presence_auc", "val_global_dice"], "presence AUC of 1 + 1 slices"),
        ([MASK], None, ["val_global_dice"], "Dice"),
        ([YES, YES, NO], None, ["val_presence_auc"], "presence AUC of 2 + 1 slices, without masks; it chooses"),
        ([YES], None, None, "the last weights are kept"),
        ([], None, None, "the last weights are kept"),
    ],
)
def test_the_best_that_the_slices_allow(items, criterion, names, told, caplog):
    caplog.set_level("INFO")
    metrics = validation_metrics(items, criterion)
    assert (metrics and list(metrics)) == names
    assert told in caplog.text


def test_the_log_says_that_the_last_weights_are_kept(caplog):
    caplog.set_level("INFO")
    validation_metrics([YES, NO], save_last=True)
    assert "Validation by the presence AUC of 1 + 1 slices, without masks; the last weights are kept." in caplog.text


@pytest.mark.parametrize(("items", "criterion"), [([YES, NO], "dice"), ([MASK], "presence"), ([MASK, NO], "size")])
def test_a_criterion_needs_its_slices(items, criterion):
    with pytest.raises(UserError, match=f"criterion is '{criterion}'"):
        validation_metrics(items, criterion)


def test_a_presence_slice_without_a_mask_is_not_one_with_an_empty_mask():
    zeros, ones = torch.zeros(1, 2, 2), torch.ones(1, 2, 2)
    items = [
        {"pred": ones, "label": ones, "labelled": True, "presence": True},
        {"pred": zeros, "label": zeros, "labelled": False, "presence": True},
        {"pred": ones, "label": zeros, "labelled": False, "presence": False},
        {"pred": zeros, "label": ones},
    ]
    predictions, labels = known_pairs(items)
    assert [int(x.sum()) for x in predictions] == [4, 4, 0]
    assert [int(x.sum()) for x in labels] == [4, 0, 4]
