import pytest
import torch
from transeg.methods.pathogan.networks import PathoGANNet


def count(*parts):
    return sum(p.numel() for part in parts for p in part.parameters())


def test_the_published_sizes():
    net = PathoGANNet()
    assert count(net.gamma) == count(net.delta) == 21_227_215
    assert count(net.decoder) == 20_293_000
    assert count(net.gamma, net.delta, net.decoder) == 62_747_430
    assert count(net.z_b) == 11_387_589


@pytest.mark.parametrize("upsampling", ["transposed", "resize"])
@pytest.mark.parametrize(("dims", "size"), [(2, (40, 51)), (3, (32, 33, 40))])
def test_shapes_and_script(dims, size, upsampling):
    torch.manual_seed(0)
    net = PathoGANNet(dims, 2, size, width=4, blocks=1, code=8, upsampling=upsampling).eval()
    image, delta = torch.rand(2, 2, *size) * 2 - 1, torch.randn(2, 8)
    logits = net(image)
    assert logits.shape == (2, 1, *size)
    drawn, inpainting = net.synthesise(image, delta)
    assert drawn.shape == logits.shape
    assert inpainting.shape == image.shape
    scripted = torch.jit.script(net)
    torch.testing.assert_close(scripted(image), logits)
    torch.testing.assert_close(scripted.translate(image), net.translate(image))
    torch.testing.assert_close(scripted.synthesise(image, delta), (drawn, inpainting))
    torch.testing.assert_close(net(image[1:]), logits[1:])  # no sample sees another
    assert net(image[..., :24]).shape[-1] == 24  # segmentation takes any size


def test_a_translation_is_the_image_outside_the_label_map():
    image = torch.tensor([[[[0.5, -0.5]], [[0.25, 1.0]]]])
    inpainting = torch.full_like(image, -1.0)
    logits = torch.tensor([[[[-60.0, 0.0]]]])
    expected = torch.tensor([[[[0.5, -0.75]], [[0.25, 0.0]]]])
    torch.testing.assert_close(PathoGANNet.blend(logits, inpainting, image), expected)


@pytest.mark.parametrize(("dims", "size"), [(2, (40, 51)), (3, (32, 33, 40))])
def test_a_classifier_has_a_say_in_mask_and_translation(dims, size):
    torch.manual_seed(0)
    net = PathoGANNet(dims, 2, size, width=4, blocks=1, code=8, classifier_width=4).eval()
    image = torch.rand(2, 2, *size) * 2 - 1
    logits, inpainting = net.residual_b(image)
    shown = net.classifier(image).reshape(2, *[1] * (dims + 1))
    torch.testing.assert_close(torch.sigmoid(net(image)), torch.sigmoid(logits) * torch.sigmoid(shown))
    torch.testing.assert_close(net.translate(image), net.blend(net(image), inpainting, image))
    torch.testing.assert_close(torch.jit.script(net)(image), net(image))
    torch.testing.assert_close(torch.jit.script(net).translate(image), net.translate(image))
    torch.nn.init.constant_(net.classifier.fc.bias, -1000.0)  # sure that all images are healthy
    torch.testing.assert_close(net.translate(image), image)


def test_each_pathology_code_draws_another_pathology():
    torch.manual_seed(0)
    net = PathoGANNet(2, 1, (32, 32), width=4, blocks=1, code=8).eval()
    image = torch.rand(1, 1, 32, 32).expand(2, -1, -1, -1)
    logits, _ = net.synthesise(image, torch.randn(2, 8))
    assert (logits[0] - logits[1]).abs().max() > 1e-3


@pytest.mark.parametrize(("size", "message"), [((16, 40), "exceed 16"), ((32, 32, 32), "have 2 dimensions")])
def test_sizes_that_do_not_fit_are_refused(size, message):
    with pytest.raises(ValueError, match=message):
        PathoGANNet(image_size=size)


def test_checkpointing(check_checkpointing):
    check_checkpointing(PathoGANNet(channels=1, image_size=(48, 48), width=8, blocks=6, code=8))
