import subprocess
import sys
import weakref
from pathlib import Path

import pytest
import torch
import toy_engine as toy
from ignite.engine import Events
from monai.engines.utils import IterationEvents
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from transeg.engines.player import Player
from transeg.engines.trainer import AlternatingTrainer, NonFiniteError


def test_two_players_learn_and_the_output_is_complete():
    trainer = toy.make_trainer(epochs=25, batch=8)
    errors = []
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda e: errors.append(float(e.state.output["terms"]["generators/reconstruction"]))
    )
    trainer.run()
    assert sum(errors[-3:]) < 0.5 * sum(errors[:3])
    output = trainer.state.output
    assert set(output["terms"]) == {
        "discriminators/real",
        "discriminators/fake",
        "generators/adversarial",
        "generators/reconstruction",
    }
    terms = {name.split("/")[1]: value for name, value in output["terms"].items()}
    expected = terms["real"] + terms["fake"] + 0.1 * terms["adversarial"] + terms["reconstruction"]
    assert output["loss"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert output["image"].shape == output["label"].shape == (8, 4)
    assert output["translation"].note == "kept"
    assert output["translation"].fake.grad_fn is None
    assert trainer.optimizer is trainer.players[1].optimizer
    assert trainer.get_stats("best_metric")["current_epoch"] == 25


def test_events_fire_once_an_iteration_or_once_a_player():
    trainer, seen = toy.make_trainer(epochs=1, epoch_length=1), []
    for event in IterationEvents:
        if event.name in ("FORWARD_COMPLETED", "LOSS_COMPLETED", "BACKWARD_COMPLETED", "MODEL_COMPLETED"):
            trainer.add_event_handler(event, lambda e, name=event.name: seen.append(name))
    trainer.run()
    turn = ["LOSS_COMPLETED", "BACKWARD_COMPLETED"]
    assert seen == ["FORWARD_COMPLETED", *turn, *turn, "MODEL_COMPLETED"]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_each_backward_reaches_only_its_players_parameters(order):
    nets = toy.make_networks()
    players = [toy.make_players(nets)[i] for i in order]
    trainer, changed = toy.make_trainer(1, nets=nets, players=players, epoch_length=1), []
    before = {}

    def note(engine):
        grads = {id(p): p.grad for player in players for p in player.parameters}
        changed.append({key for key, grad in grads.items() if grad is not None} - set(before))
        before.update({key: grad.clone() for key, grad in grads.items() if grad is not None and key not in before})
        for key, grad in before.items():  # what the earlier player got is as it was
            assert torch.equal(grads[key], grad)

    trainer.add_event_handler(IterationEvents.BACKWARD_COMPLETED, note)
    trainer.run()
    assert changed == [{id(p) for p in player.parameters} for player in players]
    assert all(p.requires_grad for player in players for p in player.parameters)


class Chain:
    """Two players of which both need the graph of forward, and neither the other's weights."""

    def forward(self, nets, batch):
        shared = (nets["stem"](batch["image"])).tanh()
        return {"a": nets["a"](shared), "b": nets["b"](shared), "y": batch["label"]}

    def first(self, nets, t):
        return {"error": (t["a"] - t["y"]).abs().mean()}

    def second(self, nets, t):
        return {"error": (t["b"] - t["y"]).abs().mean(), "agree": (t["a"].detach() - t["b"]).abs().mean()}


def test_a_graph_that_two_players_need_is_retained():
    nets = {name: nn.Linear(4, 4) for name in ("stem", "a", "b")}
    nets["all"] = nn.ModuleList([nets["b"], nets["stem"]])

    def player(name, parts, weights):
        return Player(name, parts, torch.optim.SGD([p for m in parts for p in m.parameters()], 0.1), weights)

    first = player("first", [nets["a"]], {"error": 1.0})
    second = player("second", [nets["b"], nets["stem"]], {"error": 1.0, "agree": 1.0})
    trainer = toy.make_trainer(1, objective=Chain(), nets={**nets, "g": nets["b"]}, players=[first, second], ema=False)
    start = {name: nets[name].weight.clone() for name in ("stem", "a", "b")}
    trainer.run()
    assert all(not torch.equal(start[name], nets[name].weight) for name in start)


class Saved:
    """What autograd keeps of a tensor for a backward."""

    def __init__(self, tensor):
        self.tensor = tensor


def test_a_graph_that_later_players_see_detached_is_freed_and_nothing_else_changes():
    def train(declared):
        saved, alive = [], []

        class Spy(toy.ToyObjective):
            detached = frozenset(declared)

            def forward(self, nets, batch):
                def pack(tensor):
                    kept = Saved(tensor)
                    saved.append(weakref.ref(kept))
                    return kept

                with saved_tensors_hooks(pack, lambda kept: kept.tensor):
                    return super().forward(nets, batch)

            def discriminators(self, nets, t):
                alive.append(sum(ref() is not None for ref in saved))
                return super().discriminators(nets, t)

        nets = toy.make_networks()
        players = toy.make_players(nets)[::-1]  # generators first
        toy.make_trainer(2, objective=Spy(), nets=nets, players=players).run()
        return alive, nn.ModuleDict(nets).state_dict()

    (freed, weights), (retained, same) = train({"discriminators"}), train(())
    assert freed == [0] * 12
    assert all(count > 0 for count in retained)
    assert all(torch.equal(value, same[key]) for key, value in weights.items())


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_player_that_is_declared_detached_and_is_not_is_named(order):
    class Careless(toy.ToyObjective):
        detached = frozenset({"discriminators"})

        def discriminators(self, nets, t):
            return {"real": (1 - nets["d"](t.target)).relu().mean(), "fake": (1 + nets["d"](t.fake)).relu().mean()}

    nets = toy.make_networks()
    players = [toy.make_players(nets)[i] for i in order]
    with pytest.raises(ValueError, match=r"Careless declares 'discriminators' as detached, but .*Detach there"):
        toy.make_trainer(1, objective=Careless(), nets=nets, players=players).run()


class Once(nn.Module):
    """A parametrization that counts its evaluations."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, weight):
        self.calls += 1
        return weight * 2


def test_parametrized_weights_are_computed_once_a_phase_and_are_fresh_after_a_step():
    nets = {"g": nn.Linear(4, 4), "d": nn.Linear(4, 1)}
    counts = {name: Once() for name in nets}
    for name, net in nets.items():
        nn.utils.parametrize.register_parametrization(net, "weight", counts[name])
    seen = []

    class Spy(toy.ToyObjective):
        def discriminators(self, nets, t):
            terms = super().discriminators(nets, t)
            seen.append(nets["d"].weight.detach().clone())
            return terms

        def generators(self, nets, t):
            seen.append(nets["d"].weight.detach().clone())
            return super().generators(nets, t)

    for count in counts.values():
        count.calls = 0
    toy.make_trainer(1, objective=Spy(), nets=nets, epoch_length=1, ema=False).run()
    assert counts["g"].calls == 1  # forward; twice and more without the cache
    assert counts["d"].calls == 2  # once for each player's terms
    assert not torch.equal(seen[0], seen[1])


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_reduced_precision_trains_and_keeps_float32_weights(precision):
    dtypes = set()

    class Spy(toy.ToyObjective):
        def generators(self, nets, t):
            dtypes.update((t.fake.dtype, nets["d"](t.fake).dtype))
            return super().generators(nets, t)

    trainer = toy.make_trainer(10, batch=8, precision=precision, objective=Spy())
    start = trainer.network[3].weight.clone()
    trainer.run()
    assert dtypes == {torch.bfloat16 if precision == "bf16" else torch.float16}
    assert trainer.network[3].weight.dtype == torch.float32
    assert not torch.equal(trainer.network[3].weight, start)
    assert trainer.grad_scaler.is_enabled() == (precision == "fp16")


@pytest.mark.parametrize(
    ("units", "precision"), [({"avx2": True, "avx512_bf16": False}, None), ({"amx_bf16": True}, "bf16")]
)
def test_automatic_precision_asks_the_device(monkeypatch, units, precision):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: units)
    assert toy.make_trainer(1, precision="auto").precision == precision


def test_infinite_scaled_gradients_skip_the_step():
    trainer = toy.make_trainer(1, precision="fp16", epoch_length=1, ema=False)
    trainer.grad_scaler = torch.amp.GradScaler("cpu", init_scale=2.0**120)
    start = trainer.network[3].weight.clone()
    trainer.run()
    assert torch.equal(trainer.network[3].weight, start)
    assert trainer.grad_scaler.get_scale() < 2.0**120


def _weights_after(batch, accumulation, epoch_length, optimizer=torch.optim.SGD):
    nets = toy.make_networks(dropout=0.0)
    nets["g"] = nn.Linear(4, 4)
    nn.init.eye_(nets["g"].weight)
    nn.init.zeros_(nets["g"].bias)

    class Error:
        def forward(self, nets, batch):
            return [nets["g"](batch["image"]), batch["label"]]

        def generators(self, nets, t):
            return {"error": (t[0] - t[1]).square().mean()}

    player = Player("generators", nets["g"], optimizer(nets["g"].parameters(), 0.1), {"error": 1.0})
    trainer = toy.make_trainer(
        1,
        batch,
        Error(),
        nets,
        [player],
        noisy=False,
        ema=False,
        accumulation_steps=accumulation,
        epoch_length=epoch_length,
    )
    trainer.run()
    return nets["g"].weight.detach()


def test_accumulation_equals_one_step_of_the_whole_batch():
    assert torch.allclose(_weights_after(8, 1, 3), _weights_after(4, 2, 6), atol=1e-6)
    # three batches of 8 as two steps: the second, shorter window is a mean over what it has
    a = _weights_after(8, 2, 3)
    assert torch.allclose(_weights_after(4, 4, 6), a, atol=1e-6)
    assert not torch.allclose(_weights_after(8, 3, 3), a, atol=1e-4)


def test_averages_follow_by_hand():
    nets = {"g": nn.Linear(1, 1, bias=False)}
    nn.init.constant_(nets["g"].weight, 1.0)
    ema = AveragedModel(nets["g"], multi_avg_fn=get_ema_multi_avg_fn(0.9))

    class Slope:
        def forward(self, nets, batch):
            return {}

        def generators(self, nets, t):
            return {"w": nets["g"].weight.sum()}

    player = Player("generators", nets["g"], torch.optim.SGD(nets["g"].parameters(), 0.1), {"w": 1.0})
    trainer = AlternatingTrainer(
        "cpu", 1, [{"image": torch.zeros(1)}] * 3, nets["g"], Slope(), [player], {**nets, "ema": ema}, {"ema": "g"}
    )
    trainer.run()
    # weights 0.9, 0.8, 0.7; the first is copied: 0.9, 0.9*0.9+0.1*0.8, 0.9*0.89+0.1*0.7
    assert ema.module.weight.item() == pytest.approx(0.871, abs=1e-6)
    assert not ema.module.weight.requires_grad


class Breaks(toy.ToyObjective):
    def __init__(self, at, how):
        super().__init__()
        self.at, self.how, self.calls = at, how, 0

    def generators(self, nets, t):
        terms = super().generators(nets, t)
        self.calls += 1
        if self.calls == self.at:
            factor = {"term": float("nan"), "gradient": 1.0}[self.how]
            terms["adversarial"] = terms["adversarial"] * factor
            if self.how == "gradient":  # a finite value whose gradient is infinite
                terms["adversarial"] = terms["adversarial"] + (t.fake - t.fake.detach()).abs().sum().sqrt()
        return terms


@pytest.mark.parametrize(("how", "named"), [("term", "adversarial"), ("gradient", "gradient")])
def test_guard_names_the_term_and_stops_in_the_step(how, named):
    trainer = toy.make_trainer(4, objective=Breaks(8, how))
    with pytest.raises(NonFiniteError, match=rf"{named} of player 'generators' in epoch 2, iteration 8") as caught:
        trainer.run()
    assert (caught.value.player, caught.value.terms, caught.value.iteration) == ("generators", [named], 8)


def test_guard_names_the_player_that_spoilt_the_others():
    class Spoils(toy.ToyObjective):
        def discriminators(self, nets, t):
            return {name: value * float("inf") for name, value in super().discriminators(nets, t).items()}

    trainer = toy.make_trainer(1, objective=Spoils())
    with pytest.raises(NonFiniteError) as caught:
        trainer.run()
    assert caught.value.player == "discriminators"
    assert not all(p.isfinite().all() for p in trainer.networks["d"].parameters())  # which the generators have seen


def test_terms_without_a_graph_take_no_step():
    class Unlabelled(toy.ToyObjective):
        def generators(self, nets, t):
            return {name: torch.zeros(()) for name in ("adversarial", "reconstruction")}

    trainer = toy.make_trainer(1, objective=Unlabelled(), epoch_length=2)
    start = trainer.network[3].weight.clone()
    trainer.run()
    assert torch.equal(trainer.network[3].weight, start)


def test_each_epoch_is_a_function_of_seed_and_epoch():
    def run(seed, epochs, spoil=False):
        trainer, images = toy.make_trainer(epochs, seed=seed), {}

        def note(engine):
            images.setdefault(engine.state.epoch, []).append(engine.state.output["image"])
            if spoil:
                torch.rand(3)

        trainer.add_event_handler(Events.ITERATION_COMPLETED, note)
        trainer.run()
        return {epoch: torch.cat(batches) for epoch, batches in images.items()}

    a, b, c = run(0, 2), run(0, 2, spoil=True), run(1, 2)
    assert torch.equal(a[1], b[1])
    assert torch.equal(a[2], b[2])
    assert not torch.equal(a[1], a[2])
    assert not torch.equal(a[1], c[1])


def test_a_short_epoch_starts_the_loader_anew_and_sets_its_epoch():
    epochs = []

    class Sampler(torch.utils.data.SequentialSampler):
        def set_epoch(self, epoch):
            epochs.append(epoch)

    trainer = toy.make_trainer(3, noisy=False, epoch_length=2)
    dataset = trainer.data_loader.dataset
    trainer.data_loader = torch.utils.data.DataLoader(dataset, batch_size=4, sampler=Sampler(dataset))
    seen = []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda e: seen.append(e.state.output["image"]))
    trainer.run()
    assert epochs == [1, 2, 3]
    assert torch.equal(seen[0], seen[2])
    assert torch.equal(seen[0], seen[4])


def test_parts_that_do_not_fit_are_named():
    nets = toy.make_networks()
    players = toy.make_players(nets)
    players[0].name = "segmenters"
    with pytest.raises(ValueError, match="ToyObjective has no method 'segmenters'"):
        toy.make_trainer(nets=nets, players=players)
    misspelt = toy.ToyObjective()
    misspelt.detached = frozenset({"discriminator"})
    with pytest.raises(ValueError, match="ToyObjective has no method 'discriminator'"):
        toy.make_trainer(objective=misspelt)
    players[0].name = "generators"
    with pytest.raises(ValueError, match="different names"):
        toy.make_trainer(nets=nets, players=players)
    with pytest.raises(ValueError, match="trains network"):
        toy.make_trainer(nets=nets, players=toy.make_players(nets)[:1])
    with pytest.raises(ValueError, match="'discriminators' trains parameters"):
        toy.make_trainer(nets={"g": nets["g"]}, players=toy.make_players(nets))
    with pytest.raises(ValueError, match="'d' must be an AveragedModel"):
        toy.make_trainer(nets=nets, ema=False, averages={"d": "g"})
    with pytest.raises(ValueError, match="precision must be"):
        toy.make_trainer(precision="half")
    with pytest.raises(ValueError, match="amp"):
        toy.make_trainer(amp=True)


def test_two_processes_average_gradients_to_those_of_one(tmp_path):
    script = Path(toy.__file__)
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(script), "distributed"]
    done = subprocess.run([sys.executable, *command, str(tmp_path)], capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    single = toy.gradients_of_one_step(8)
    ranks = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    assert single.pop("size") == 1
    assert [rank.pop("size") for rank in ranks] == [2, 2]
    for name, grad in single.items():
        assert torch.equal(ranks[0][name], ranks[1][name])
        assert torch.allclose(ranks[0][name], grad, atol=1e-6), name
