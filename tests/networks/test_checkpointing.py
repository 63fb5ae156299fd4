"""Checkpointing of the shared generator; tests/methods checks the networks of the methods in the same way."""

import copy

import pytest
import torch
from transeg.networks.checkpointing import add_checkpointing
from transeg.networks.resnet import ResNetGenerator
from transeg.networks.spectral import add_spectral_norm


def test_same_values_and_gradients_with_less_memory(check_checkpointing):
    check_checkpointing(ResNetGenerator(width=8, blocks=6))


def test_a_copy_recomputes_itself():
    lean = add_checkpointing(ResNetGenerator(width=4, blocks=1))
    twin = copy.deepcopy(lean)
    for parameter in lean.parameters():
        parameter.data.zero_()
    image = torch.randn(1, 1, 16, 16)
    assert twin(image).abs().sum() > 0
    assert lean(image).abs().sum() == 0


def test_spectral_norm_is_refused():
    with pytest.raises(ValueError, match="choose one"):
        add_checkpointing(add_spectral_norm(ResNetGenerator(width=4, blocks=1)))
