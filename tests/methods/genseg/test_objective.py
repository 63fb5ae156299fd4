import pytest
import torch
from transeg.losses.reconstruction import absolute_error
from transeg.losses.segmentation import soft_dice
from transeg.methods.genseg.networks import GenSegNet, MutualInformationNet
from transeg.methods.genseg.objective import GenSegObjective
from transeg.networks.discriminators import MultiScaleDiscriminator


def setup(pathologies=1, labelled=(True, False, True)):
    torch.manual_seed(0)
    nets = {
        "generator": GenSegNet(in_channels=1, out_channels=pathologies, width=4, levels=3),
        "d_a": MultiScaleDiscriminator(2, 1, (4, 8), scales=2),
        "d_p": MultiScaleDiscriminator(2, 1, (4, 8), scales=2),
        "information": MutualInformationNet(2, 24, 8, width=4),
    }
    batch = {
        "image": torch.rand(3, 1, 24, 24),
        "absence": torch.rand(3, 1, 24, 24),
        "label": (torch.rand(3, pathologies, 24, 24) > 0.7).float(),
        "labelled": torch.tensor(labelled),
    }
    return nets, batch


def test_every_tensor_equals_the_one_computed_on_its_own():
    nets, batch = setup()
    net, x_p, x_a = nets["generator"], batch["image"], batch["absence"]
    torch.manual_seed(1)
    t = GenSegObjective().forward(nets, batch)
    torch.manual_seed(1)
    u = torch.randn_like(t.u_p)
    code_p, skips_p = net.encode(x_p)
    code_a, skips_a = net.encode(x_a)
    c_a = code_a[:, :24]
    torch.testing.assert_close(t.code_ap, torch.cat([c_a, u], 1))
    torch.testing.assert_close(t.x_pa, net.decode_common(code_p, skips_p))
    torch.testing.assert_close(t.x_pp, t.x_pa + net.decode_residual(code_p, skips_p))
    torch.testing.assert_close(t.x_ap, t.x_aa + net.decode_residual(t.code_ap, skips_a))
    code_ap_again, skips_ap = net.encode(t.x_ap)
    torch.testing.assert_close(t.code_ap_again, code_ap_again)
    torch.testing.assert_close(t.x_apa, net.decode_common(code_ap_again, skips_ap))
    torch.testing.assert_close(t.c_pa, net.encode(t.x_pa)[0][:, :24])
    torch.testing.assert_close(t.seg, net(x_p[[0, 2]]))


def test_terms_follow_equations_7_to_10():
    nets, batch = setup()
    t = GenSegObjective().forward(nets, batch)
    terms = GenSegObjective().generators(nets, t)
    assert set(terms) == {"segmentation", "reconstruction", "latent", "cycle", "adversarial"}
    torch.testing.assert_close(terms["segmentation"], soft_dice(t.seg, batch["label"][[0, 2]]))
    torch.testing.assert_close(terms["reconstruction"], absolute_error(t.x_pp, t.x_p) + absolute_error(t.x_aa, t.x_a))
    torch.testing.assert_close(terms["cycle"], absolute_error(t.x_apa, t.x_a))
    latent = [(t.code_ap_again, t.code_ap), (t.code_pp, t.code_p), (t.c_pa, t.c_p), (t.c_aa, t.c_a)]
    torch.testing.assert_close(terms["latent"], sum(absolute_error(a, b) for a, b in latent))
    maps = nets["d_a"](t.x_pa), nets["d_p"](t.x_ap)
    expected = -sum(torch.stack([m.mean() for m in scale]).mean() for scale in maps)
    torch.testing.assert_close(terms["adversarial"], expected)


@pytest.mark.parametrize(
    ("translate", "terms"),
    [
        ("presence_to_absence", {"segmentation", "reconstruction", "latent", "adversarial"}),
        ("none", {"segmentation", "reconstruction", "latent"}),
    ],
)
def test_ablated_directions_have_no_terms(translate, terms):
    nets, batch = setup()
    del nets["d_p"]
    objective = GenSegObjective(translate)
    t = objective.forward(nets, batch)
    assert t.x_ap is None
    assert set(objective.generators(nets, t)) == terms


def test_a_batch_without_labels_costs_nothing_and_is_not_segmented():
    nets, batch = setup(labelled=(False, False, False))
    t = GenSegObjective().forward(nets, batch)
    assert t.seg is None
    assert GenSegObjective().generators(nets, t)["segmentation"].item() == 0


def test_absence_images_can_count_as_empty_masks():
    nets, batch = setup()
    t = GenSegObjective(segment_absence=True).forward(nets, batch)
    torch.testing.assert_close(t.seg, nets["generator"](torch.cat([batch["image"][[0, 2]], batch["absence"]])))
    torch.testing.assert_close(t.y[:2], batch["label"][[0, 2]])
    assert t.y[2:].sum() == 0


def test_discriminators_do_not_reach_the_generator():
    nets, batch = setup()
    objective = GenSegObjective()
    objective.discriminators(nets, objective.forward(nets, batch))["adversarial"].backward()
    assert all(p.grad is None for p in nets["generator"].parameters())
    assert all(p.grad is not None for name in ("d_a", "d_p") for p in nets[name].parameters())
    assert "discriminators" in objective.detached


def test_several_pathologies_only_add_what_an_image_presents():
    nets, batch = setup(pathologies=2)
    batch["pathology"] = torch.tensor([[True, False], [True, True], [False, True]])
    objective = GenSegObjective()
    t = objective.forward(nets, batch)
    net = nets["generator"]
    code, skips = net.encode(batch["image"])
    residuals = [net.decode_residual(code, skips, k) for k in range(2)]
    torch.testing.assert_close(t.x_pp[0], t.x_pa[0] + residuals[0][0])
    torch.testing.assert_close(t.x_pp[1], t.x_pa[1] + residuals[0][1] + residuals[1][1])
    assert t.x_ap.shape[0] == 6
    assert t.seg.shape[1] == 2
    sum(objective.generators(nets, t).values()).backward()
    assert all(p.grad is not None for p in net.parameters())


def test_information_estimator_leaves_the_codes_alone():
    nets, batch = setup()
    objective = GenSegObjective()
    objective.information(nets, objective.forward(nets, batch))["mutual_information"].backward()
    assert all(p.grad is None for p in nets["generator"].parameters())
    assert all(p.grad is not None for p in nets["information"].parameters())
    assert "information" in objective.detached


def test_unknown_direction_is_refused():
    with pytest.raises(ValueError, match="translate must be both"):
        GenSegObjective("backwards")


def test_whole_volumes():
    torch.manual_seed(0)
    nets = {"generator": GenSegNet(3, 1, width=4, levels=2)}
    nets |= {name: MultiScaleDiscriminator(3, 1, (4,), scales=2) for name in ("d_a", "d_p")}
    batch = {
        "image": torch.rand(1, 1, 12, 10, 14),
        "absence": torch.rand(1, 1, 12, 10, 14),
        "label": torch.ones(1, 1, 12, 10, 14),
        "labelled": torch.tensor([True]),
    }
    objective = GenSegObjective()
    t = objective.forward(nets, batch)
    objective.discriminators(nets, t)["adversarial"].backward()
    sum(objective.generators(nets, t).values()).backward()
    assert t.seg.shape == batch["label"].shape
    assert all(p.grad is not None for p in nets["generator"].parameters())
