import copy

import pytest
import torch
from torch import nn
from transeg.methods.genseg.networks import GenSegNet
from transeg.networks.spectral import add_spectral_norm, plain_state_dict, weights_once


def small():
    torch.manual_seed(0)
    return GenSegNet(in_channels=1, width=4, levels=3)


def test_plain_weights_give_the_same_output_without_spectral_norm():
    net = add_spectral_norm(small())
    image = torch.randn(1, 1, 24, 24)
    net(image)  # one power iteration
    net.train()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    state = plain_state_dict(net)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    plain = small()
    plain.load_state_dict(state)
    torch.testing.assert_close(plain.eval()(image), net.eval()(image))


def test_training_goes_on_from_plain_weights():
    trained = add_spectral_norm(small())
    image = torch.randn(1, 1, 24, 24)
    trained(image)
    plain = {key: value.half() for key, value in plain_state_dict(trained).items()}  # as they ship
    again = add_spectral_norm(GenSegNet(in_channels=1, width=4, levels=3))
    assert not torch.allclose(again.eval()(image), trained.eval()(image), atol=0.1)
    again.load_state_dict(plain)
    torch.testing.assert_close(again.eval()(image), trained(image), atol=0.02, rtol=0)
    again.load_state_dict(trained.state_dict())  # and from its own state as before
    assert torch.equal(again(image), trained(image))


def test_largest_singular_value_is_one_except_in_the_classifier():
    net = add_spectral_norm(small())
    for _ in range(30):
        net(torch.randn(1, 1, 24, 24))
    state = plain_state_dict(net.eval())
    norms = {k: torch.linalg.matrix_norm(v.flatten(1), 2).item() for k, v in state.items() if k.endswith("conv.weight")}
    for name, norm in norms.items():
        if "classifier" not in name:
            assert abs(norm - 1) < 0.05, name
    assert any(abs(norm - 1) > 0.3 for name, norm in norms.items() if "classifier" in name)


@pytest.mark.parametrize(
    ("make", "memory"),
    [
        (lambda: nn.Conv2d(3, 5, 4), torch.contiguous_format),
        (lambda: nn.Conv2d(3, 5, 4), torch.channels_last),
        (lambda: nn.Conv2d(3, 5, 1), torch.channels_last),
        (lambda: nn.Conv3d(2, 4, 3), torch.channels_last_3d),
    ],
)
def test_same_values_gradients_and_state_as_the_one_of_torch(make, memory):
    torch.manual_seed(0)
    theirs = torch.nn.utils.parametrizations.spectral_norm(make().double())
    ours = add_spectral_norm(make().double())
    ours.load_state_dict(theirs.state_dict())
    ours.to(memory_format=memory)
    assert ours.parametrizations.weight.original.is_contiguous(memory_format=memory)
    for _ in range(2):
        slope = torch.randn_like(theirs.parametrizations.weight.original)
        results = []
        for module in (theirs, ours):
            module.zero_grad()
            weight = module.weight
            (weight * slope).sum().backward()
            results.append((weight.detach(), module.parametrizations.weight.original.grad))
        torch.testing.assert_close(results[1], results[0])
        torch.testing.assert_close(dict(ours.state_dict()), dict(theirs.state_dict()))


def test_an_earlier_weight_keeps_its_gradient_after_a_later_call():
    module = add_spectral_norm(nn.Conv2d(2, 3, 3).double())
    twin = copy.deepcopy(module)
    first, twins = module.weight, twin.weight
    assert not torch.equal(first, module.weight)  # one more power iteration
    first.square().sum().backward()
    twins.square().sum().backward()
    original = "parametrizations.weight.original"
    torch.testing.assert_close(module.get_parameter(original).grad, twin.get_parameter(original).grad)


def test_all_norms_of_a_network_at_once_equal_one_after_another():
    torch.manual_seed(0)
    one = add_spectral_norm(GenSegNet(in_channels=1, width=2, levels=2).double().to(memory_format=torch.channels_last))
    twin = copy.deepcopy(one)
    image = torch.randn(2, 1, 16, 16, dtype=torch.double)
    for _ in range(2):
        outs = []
        for net, phase in ((one, weights_once), (twin, torch.nn.utils.parametrize.cached)):
            net.zero_grad()
            with phase():
                outs.append(net(image) + net.translate(image).mean())  # each weight is used twice
            outs[-1].square().mean().backward()
        torch.testing.assert_close(outs[0], outs[1], rtol=1e-12, atol=1e-12)
        gradients = [{name: p.grad for name, p in net.named_parameters() if p.grad is not None} for net in (one, twin)]
        torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(dict(one.state_dict()), dict(twin.state_dict()), rtol=1e-12, atol=1e-12)


def test_norms_are_fresh_in_the_next_phase_and_nothing_of_the_last_one_is_kept():
    net = add_spectral_norm(small())
    first = net.encoder.stem.conv
    with weights_once():
        weight = first.weight
        assert first.weight is weight
    with torch.no_grad():
        first.parametrizations.weight.original.mul_(torch.rand_like(weight))
    with weights_once():
        assert not torch.allclose(first.weight, weight, atol=1e-3)
    group = first.parametrizations.weight[0].group
    assert len(group.modules) > 10
    assert not group.found


def test_a_copy_has_norms_of_its_own():
    net = add_spectral_norm(small())
    twin = copy.deepcopy(net)
    with weights_once():
        net(torch.randn(1, 1, 24, 24))
    own, other = (dict(module.named_buffers()) for module in (net, twin))
    changed = [name for name in own if name.endswith("_u") and not torch.equal(own[name], other[name])]
    assert len(changed) > 10
    group = twin.encoder.stem.conv.parametrizations.weight[0].group
    assert group is not net.encoder.stem.conv.parametrizations.weight[0].group
    assert {id(module) for module in group.modules} <= {id(module) for module in twin.modules()}
