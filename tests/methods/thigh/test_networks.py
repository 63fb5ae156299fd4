import pytest
import torch
from transeg.methods.thigh.networks import ThighNet


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("upsampling", ["transposed", "resize"])
@pytest.mark.parametrize(("dims", "size"), [(2, (20, 27)), (3, (9, 12, 14))])
def test_any_size_comes_back_and_scripts(dims, size, upsampling, residual):
    torch.manual_seed(0)
    net = ThighNet(dims, width=4, blocks=2, upsampling=upsampling, residual=residual).eval()
    image = torch.randn(2, 1, *size)
    out = net(image)
    assert out.shape == image.shape
    assert out.abs().max() <= 1
    scripted = torch.jit.script(net)
    torch.testing.assert_close(scripted(image), out)
    torch.testing.assert_close(scripted.reverse(image), net.easy_to_hard(image))
    torch.testing.assert_close(net(image[1:]), out[1:])  # no sample sees another


def test_checkpointing(check_checkpointing):
    check_checkpointing(ThighNet(width=8, blocks=6))
