import math

import pytest
import torch
from torch import nn
from transeg.engines.player import Player
from transeg.engines.trainer import AlternatingTrainer
from transeg.methods.cardiac import objective as module
from transeg.methods.cardiac.networks import CardiacNet
from transeg.methods.cardiac.objective import CardiacObjective
from transeg.networks.checkpointing import add_checkpointing
from transeg.networks.discriminators import PatchGAN

PARTS = ("g_b", "g_a", "s_a", "s_b")
EVERYTHING = {"real", "synthetic", "reconstructed"}


class Times(nn.Module):
    """A generator that multiplies; counts its calls."""

    def __init__(self, factor):
        super().__init__()
        self.factor, self.calls = nn.Parameter(torch.tensor(factor)), 0

    def forward(self, x):
        self.calls += 1
        return self.factor * x


class Slope(Times):
    """A segmenter of two classes, whose logits are 0 and a multiple of the image."""

    def forward(self, x):
        x = super().forward(x)
        return torch.cat([torch.zeros_like(x), x], dim=1)


class Toy(nn.Module):
    """G_A halves, G_B triples, S_A and S_B have slopes of 1 and -2."""

    def __init__(self):
        super().__init__()
        self.g_a, self.g_b = Times(0.5), Times(3.0)
        self.s_a, self.s_b = Slope(1.0), Slope(-2.0)


class Mean(nn.Module):
    """A discriminator whose logit is the mean of an image."""

    def forward(self, x):
        return [x.mean(dim=(1, 2, 3))]


@pytest.fixture
def by_hand():
    batch = {
        "a": torch.tensor([[[[1.0, -2.0]]]]),
        "a_label": torch.tensor([[[[1, 0]]]]),
        "a_labelled": torch.tensor([True]),
        "b": torch.tensor([[[[4.0, 1.0]]]]),
        "b_label": torch.tensor([[[[0, 1]]]]),
        "b_labelled": torch.tensor([True]),
    }
    return {"network": Toy(), "d_a": Mean(), "d_b": Mean()}, batch


def cross_entropy(logits, labels):
    """Mean over voxels with the logit of class 1."""
    return sum(math.log1p(math.exp(-u if y else u)) for u, y in zip(logits, labels, strict=True)) / len(labels)


def test_terms_by_hand(by_hand):
    nets, batch = by_hand
    objective = CardiacObjective(pool_size=0)
    t = objective.forward(nets, batch)
    # x_ab = (3, -6), x_ba = (2, 0.5), x_aba = (1.5, -3), x_bab = (6, 1.5)
    terms = objective.generators(nets, t)
    assert terms["adversarial"].item() == pytest.approx((1.25 - 1) ** 2 + (-1.5 - 1) ** 2)
    assert terms["cycle"].item() == pytest.approx((0.5 + 1) / 2 + (2 + 0.5) / 2)
    shape = cross_entropy((2, 0.5), (0, 1)) + cross_entropy((-6, 12), (1, 0))  # S_A on x_ba, S_B on x_ab
    assert terms["shape"].item() == pytest.approx(shape)

    terms = objective.segmenters(nets, t)
    assert terms["real"].item() == pytest.approx(cross_entropy((1, -2), (1, 0)) + cross_entropy((-8, -2), (0, 1)))
    assert terms["synthetic"].item() == pytest.approx(shape)
    reconstructed = cross_entropy((1.5, -3), (1, 0)) + cross_entropy((-12, -3), (0, 1))
    assert terms["reconstructed"].item() == pytest.approx(reconstructed)

    ct, mr = (-0.5 - 1) ** 2 + 1.25**2, (2.5 - 1) ** 2 + (-1.5) ** 2
    assert objective.discriminators(nets, t)["adversarial"].item() == pytest.approx((ct + mr) / 2)


def without_label(batch, *domains):
    return {
        **batch,
        **{f"{d}_labelled": torch.tensor([False]) for d in domains},
        **{f"{d}_label": 0 * batch[f"{d}_label"] for d in domains},
    }


def test_terms_by_hand_where_only_a_has_labels(by_hand):
    nets, batch = by_hand
    objective = CardiacObjective(pool_size=0)
    t = objective.forward(nets, without_label(batch, "b"))
    whole = CardiacObjective(pool_size=0)
    expected = whole.generators(nets, whole.forward(nets, batch))
    terms = objective.generators(nets, t)
    assert terms["shape"].item() == pytest.approx(cross_entropy((-6, 12), (1, 0))), "S_B on x_ab, eq. 2"
    assert all(terms[name] == expected[name] for name in ("adversarial", "cycle"))
    terms = objective.segmenters(nets, t)
    assert terms["real"].item() == pytest.approx(cross_entropy((1, -2), (1, 0))), "S_A on x_a"
    assert terms["synthetic"].item() == pytest.approx(cross_entropy((-6, 12), (1, 0))), "S_B on x_ab"
    assert terms["reconstructed"].item() == pytest.approx(cross_entropy((1.5, -3), (1, 0))), "S_A on x_aba"


