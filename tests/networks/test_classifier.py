import pytest
import torch
from transeg.networks.classifier import ActivationMapNet, both, image_classifier


def test_size_is_that_of_resnet18_without_its_last_layer():
    # the 2D ResNet-18 for RGB without its classifier; 3x3 instead of 7x7 first, and biases in MONAI's shortcuts
    expected = 11_176_512 - 64 * 3 * (49 - 9) + (128 + 256 + 512) + (512 + 1)
    assert sum(p.numel() for p in ActivationMapNet(2, 3).parameters()) == expected


@pytest.mark.parametrize("size", [(20, 27), (16, 12, 14)])
def test_maps_have_the_size_of_the_image_and_script(size):
    torch.manual_seed(0)
    net = ActivationMapNet(len(size), 2, width=4).eval()
    image = torch.randn(2, 2, *size)
    out = net(image)
    assert out.shape == (2, 1, *size)
    torch.testing.assert_close(torch.jit.script(net)(image), out)


@pytest.mark.parametrize("size", [(20, 27), (16, 12, 14)])
def test_one_logit_for_an_image(size):
    net = image_classifier(len(size), 2, width=4).eval()
    image = torch.randn(2, 2, *size)
    out = net(image)
    assert out.shape == (2, 1)
    torch.testing.assert_close(torch.jit.script(net)(image), out)


def test_product_of_probabilities():
    a = torch.tensor([[-3.0, 0.0], [2.0, 40.0]], dtype=torch.double, requires_grad=True)
    b = torch.tensor([[1.0], [0.0]], dtype=torch.double)
    product = both(a, b)
    torch.testing.assert_close(torch.sigmoid(product), torch.sigmoid(a) * torch.sigmoid(b))
    assert both(torch.tensor(-200.0), torch.tensor(-200.0)).item() == pytest.approx(-400)
    assert torch.autograd.gradcheck(lambda x: both(x, b), a)
