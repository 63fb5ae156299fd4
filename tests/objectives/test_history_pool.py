import pytest
import torch
from transeg.objectives.history_pool import HistoryPool


def test_stores_and_returns_the_new_until_full():
    pool = HistoryPool(3)
    images = torch.arange(3.0).view(3, 1, 1, 1)
    assert torch.equal(pool.query(images), images)
    assert torch.equal(torch.stack(pool.images), images)


def test_then_half_are_old_ones_whose_place_the_new_take():
    torch.manual_seed(0)
    pool = HistoryPool(50)
    pool.query(torch.arange(50.0).view(50, 1))
    new = torch.arange(50.0, 1050.0).view(1000, 1)
    shown = pool.query(new)
    same = (shown == new).flatten()
    assert 430 < int(same.sum()) < 570
    for index in range(1000):  # what is not shown as it came entered the pool, what was shown left it
        if not same[index]:
            assert shown[index].item() < new[index].item()
    held = {int(x) for x in pool.images}
    out = {int(x) for x in shown}
    assert len(held) == 50
    assert held | out == set(range(1050))
    assert not held & {int(x) for x in shown[-1:]}


def test_pool_holds_no_graph_and_no_view_of_the_batch():
    pool = HistoryPool(2)
    images = torch.zeros(2, 4, requires_grad=True) * 1.0
    assert not pool.query(images).requires_grad
    with torch.no_grad():
        images += 5
    assert all((image == 0).all() for image in pool.images)


def test_size_zero_returns_what_came():
    images = torch.randn(4, 2)
    assert torch.equal(HistoryPool(0).query(images), images)
    with pytest.raises(ValueError, match="-1"):
        HistoryPool(-1)


def test_state_survives_a_safe_file(tmp_path):
    torch.manual_seed(1)
    pool = HistoryPool(4)
    pool.query(torch.randn(9, 3))
    torch.save(pool.state_dict(), tmp_path / "pool.pt")
    other = HistoryPool(4)
    other.load_state_dict(torch.load(tmp_path / "pool.pt", weights_only=True))
    new = torch.randn(20, 3)
    torch.manual_seed(2)
    expected = pool.query(new)
    torch.manual_seed(2)
    assert torch.equal(other.query(new), expected)
