import pytest
import torch
from ignite.engine import Engine
from transeg.metrics.presence import PresenceAUC, lesion_score, presence_scores


def test_score_is_the_mean_of_the_highest_pixels():
    image = torch.zeros(1, 10, 20)
    image[0, 3, 4:6] = torch.tensor([0.9, 0.5])
    assert lesion_score(image).tolist() == pytest.approx([0.7])  # 1 % of 200 pixels
    assert lesion_score(image, top=0.02).tolist() == pytest.approx([0.35])
    assert lesion_score(torch.tensor([[0.2, 0.6]])).tolist() == pytest.approx([0.6])  # at least one pixel


def item(score, presence):
    return {"pred": torch.full((1, 2, 2), score), "presence": torch.tensor(presence)}


BATCHES = [[item(0.9, True), item(0.4, False)], [item(0.3, True), item(0.3, False)], [item(0.1, False)]]


def test_auc_by_hand():
    """Of six pairs: 0.9 beats all three; 0.3 loses to 0.4, ties with 0.3, beats 0.1."""
    metric = PresenceAUC()
    for batch in BATCHES:
        metric.update(presence_scores(batch))
    assert metric.compute() == pytest.approx((3 + 0 + 0.5 + 1) / 6)


def test_with_an_engine_and_items_of_which_nothing_is_known():
    engine = Engine(lambda _, batch: batch)
    PresenceAUC().attach(engine, "auc")
    unknown = {"pred": torch.ones(1, 2, 2)}
    state = engine.run([[*batch, unknown] for batch in BATCHES] + [[unknown]])
    assert state.metrics["auc"] == pytest.approx(4.5 / 6)
