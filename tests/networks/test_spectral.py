import torch
from transeg.networks import GenSegNet, add_spectral_norm, plain_state_dict


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
