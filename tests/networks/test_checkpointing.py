import copy

import pytest
import torch
from transeg.bundle.memory import saved_storages
from transeg.methods.cardiac.networks import UNetGenerator, UNetSegmenter
from transeg.methods.genseg.networks import GenSegNet
from transeg.methods.pathogan.networks import PathoGANNet
from transeg.methods.thigh.networks import ThighNet
from transeg.networks.checkpointing import add_checkpointing
from transeg.networks.spectral import add_spectral_norm


def kept(network, image):
    """Bytes that a forward keeps for the backward, and its output."""
    with saved_storages(set()) as seen:
        out = network(image)
    return sum(seen.values()), out


@pytest.mark.parametrize(
    "network",
    [
        ThighNet(width=8, blocks=6),
        GenSegNet(in_channels=1, width=4, levels=3),
        PathoGANNet(channels=1, image_size=(48, 48), width=8, blocks=6, code=8),
        UNetGenerator(2, width=4),
        UNetSegmenter(2, width=4),
    ],
    ids=["ThighNet", "GenSegNet", "PathoGANNet", "UNetGenerator", "UNetSegmenter"],
)
def test_same_values_and_gradients_with_less_memory(network):
    torch.manual_seed(0)
    plain = network.double()
    lean = add_checkpointing(copy.deepcopy(plain))
    image = torch.randn(2, 1, 48, 48, dtype=torch.double)
    (much, expected), (little, out) = kept(plain, image), kept(lean, image)
    torch.testing.assert_close(out, expected)
    expected.square().sum().backward()
    out.square().sum().backward()
    for (name, a), b in zip(plain.named_parameters(), lean.parameters(), strict=True):
        assert (a.grad is None) == (b.grad is None), name
        if a.grad is not None:
            torch.testing.assert_close(b.grad, a.grad)
    assert little < 0.8 * much
    assert lean.state_dict().keys() == plain.state_dict().keys()


def test_a_copy_recomputes_itself():
    lean = add_checkpointing(ThighNet(width=4, blocks=1))
    twin = copy.deepcopy(lean)
    for parameter in lean.parameters():
        parameter.data.zero_()
    image = torch.randn(1, 1, 16, 16)
    assert twin(image).abs().sum() > 0
    assert lean(image).abs().sum() == 0


def test_spectral_norm_is_refused():
    with pytest.raises(ValueError, match="choose one"):
        add_checkpointing(add_spectral_norm(GenSegNet(in_channels=1, width=4, levels=3)))
