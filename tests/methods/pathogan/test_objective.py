import pytest
import torch
from transeg.engines.player import Player
from transeg.engines.trainer import AlternatingTrainer
from transeg.losses.reconstruction import absolute_error
from transeg.methods.pathogan.losses import label_agreement, normal_divergence, region_error, relevancy
from transeg.methods.pathogan.networks import PathoGANNet
from transeg.methods.pathogan.objective import PathoGANObjective
from transeg.networks.discriminators import PatchGAN
from transeg.objectives.image_level import image_level_error

PARTS = ("gamma", "delta", "decoder", "z_b")


@pytest.fixture
def parts():
    torch.manual_seed(0)
    nets = {
        "generator": PathoGANNet(2, 2, (32, 32), width=4, blocks=1, code=8),
        "d_a": PatchGAN(2, 2, width=4),
        "d_b": PatchGAN(2, 2, width=4),
    }
    return nets, {key: torch.rand(2, 2, 32, 32) * 2 - 1 for key in ("image", "absence")}


def test_translations_follow_the_paper(parts):
    nets, batch = parts
    objective = PathoGANObjective(noise=0)
    t = objective.forward(nets, batch)
    net = nets["generator"]
    torch.testing.assert_close(t.u_b, net(batch["image"]))
    torch.testing.assert_close(t.y_a, net.translate(batch["image"]))
    torch.testing.assert_close(t.u_b_back, net(t.y_b))
    torch.testing.assert_close(t.x_a_back, net.translate(t.y_b))
    torch.testing.assert_close(t.u_b_same, net(batch["absence"]))
    label = torch.sigmoid(t.u_a)
    torch.testing.assert_close(t.y_b, label * t.p_a + (1 - label) * batch["absence"])
    expected = net.delta(torch.sigmoid(t.u_b) * batch["image"])
    torch.testing.assert_close(t.delta, expected)
    torch.testing.assert_close(t.gamma, net.gamma(batch["absence"]))


def test_terms_pair_the_maps_as_the_text_says(parts):
    nets, batch = parts
    objective = PathoGANObjective()
    t = objective.forward(nets, batch)
    terms = objective.generators(nets, t)
    l_a, l_b, l_a_back, l_b_back = (u.sigmoid() for u in (t.u_a, t.u_b, t.u_a_back, t.u_b_back))
    expected = {
        "cycle": absolute_error(t.x_a_back, t.x_a) + absolute_error(t.x_b_back, t.x_b),
        "outside": region_error(1 - l_a, t.p_a, t.x_a) + region_error(1 - l_b, t.p_b, t.x_b),
        "inside": region_error(l_a_back, t.p_a_back, t.x_b) + region_error(l_b_back, t.p_b_back, t.x_a),
        "label": label_agreement(t.u_a_back, l_b) + label_agreement(t.u_b_back, l_a),
        "identity": t.u_a_same.sigmoid().mean() + t.u_b_same.sigmoid().mean(),
        "relevancy": relevancy(t.u_a, t.p_a, t.x_a) + relevancy(t.u_b, t.p_b, t.x_b),
        "divergence": normal_divergence(*t.gamma) + normal_divergence(*t.delta),
    }
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value, msg=name)
    fooled = sum((d(y)[0] - 1).square().mean() for d, y in ((nets["d_a"], t.y_a), (nets["d_b"], t.y_b)))
    torch.testing.assert_close(terms["adversarial"], fooled)


def test_the_classifier_learns_from_its_own_term_alone(parts):
    nets, batch = parts
    assert PathoGANObjective().generators(nets, PathoGANObjective().forward(nets, batch))["presence"] == 0
    net = nets["generator"] = PathoGANNet(2, 2, (32, 32), width=4, blocks=1, code=8, classifier_width=2)
    objective = PathoGANObjective()
    terms = objective.generators(nets, objective.forward(nets, batch))
    logits = net.classifier(torch.cat([batch["image"], batch["absence"]])).flatten()
    torch.testing.assert_close(terms["presence"], image_level_error(logits, 2))
    sum(value for name, value in terms.items() if name != "presence").backward(retain_graph=True)
    assert all(p.grad is None for p in net.classifier.parameters())
    net.zero_grad()
    terms["presence"].backward()
    assert all(p.grad is not None for p in net.classifier.parameters())
    assert all(p.grad is None for part in PARTS for p in getattr(net, part).parameters())


