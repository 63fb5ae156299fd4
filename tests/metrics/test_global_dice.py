import pytest
import torch
from ignite.engine import Engine
from ignite.exceptions import NotComputableError
from monai.handlers import from_engine
from transeg.metrics.global_dice import GlobalDice


def test_by_hand():
    metric = GlobalDice()
    metric.update((torch.tensor([[[[0.5, 0.25, 0.0]]]]), torch.tensor([[[[1.0, 0.0, 1.0]]]])))
    metric.update(([torch.tensor([[[1.0, 0.75]]])], [torch.tensor([[[1.0, 0.0]]])]))
    # sum(y s) = 0.5 + 1; sum(s) = 0.75 + 1.75; sum(y) = 2 + 1
    assert metric.compute() == pytest.approx((2 * 1.5 + 1) / (2.5 + 3 + 1), abs=1e-12)
    metric.reset()
    metric.update((torch.zeros(2, 1, 3, 3), torch.zeros(2, 1, 3, 3)))
    assert metric.compute() == 1


def test_it_is_the_dice_of_the_pool_not_the_mean():
    generator = torch.Generator().manual_seed(0)
    s = torch.rand(7, 1, 8, 8, generator=generator)
    y = (torch.rand(7, 1, 8, 8, generator=generator) > 0.7).float()
    whole, parts = GlobalDice(), GlobalDice()
    whole.update((s, y))
    for a, b in ((0, 1), (1, 5), (5, 7)):
        parts.update((s[a:b], y[a:b]))
    assert parts.compute() == pytest.approx(whole.compute(), rel=1e-12)


def test_large_sums_do_not_lose_small_ones():
    metric = GlobalDice()
    metric.update((torch.ones(1, 1, 4096, 4200), torch.ones(1, 1, 4096, 4200)))  # above 2^24
    metric.update((torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 1, 1)))
    n = 4096 * 4200
    assert metric.compute() == pytest.approx((2 * n + 1) / (2 * n + 2), abs=1e-15)


def test_with_an_engine_and_lists_of_items():
    engine = Engine(lambda _, batch: batch)
    GlobalDice(from_engine(["pred", "label"])).attach(engine, "dice")
    item = {"pred": torch.tensor([[1.0, 1.0, 0.0]]), "label": torch.tensor([[0.0, 1.0, 0.0]])}
    state = engine.run([[item, item], [item]])
    assert state.metrics["dice"] == pytest.approx((2 * 3 + 1) / (6 + 3 + 1))


def test_errors():
    with pytest.raises(NotComputableError, match="empty"):
        GlobalDice().compute()
    with pytest.raises(ValueError, match="differ in shape"):
        GlobalDice().update((torch.zeros(1, 2, 3), torch.zeros(1, 3, 2)))
