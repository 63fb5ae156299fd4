import pytest
import torch
from transeg.data.datasets import UnpairedDataset, held_out_pairs


def load(item):
    value = float(item["value"])
    return {**item, "image": torch.full((2, 3, 3), value), "label": torch.ones(1, 3, 3), "labelled": "label" in item}


PRESENCE = [{"value": i, **({"label": "l"} if i == 1 else {})} for i in range(3)]
ABSENCE = [{"value": -1}, {"value": -2}]


def test_pair_index_merges_both_domains():
    item = UnpairedDataset(PRESENCE, ABSENCE, load)[1, 0]
    assert set(item) == {"image", "label", "labelled", "absence"}
    assert (item["image"][0, 0, 0], item["absence"][0, 0, 0]) == (1, -1)
    assert item["labelled"] is True


def test_single_index_cycles_through_absence():
    dataset = UnpairedDataset(PRESENCE, ABSENCE, load)
    assert [int(dataset[i]["absence"][0, 0, 0]) for i in range(len(dataset))] == [-1, -2, -1]


def test_without_absence_domain_the_key_is_left_out():
    assert set(UnpairedDataset(PRESENCE, None, load)[0]) == {"image", "label", "labelled"}


def test_items_are_not_changed():
    data = [{"value": 5}]
    UnpairedDataset(data, None, lambda item: item.update(image=0, label=0, labelled=False) or item)[0]
    assert data == [{"value": 5}]


def test_empty_lists_are_refused_with_what_to_do():
    with pytest.raises(ValueError, match=r"no absence slice.*prepare patients whose presence is no"):
        UnpairedDataset(PRESENCE, [], load)
    with pytest.raises(ValueError, match=r"no presence slice"):
        UnpairedDataset([], ABSENCE, load)


def test_held_out_pairs_are_of_held_out_items_of_training_items_only_where_a_domain_has_none():
    dataset = UnpairedDataset(PRESENCE, ABSENCE, lambda item: item)
    held_out = [{"value": 10 + k, "label": "l", "presence": True} for k in range(5)]
    pairs = held_out_pairs(dataset, held_out, load, 3)
    assert [(int(p["image"][0, 0, 0]), int(p["absence"][0, 0, 0])) for p in pairs] == [(10, -1), (12, -2), (14, -1)]
    assert not any(pair["labelled"] for pair in pairs)  # no label takes part
    assert len(dataset) == 3

    absent = [{"value": -3, "presence": False}]
    pairs = held_out_pairs(dataset, absent, load, 2)
    assert [(int(p["image"][0, 0, 0]), int(p["absence"][0, 0, 0])) for p in pairs] == [(0, -3), (2, -3)]
    assert held_out_pairs(UnpairedDataset(PRESENCE, None, load), absent, load, 2).absence is None
