import pytest
import torch
from torch import nn
from transeg.methods.thigh.networks import ThighNet
from transeg.methods.thigh.objective import ThighObjective
from transeg.networks.discriminators import PatchGAN


class Scale(nn.Module):
    """Generators that multiply: F by 0.5, G by 3."""

    class Times(nn.Module):
        def __init__(self, factor):
            super().__init__()
            self.factor = nn.Parameter(torch.tensor(factor))

        def forward(self, x):
            return self.factor * x

    def __init__(self):
        super().__init__()
        self.hard_to_easy, self.easy_to_hard = self.Times(0.5), self.Times(3.0)


class Mean(nn.Module):
    """A discriminator whose logit is the mean of an image."""

    def forward(self, x):
        return [x.mean(dim=(1, 2, 3))]


@pytest.fixture
def by_hand():
    batch = {"image": torch.tensor([[[[1.0, -2.0]]]]), "absence": torch.tensor([[[[4.0, -1.0]]]])}
    return {"generator": Scale(), "d_e": Mean(), "d_h": Mean()}, batch


def test_terms_by_hand(by_hand):
    nets, batch = by_hand
    objective = ThighObjective(pool_size=0)
    t = objective.forward(nets, batch)
    # F(h) = (0.5, -1), G(e) = (12, -3), G(F(h)) = (1.5, -3), F(G(e)) = (6, -1.5)
    terms = objective.generators(nets, t)
    assert terms["adversarial"].item() == pytest.approx((-0.25 - 1) ** 2 + (4.5 - 1) ** 2)
    assert terms["cycle"].item() == pytest.approx((2 + 0.5) / 2 + (0.5 + 1) / 2)
    assert terms["domain"].item() == pytest.approx(1 / 2 + 2 / 2)  # -2 -> -1 brighter; -1 -> -3 darker
    assert terms["identity"].item() == pytest.approx((2 + 0.5) / 2 + (2 + 4) / 2)  # F(e) = (2, -0.5), G(h) = (3, -6)
    d = objective.discriminators(nets, t)["adversarial"].item()
    easy, hard = (1.5 - 1) ** 2 + (-0.25) ** 2, (-0.5 - 1) ** 2 + 4.5**2
    assert d == pytest.approx((easy + hard) / 2)


def test_cross_entropy_by_hand(by_hand):
    nets, batch = by_hand
    objective = ThighObjective("cross_entropy", pool_size=0)
    t = objective.forward(nets, batch)
    softplus = nn.functional.softplus
    x = torch.tensor
    expected = softplus(x(0.25)) + softplus(x(-4.5))
    torch.testing.assert_close(objective.generators(nets, t)["adversarial"], expected)
    expected = softplus(x(-1.5)) + softplus(x(-0.25)) + softplus(x(0.5)) + softplus(x(4.5))
    torch.testing.assert_close(objective.discriminators(nets, t)["adversarial"], expected)


def test_terms_left_out_are_not_computed(by_hand):
    nets, batch = by_hand
    objective = ThighObjective(identity=False, domain=False)
    t = objective.forward(nets, batch)
    assert set(objective.generators(nets, t)) == {"adversarial", "cycle"}
    assert t.f_e is None


def test_players_train_their_own_networks_alone():
    torch.manual_seed(0)
    nets = {"generator": ThighNet(width=4, blocks=1), "d_e": PatchGAN(width=4), "d_h": PatchGAN(width=4)}
    batch = {key: torch.rand(2, 1, 32, 32) * 2 - 1 for key in ("image", "absence")}
    objective = ThighObjective()
    t = objective.forward(nets, batch)
    objective.discriminators(nets, t)["adversarial"].backward()
    assert all(p.grad is None for p in nets["generator"].parameters())
    assert all(p.grad is not None for name in ("d_e", "d_h") for p in nets[name].parameters())
    assert "discriminators" in objective.detached


def test_the_pools_belong_to_the_state():
    objective = ThighObjective(pool_size=3)
    for k in range(5):
        objective.pool_e.query(torch.full((1, 1, 2, 2), float(k)))
    twin = ThighObjective(pool_size=3)
    twin.load_state_dict(objective.state_dict())
    assert len(twin.pool_e.images) == 3
    assert all(torch.equal(a, b) for a, b in zip(twin.pool_e.images, objective.pool_e.images, strict=True))


def test_unknown_loss_is_refused():
    with pytest.raises(ValueError, match="least_squares"):
        ThighObjective("wasserstein")
