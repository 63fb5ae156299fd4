import logging

import pytest
import torch
import toy_engine as toy
from ignite.engine import Events
from monai.handlers import ValidationHandler
from torch import nn
from transeg.engines.checkpoints import TrainingState
from transeg.engines.phases import Phases
from transeg.engines.player import Player
from transeg.engines.trainer import AlternatingTrainer
from transeg.methods.cardiac.networks import CardiacNet
from transeg.methods.cardiac.objective import CardiacObjective
from transeg.methods.cardiac.panel import CardiacPanel
from transeg.networks.discriminators import PatchGAN

FIRST = {"epochs": 2, "players": ["generators"], "objective": {"adversarial": False}}
FIRST["weights"] = {"generators": {"reconstruction": 2.0}}
SECOND = {"epochs": 1, "players": ["discriminators"]}


class Objective(toy.ToyObjective):
    """The generator's adversarial term can be left out."""

    adversarial = True
    scale = 1.0

    def check(self):
        if not self.adversarial and self.scale != 1.0:
            raise ValueError("a scale of what is not computed")

    def generators(self, nets, t):
        terms = super().generators(nets, t)
        return terms if self.adversarial else {"reconstruction": terms["reconstruction"]}


class Watch:
    """Notes, epoch by epoch, the terms and what changed."""

    def __init__(self):
        self.terms, self.changed, self.rates, self.phases = [], [], [], []

    def attach(self, engine):
        engine.add_event_handler(Events.EPOCH_STARTED, self.begin)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.end)

    def begin(self, engine):
        self.before = {name: nn.utils.parameters_to_vector(engine.networks[name].parameters()) for name in "gd"}

    def end(self, engine):
        after = {name: nn.utils.parameters_to_vector(engine.networks[name].parameters()) for name in "gd"}
        self.changed.append("".join(name for name in "gd" if not torch.equal(self.before[name], after[name])))
        self.terms.append(sorted(engine.state.output["terms"]))
        self.rates.append(engine.optimizer.param_groups[0]["lr"])
        self.phases.append(engine.phase)


def train(phases, epochs=5, handlers=(), **kwargs):
    watch = Watch()
    handlers = [*handlers, Phases(phases), watch]
    trainer = toy.make_trainer(epochs, objective=Objective(), handlers=handlers, **kwargs)
    trainer.run()
    return trainer, watch


def test_each_phase_has_its_players_terms_and_weights():
    trainer, watch = train([FIRST, SECOND, {}])
    discriminator = ["discriminators/fake", "discriminators/real"]
    everything = [*discriminator, "generators/adversarial", "generators/reconstruction"]
    assert watch.changed == ["g", "g", "d", "gd", "gd"]
    assert watch.phases == [1, 1, 2, 3, 3]
    assert watch.terms == [["generators/reconstruction"]] * 2 + [discriminator] + [everything] * 2
    # seen before the schedule of an epoch's end is: it halves after 2 and 3 epochs, whoever plays
    assert watch.rates == [1e-2, 5e-3, 2.5e-3, 2.5e-3, 2.5e-3]
    assert [player.weights for player in trainer.players][1] == {"adversarial": 0.1, "reconstruction": 1.0}
    assert trainer.objective.adversarial


def test_weights_of_a_phase_stand_in_for_the_players_own():
    trainer, _ = train([{**FIRST, "epochs": 1}, {}], epochs=1)
    output = trainer.state.output
    assert output["loss"].item() == pytest.approx(2 * output["terms"]["generators/reconstruction"].item())


def test_a_phase_of_no_epochs_is_left_out():
    _, watch = train([{**FIRST, "epochs": 0}, {**SECOND, "epochs": 0}, {}], epochs=1)
    assert watch.changed == ["gd"]
    assert watch.phases == [3]


@pytest.mark.parametrize("stop", [1, 2, 3, 4])
def test_a_resumed_training_is_that_of_one_go(tmp_path, stop):
    phases, path = [FIRST, SECOND, {}], tmp_path / "state.pt"
    whole, _ = train(phases)
    train(phases, stop, [TrainingState(path)])
    resumed, watch = train(phases, 5, [TrainingState(path, resume=True)])
    assert watch.changed == ["g", "g", "d", "gd", "gd"][stop:]
    for name in "gd":
        expected, found = whole.networks[name].state_dict(), resumed.networks[name].state_dict()
        assert all(torch.equal(value, found[key]) for key, value in expected.items())


