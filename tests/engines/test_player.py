import pytest
import torch
from torch import nn
from transeg.engines.player import Player


def make_player(**kwargs):
    net = nn.Linear(2, 1, bias=False)
    return Player("generators", net, torch.optim.SGD(net.parameters(), 0.1), **kwargs)


def test_total_is_the_weighted_sum():
    terms = {"a": torch.tensor(2.0), "b": torch.tensor(5.0)}
    assert make_player(weights={"a": 3.0, "b": 0.5}).total(terms).item() == 8.5
    assert make_player(weights={"a": 3, "b": 1}, normalise_weights=True).total(terms).item() == pytest.approx(2.75)


def test_mismatch_of_terms_and_weights_names_both():
    player = make_player(weights={"a": 1.0, "cycle": 1.0})
    with pytest.raises(ValueError, match=r"'generators'.*without a weight: \['b'\].*without a term: \['cycle'\]"):
        player.total({"a": torch.tensor(0.0), "b": torch.tensor(0.0)})
    with pytest.raises(ValueError, match=r"'cycle' must be a scalar tensor, got \(3,\)"):
        player.total({"a": torch.tensor(0.0), "cycle": torch.zeros(3)})


def test_optimizer_must_hold_the_networks_parameters_and_no_other():
    a, b = nn.Linear(2, 1), nn.Linear(3, 1)
    both = torch.optim.SGD([*a.parameters(), *b.parameters()], 0.1)
    with pytest.raises(ValueError, match=r"2 parameters .* belong to none .*\(1, 3\)"):
        Player("x", a, both, {"t": 1.0})
    with pytest.raises(ValueError, match=r"lacks 2 trainable parameters .*weight, bias"):
        Player("x", [a, b], torch.optim.SGD(a.parameters(), 0.1), {"t": 1.0})
    b.requires_grad_(False)
    assert len(Player("x", [a, b], torch.optim.SGD(a.parameters(), 0.1), {"t": 1.0}).parameters) == 2
    assert len(Player("x", [a, b], both, {"t": 1.0}).parameters) == 2


@pytest.mark.parametrize("weights", [{}, {"a": float("nan")}])
def test_weights_must_be_usable(weights):
    with pytest.raises(ValueError, match="at least one weight"):
        make_player(weights=weights)
    with pytest.raises(ValueError, match="cannot be normalised"):
        make_player(weights={"a": 0.0}, normalise_weights=True)


def test_clipping_scales_to_the_norm():
    player = make_player(weights={"a": 1.0}, clip_norm=1.0)
    player.parameters[0].grad = torch.tensor([[3.0, 4.0]])
    assert player.clip_gradients().item() == 5.0
    assert torch.allclose(player.parameters[0].grad, torch.tensor([[0.6, 0.8]]), atol=1e-5)