REACHES = {  # which parts of the generator each term may train
    "outside": {"gamma", "decoder", "z_b"},
    "inside": set(PARTS),
    "label": set(PARTS),
    "identity": {"gamma", "decoder", "z_b"},
    "relevancy": {"gamma", "decoder", "z_b"},
    "divergence": {"gamma", "delta", "z_b"},  # through the label map that Delta sees
    "cycle": set(PARTS),
    "adversarial": {"gamma", "decoder", "z_b"},
}


@pytest.mark.parametrize("name", REACHES)
def test_no_gradient_reaches_a_network_that_it_must_not(parts, name):
    nets, batch = parts
    objective = PathoGANObjective()
    t = objective.forward(nets, batch)
    objective.generators(nets, t)[name].backward()
    reached = {part for part in PARTS if any(p.grad is not None for p in getattr(nets["generator"], part).parameters())}
    assert reached == REACHES[name]


def test_discriminators_leave_the_generator_alone(parts):
    nets, batch = parts
    objective = PathoGANObjective(pool_size=0)
    t = objective.forward(nets, batch)
    loss = objective.discriminators(nets, t)["adversarial"]
    loss.backward()
    assert all(p.grad is None for p in nets["generator"].parameters())
    assert all(p.grad is not None for name in ("d_a", "d_b") for p in nets[name].parameters())
    assert "discriminators" in objective.detached
    halves = [
        0.5 * ((d(real)[0] - 1).square().mean() + d(fake)[0].square().mean())
        for d, real, fake in ((nets["d_a"], t.x_a, t.y_a), (nets["d_b"], t.x_b, t.y_b))
    ]
    torch.testing.assert_close(loss, sum(halves))


def test_detached_masks_stop_the_gradient_through_the_map(parts):
    nets, batch = parts
    grads = []
    for detach in (False, True):
        objective = PathoGANObjective(detach_masks=detach, noise=0)
        t = objective.forward(nets, batch)
        t.u_b.retain_grad()
        objective.generators(nets, t)["outside"].backward()
        grads.append(t.u_b.grad)
    assert grads[0].abs().sum() > 0
    assert grads[1] is None


def test_noise_and_codes_are_drawn_anew(parts):
    nets, batch = parts
    objective = PathoGANObjective()
    first, second = objective.forward(nets, batch), objective.forward(nets, batch)
    spread = (first.u_b - second.u_b).std().item()
    assert spread == pytest.approx(2**0.5, rel=0.1)  # of a difference of two draws of noise
    assert (first.p_a - second.p_a).abs().max() > 0  # another pathology
    torch.testing.assert_close(first.p_b, second.p_b)


def test_the_pools_belong_to_the_state():
    objective = PathoGANObjective(pool_size=3)
    for k in range(5):
        objective.pool_b.query(torch.full((1, 1, 2, 2), float(k)))
    twin = PathoGANObjective(pool_size=3)
    twin.load_state_dict(objective.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(twin.pool_b.images, objective.pool_b.images, strict=True))


def test_volumes_train():
    torch.manual_seed(0)
    size = (32, 32, 32)
    nets = {key: PatchGAN(3, 2, width=2) for key in ("d_a", "d_b")}
    nets["generator"] = PathoGANNet(3, 2, size, width=2, blocks=1, code=4, classifier_width=2)
    weights = {"discriminators": {"adversarial": 1}, "generators": dict.fromkeys((*REACHES, "presence"), 1)}
    trained = {"discriminators": [nets["d_a"], nets["d_b"]], "generators": [nets["generator"]]}
    players = [
        Player(name, modules, torch.optim.Adam([p for net in modules for p in net.parameters()]), weights[name])
        for name, modules in trained.items()
    ]
    before = {name: [p.detach().clone() for p in net.parameters()] for name, net in nets.items()}
    batch = {key: torch.rand(2, 2, *size) * 2 - 1 for key in ("image", "absence")}
    trainer = AlternatingTrainer("cpu", 1, [batch], nets["generator"], PathoGANObjective(), players, nets)
    trainer.run()
    assert trainer.state.output["translation"].y_b.shape == (2, 2, *size)
    assert all(value.isfinite() for value in trainer.state.output["terms"].values())
    for name, net in nets.items():
        assert not any(torch.equal(a, b) for a, b in zip(before[name], net.parameters(), strict=True)), name