def test_the_best_is_that_of_the_present_phase_and_patience_ends_the_training(tmp_path):
    """The metric is that of a network which nobody trains: it never improves."""

    def run(stop, resume=False):
        evaluator = toy.make_evaluator(nn.Linear(4, 4))
        for parameter in evaluator.network.parameters():
            nn.init.zeros_(parameter)
        handlers = [ValidationHandler(1, evaluator), TrainingState(tmp_path / "state.pt", resume=resume)]
        trainer, _ = train([{**FIRST, "epochs": 3}, {"patience": 2}], stop, handlers)
        return trainer.state.epoch, evaluator.state.best_metric_epoch

    assert run(20) == (6, 4)
    (tmp_path / "state.pt").unlink()
    assert run(5) == (5, 4)
    assert run(20, resume=True) == (6, 4)  # it has not forgotten what it waited for
    assert run(20, resume=True) == (6, 4)  # nor that it waited long enough


def test_a_schedule_goes_on_while_its_player_waits(recwarn):
    _, watch = train([{**SECOND, "epochs": 2}, {}], epochs=3)
    assert watch.rates == [1e-2, 5e-3, 2.5e-3]
    assert not [w for w in recwarn if "lr_scheduler" in str(w.message)]


def test_a_last_phase_that_never_comes_is_told(caplog):
    with caplog.at_level(logging.WARNING):
        train([FIRST, SECOND, {}], epochs=3)
    assert "begins with epoch 4, but training ends with epoch 3" in caplog.text


@pytest.mark.parametrize(
    ("phases", "message"),
    [
        ([], "at least one"),
        ([{"epoch": 3}, {}], "Phase 1: unknown key epoch; choose"),
        ([{}, {}], "Phase 1: epochs must be"),
        ([{"epochs": 1.5}, {}], "got 1.5"),
        ([SECOND], "Phase 1: the last phase"),
        ([{"players": ["generator"]}], "Phase 1: players must be among discriminators, generators"),
        ([{"players": []}], "got \\[\\]"),
        ([{"objective": {"shape": False}}], "Objective has no attribute 'shape'"),
        ([{"objective": {"adversarial": False, "scale": 2.0}}], "a scale of what is not computed"),
        ([{**SECOND, "weights": {"generators": {"reconstruction": 1}}}, {}], "which does not play"),
        ([{"weights": {"generators": {}}}], "at least one weight"),
        ([{"patience": 0}], "patience must be"),
        ([{"patience": 3}], "needs a ValidationHandler"),
    ],
)
def test_what_does_not_fit_is_named(phases, message):
    with pytest.raises(ValueError, match=message):
        toy.make_trainer(objective=Objective(), handlers=[Phases(phases)])


def test_terms_and_weights_that_disagree_in_a_phase_are_named():
    with pytest.raises(ValueError, match=r"'generators': .*weights without a term: \['adversarial'\]"):
        train([{"objective": {"adversarial": False}}])


PAPER = [
    {"epochs": 1, "players": ["segmenters"], "objective": {"translate": False, "volumes": ["real"]}},
    {"epochs": 1, "players": ["generators", "discriminators"], "objective": {"shape": False}},
    {},
]
PAPER[0]["weights"] = {"segmenters": {"real": 1}}
PAPER[1]["weights"] = {"generators": {"adversarial": 1, "cycle": 10}}


def test_the_phases_of_the_cardiac_paper():
    torch.manual_seed(0)
    net, d_a, d_b = CardiacNet(classes=3, width=2), *(PatchGAN(3, width=2, layers=1) for _ in range(2))
    batch = {key: torch.rand(1, 1, 16, 16, 16) * 2 - 1 for key in "ab"}
    batch |= {f"{key}_label": torch.randint(3, (1, 1, 16, 16, 16)) for key in "ab"}
    batch |= {f"{key}_labelled": torch.tensor([True]) for key in "ab"}
    parts = {
        "generators": ([net.g_b, net.g_a], {"adversarial": 1, "cycle": 10, "shape": 1}),
        "segmenters": ([net.s_a, net.s_b], dict.fromkeys(("real", "synthetic", "reconstructed"), 1)),
        "discriminators": ([d_a, d_b], {"adversarial": 1}),
    }
    players, seen = [], []
    for name, (networks, weights) in parts.items():
        optimizer = torch.optim.Adam([p for part in networks for p in part.parameters()])
        players.append(Player(name, networks, optimizer, weights, normalise_weights=name == "segmenters"))
    networks = {"network": net, "d_a": d_a, "d_b": d_b}
    trainer = AlternatingTrainer(
        "cpu", 3, [batch], net, CardiacObjective(), players, networks, train_handlers=[Phases(PAPER)]
    )

    def note(engine):
        assert CardiacPanel()(engine.state.output).size
        seen.append(set(engine.state.output["terms"]))

    trainer.add_event_handler(Events.EPOCH_COMPLETED, note)
    trainer.run()
    joint = {f"{name}/{term}" for name, (_, weights) in parts.items() for term in weights}
    pretrained = {"generators/adversarial", "generators/cycle", "discriminators/adversarial"}
    assert seen == [{"segmenters/real"}, pretrained, joint]
