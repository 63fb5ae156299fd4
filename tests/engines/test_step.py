import itertools

import pytest
import torch
import toy_engine as toy
from torch import nn
from transeg.engines.player import Player
from transeg.engines.step import Step


class Square:
    """One player minimises (w x)^2, the other (v w x)^2 with w x detached."""

    detached = frozenset({"second"})

    def forward(self, nets, batch):
        return {"y": nets["w"](batch["image"])}

    def first(self, nets, t):
        return {"square": t["y"].square().sum()}

    def second(self, nets, t):
        return {"square": nets["v"](t["y"].detach()).square().sum()}


def parts(optimizer=torch.optim.SGD, **options):
    nets = {}
    for name, value in {"w": 2.0, "v": 3.0}.items():
        nets[name] = nn.Linear(1, 1, bias=False)
        nn.init.constant_(nets[name].weight, value)

    def player(name, net, weight):
        return Player(name, net, optimizer(net.parameters(), 0.1), {"square": weight}, **options)

    return nets, [player("first", nets["w"], 0.5), player("second", nets["v"], 1.0)]


BATCH = {"image": torch.tensor([[1.0]])}


def test_a_step_by_hand():
    nets, players = parts()
    terms = Step(Square(), nets, players, BATCH).run()
    # y = 2: d/dw y^2 / 2 = 2, d/dv (v y)^2 = 24; the second player sees the y of before the update
    assert {name: value.item() for name, value in terms.items()} == {"first/square": 4.0, "second/square": 36.0}
    assert not any(value.requires_grad for value in terms.values())
    assert nets["w"].weight.item() == pytest.approx(2 - 0.1 * 2)
    assert nets["v"].weight.item() == pytest.approx(3 - 0.1 * 24)


def test_gradients_are_clipped_before_the_update():
    nets, players = parts(clip_norm=1.0)
    Step(Square(), nets, players, BATCH).run()
    assert nets["v"].weight.item() == pytest.approx(3 - 0.1 * 1)


def test_accumulated_gradients_are_the_mean_over_batches():
    nets, players = parts()
    for accumulate in (False, True):
        turn = Step(Square(), nets, players, BATCH).turn(players[0], accumulate)
        turn.backward(batches=2)
    assert turn.finish_gradients().item() == pytest.approx(2)
    assert turn.update()
    assert nets["w"].weight.item() == pytest.approx(2 - 0.1 * 2)


def test_each_phase_has_a_context_of_its_own():
    nets, players = parts()
    seen = []

    class Context:
        def __enter__(self):
            seen.append([p.item() for net in nets.values() for p in net.parameters()])

        def __exit__(self, *_):
            seen.append("out")

    Step(Square(), nets, players, BATCH, phase=Context).run()
    assert seen == [[2.0, 3.0], "out", [2.0, 3.0], "out", [pytest.approx(1.8), 3.0], "out"]


def test_the_graph_of_the_forward_is_not_built_for_detached_players():
    nets, players = parts()
    assert not Step(Square(), nets, players[1:], BATCH).translation["y"].requires_grad
    assert Step(Square(), nets, players, BATCH).translation["y"].requires_grad


def test_the_trainer_does_the_same_step():
    def train(run):
        nets = toy.make_networks(dropout=0.0)
        trainer = toy.make_trainer(1, nets=nets, players=toy.make_players(nets), noisy=False, ema=False, epoch_length=3)
        trainer.objective.pool.size = 0  # which draws
        run(trainer)
        return nn.ModuleDict(nets).state_dict()

    def by_hand(trainer):
        for batch in itertools.islice(trainer.data_loader, 3):
            Step(trainer.objective, trainer.networks, trainer.players, batch).run()

    expected, found = train(lambda trainer: trainer.run()), train(by_hand)
    assert all(torch.equal(value, found[key]) for key, value in expected.items())