def test_the_mean_is_over_the_labelled_volumes_of_a_batch(by_hand):
    nets, batch = by_hand
    objective = CardiacObjective(pool_size=0)
    alone = objective.forward(nets, batch)
    bare = without_label(batch, "a", "b")
    mixed = objective.forward(
        nets, {key: torch.cat([value, 2 * batch[key] if key in "ab" else bare[key]]) for key, value in batch.items()}
    )
    for player in (objective.segmenters, lambda nets, t: {"shape": objective.generators(nets, t)["shape"]}):
        terms, expected = player(nets, mixed), player(nets, alone)
        assert {key: value.item() for key, value in terms.items()} == pytest.approx(
            {key: value.item() for key, value in expected.items()}
        )


def test_without_any_label_nothing_is_compared(by_hand):
    nets, batch = by_hand
    objective = CardiacObjective(pool_size=0)
    t = objective.forward(nets, without_label(batch, "a", "b"))
    assert objective.generators(nets, t)["shape"] == 0
    assert objective.segmenters(nets, t) == dict.fromkeys(("real", "synthetic", "reconstructed"), 0)
    assert nets["network"].s_a.calls == nets["network"].s_b.calls == 0


def test_each_player_calls_a_network_once_for_volumes_of_one_size(by_hand):
    nets, batch = by_hand
    net, objective = nets["network"], CardiacObjective()
    t = objective.forward(nets, batch)
    objective.segmenters(nets, t)
    assert [getattr(net, part).calls for part in PARTS] == [1, 2, 1, 1]
    objective.generators(nets, t)
    assert [getattr(net, part).calls for part in PARTS] == [1, 2, 2, 2]


@pytest.mark.parametrize("limit", [0, 2**19])
def test_volumes_of_any_number_and_size_go_together(by_hand, monkeypatch, limit):
    nets, batch = by_hand
    monkeypatch.setattr(module, "BATCHED_VOXELS", limit)
    objective = CardiacObjective()
    alone = objective.segmenters(nets, objective.forward(nets, batch))
    twice = {key: torch.cat([value, value]) if key.startswith("b") else value for key, value in batch.items()}
    other = {key: value.repeat(1, 1, 2, 1) if key in ("b", "b_label") else value for key, value in batch.items()}
    for more in (twice, other):
        terms = objective.segmenters(nets, objective.forward(nets, more))
        assert all(terms[name].item() == pytest.approx(value.item()) for name, value in alone.items())


def test_ablations_leave_out_what_they_do_not_need(by_hand):
    nets, batch = by_hand
    objective = CardiacObjective(shape=False, volumes=["real", "synthetic"])
    t = objective.forward(nets, batch)
    assert set(objective.generators(nets, t)) == {"adversarial", "cycle"}
    assert set(objective.segmenters(nets, t)) == {"real", "synthetic"}

    net = nets["network"]
    for part in PARTS:
        getattr(net, part).calls = 0
    baseline = CardiacObjective(volumes=["real"], translate=False)
    assert set(baseline.segmenters(nets, baseline.forward(nets, batch))) == {"real"}
    assert [getattr(net, part).calls for part in PARTS] == [0, 0, 1, 1]


def test_volumes_that_cannot_be_had_are_refused():
    for wrong in ([], ["real", "fake"]):
        with pytest.raises(ValueError, match="reconstructed"):
            CardiacObjective(volumes=wrong)
    with pytest.raises(ValueError, match="without translations"):
        CardiacObjective(translate=False)
    objective = CardiacObjective()
    objective.translate = False
    with pytest.raises(ValueError, match="without translations"):
        objective.check()


def test_players_that_need_translations_say_so(by_hand):
    nets, batch = by_hand
    objective = CardiacObjective(volumes=["real"], translate=False)
    t = objective.forward(nets, batch)
    for player in (objective.generators, objective.discriminators):
        with pytest.raises(ValueError, match="need translations"):
            player(nets, t)


def test_the_pools_belong_to_the_state():
    objective = CardiacObjective(pool_size=3)
    for k in range(5):
        objective.pool_b.query(torch.full((1, 1, 2, 2), float(k)))
    twin = CardiacObjective(pool_size=3)
    twin.load_state_dict(objective.state_dict())
    assert len(twin.pool_b.images) == 3
    assert all(torch.equal(a, b) for a, b in zip(twin.pool_b.images, objective.pool_b.images, strict=True))


@pytest.fixture
def volumes():
    torch.manual_seed(0)
    nets = {key: PatchGAN(3, width=2, layers=1) for key in ("d_a", "d_b")}
    nets["network"] = CardiacNet(classes=3, width=2)
    batch = {key: torch.rand(1, 1, 16, 16, 16) * 2 - 1 for key in "ab"}
    labels = {f"{key}_label": torch.randint(3, image.shape) for key, image in batch.items()}
    return nets, {**batch, **labels, **{f"{key}_labelled": torch.tensor([True]) for key in batch}}


