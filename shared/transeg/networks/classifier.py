"""Classifiers of images: a plain one, and one that also tells where, the strong baseline for image-level labels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from monai.networks.nets.resnet import ResNet, ResNetBlock
from torch import Tensor, nn

from transeg.networks.blocks import CONV


def image_classifier(spatial_dims: int, in_channels: int, width: int) -> ResNet:
    """MONAI's ResNet-18 with `width` (64 in ResNet-18) channels at a quarter of the image size.

    Shapes: (B, in_channels, *S) -> logits (B, 1).
    """
    widths = [width * 2**level for level in range(4)]
    return ResNet(ResNetBlock, [2, 2, 2, 2], widths, spatial_dims, in_channels, conv1_t_stride=2, num_classes=1)


def both(a: Tensor, b: Tensor) -> Tensor:
    """Logits of the product of two probabilities, given as logits of shapes that broadcast."""
    a, b = torch.broadcast_tensors(a, b)
    return -torch.logsumexp(torch.stack([-a, -b, -a - b]), dim=0)  # 1 / p - 1, of p = 1 / ((1 + e^-a) (1 + e^-b))


class ActivationMapNet(nn.Module):
    """MONAI's ResNet-18 without its pooling, whose map of evidence for a class is a segmentation.

    Zhou et al. 2016, "Learning deep features for discriminative localization". The maps have an eighth of the image
    size, since no image is halved before the first block.

    Shapes: (B, in_channels, *S) -> logits (B, 1, *S).

    Args:
        spatial_dims: 2 or 3.
        in_channels: image channels.
        width: channels at full resolution; 64 in ResNet-18.
    """

    def __init__(self, spatial_dims: int = 2, in_channels: int = 1, width: int = 64) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(4)]
        net = ResNet(
            ResNetBlock,
            [2, 2, 2, 2],
            widths,
            spatial_dims,
            in_channels,
            conv1_t_size=3,
            conv1_t_stride=1,
            no_max_pool=True,
            feed_forward=False,
        )
        blocks = (net.conv1, net.bn1, net.act, net.layer1, net.layer2, net.layer3, net.layer4)
        self.features = nn.Sequential(*blocks)
        self.evidence = CONV[spatial_dims](widths[-1], 1, 1)
        self.mode = "bilinear" if spatial_dims == 2 else "trilinear"

    def forward(self, image: Tensor) -> Tensor:
        return F.interpolate(self.evidence(self.features(image)), size=image.shape[2:], mode=self.mode)
