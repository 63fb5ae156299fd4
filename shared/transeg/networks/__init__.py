"""Networks of all methods: ``spatial_dims`` 2 or 3 throughout, scriptable where they ship."""

from transeg.networks.checkpointing import add_checkpointing
from transeg.networks.discriminators import DomainLogits, MultiScaleDiscriminator, PatchDiscriminator, PatchGAN
from transeg.networks.genseg import BaselineNet, GenSegNet
from transeg.networks.mine import MutualInformationNet
from transeg.networks.pathogan import PathoGANNet
from transeg.networks.resnet import CycleNet, ResNetGenerator
from transeg.networks.spectral import add_spectral_norm, plain_state_dict
from transeg.networks.tiling import convolutions_in_tiles
from transeg.networks.unet import CardiacNet, UNetGenerator, UNetSegmenter

__all__ = [
    "BaselineNet",
    "CardiacNet",
    "CycleNet",
    "DomainLogits",
    "GenSegNet",
    "MultiScaleDiscriminator",
    "MutualInformationNet",
    "PatchDiscriminator",
    "PatchGAN",
    "PathoGANNet",
    "ResNetGenerator",
    "UNetGenerator",
    "UNetSegmenter",
    "add_checkpointing",
    "add_spectral_norm",
    "convolutions_in_tiles",
    "plain_state_dict",
]