def reached(nets):
    found = {part for part in PARTS if any(p.grad is not None for p in getattr(nets["network"], part).parameters())}
    return found | {name for name in ("d_a", "d_b") if any(p.grad is not None for p in nets[name].parameters())}


@pytest.mark.parametrize("name", sorted(EVERYTHING))
def test_segmenters_leave_the_generators_alone(volumes, name):
    nets, batch = volumes
    objective = CardiacObjective()
    objective.segmenters(nets, objective.forward(nets, batch))[name].backward()
    assert reached(nets) == {"s_a", "s_b"}
    assert "segmenters" in objective.detached


def test_discriminators_leave_the_generators_alone(volumes):
    nets, batch = volumes
    objective = CardiacObjective()
    objective.discriminators(nets, objective.forward(nets, batch))["adversarial"].backward()
    assert reached(nets) == {"d_a", "d_b"}
    assert "discriminators" in objective.detached


@pytest.mark.parametrize("name", ["adversarial", "cycle", "shape"])
def test_generators_learn_through_networks_that_stay_as_they_are(volumes, name):
    nets, batch = volumes
    net, objective = nets["network"], CardiacObjective()
    trained = [*net.g_b.parameters(), *net.g_a.parameters()]
    objective.generators(nets, objective.forward(nets, batch))[name].backward(inputs=trained)
    assert reached(nets) == {"g_b", "g_a"}


@pytest.mark.parametrize(
    ("known", "name", "taught"),
    [
        ("a", "real", {"s_a"}),
        ("a", "synthetic", {"s_b"}),
        ("a", "reconstructed", {"s_a"}),
        ("b", "real", {"s_b"}),
        ("b", "synthetic", {"s_a"}),
        ("b", "reconstructed", {"s_b"}),
    ],
)
def test_labels_of_one_domain_teach_both_segmenters(volumes, known, name, taught):
    nets, batch = volumes
    objective = CardiacObjective()
    t = objective.forward(nets, without_label(batch, "b" if known == "a" else "a"))
    objective.segmenters(nets, t)[name].backward()
    assert reached(nets) == taught


@pytest.mark.parametrize(("known", "taught"), [("a", {"g_b"}), ("b", {"g_a"})])
def test_labels_of_one_domain_keep_the_shape_of_its_translations(volumes, known, taught):
    nets, batch = volumes
    net, objective = nets["network"], CardiacObjective()
    t = objective.forward(nets, without_label(batch, "b" if known == "a" else "a"))
    objective.generators(nets, t)["shape"].backward(inputs=[*net.g_a.parameters(), *net.g_b.parameters()])
    moved = {n for n in ("g_a", "g_b") for p in getattr(net, n).parameters() if p.grad is not None and p.grad.any()}
    assert moved == taught


def test_only_the_segmenter_of_the_labelled_domain_learns_from_real_volumes_alone(volumes):
    nets, batch = volumes
    objective = CardiacObjective(volumes=["real"], translate=False)
    objective.segmenters(nets, objective.forward(nets, without_label(batch, "b")))["real"].backward()
    assert reached(nets) == {"s_a"}


ORDERS = [("generators", "segmenters", "discriminators"), ("segmenters", "discriminators", "generators")]


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("order", ORDERS, ids=["paper", "generators last"])
def test_three_players_train_in_turn(volumes, order, checkpointing):
    nets, batch = volumes
    net = add_checkpointing(nets["network"], checkpointing)
    networks = {
        "generators": [net.g_b, net.g_a],
        "segmenters": [net.s_a, net.s_b],
        "discriminators": [nets["d_a"], nets["d_b"]],
    }
    weights = {
        "generators": {"adversarial": 1, "cycle": 10, "shape": 1},
        "segmenters": dict.fromkeys(EVERYTHING, 1),
        "discriminators": {"adversarial": 1},
    }
    players = []
    for name in order:
        optimizer = torch.optim.Adam([p for part in networks[name] for p in part.parameters()])
        players.append(Player(name, networks[name], optimizer, weights[name], normalise_weights=name == "segmenters"))
    before = {name: parameter.detach().clone() for name, parameter in nn.ModuleDict(nets).named_parameters()}
    trainer = AlternatingTrainer("cpu", 1, [batch], net, CardiacObjective(), players, nets)
    trainer.run()
    terms = trainer.state.output["terms"]
    assert set(terms) == {f"{name}/{term}" for name in order for term in weights[name]}
    assert all(value.isfinite() for value in terms.values())
    for name, parameter in nn.ModuleDict(nets).named_parameters():
        if name.endswith("weight"):  # a bias before a norm has no gradient
            assert not torch.equal(before[name], parameter), name
