"""What makes a step and a scan fast, each measure against the plain way with the libraries' own parts.

On one thread, in turn in one process; the least CPU time of the rounds counts. Values must agree, up to the rounding of
single precision, except where they are random: there the tests compare distributions.

    python -m benchmarks.levers
"""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
import typer
from monai.data import MetaTensor
from monai.transforms import Compose, Rand2DElasticd, RandFlipd, RandStdShiftIntensityd, SpatialResample
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from transeg.engines.augmentation import AugmentBatch
from transeg.methods.genseg.networks import GenSegNet
from transeg.networks.blocks import UpsampleConv
from transeg.networks.spectral import add_spectral_norm, weights_once
from transeg.transforms.batch import RandomShift, RandomWarp
from transeg.transforms.spacing import resample

from benchmarks.results import write_result

Work = Callable[[], Any]
TOLERANCE = 1e-4  # of the largest value
SLICE = (120, 240)  # a half-slice of the published size


def augmentation() -> tuple[Work, Work]:
    """Warp, mirroring and intensity shift of 8 half-slices of four channels, one by one and as a batch."""
    batch = {"image": torch.rand(8, 4, *SLICE) - 0.5, "label": (torch.rand(8, 1, *SLICE) > 0.9).float()}
    both: Any = ("image", "label")
    spacing = ((SLICE[0] - 1) / 2, (SLICE[1] - 1) / 2)
    single = Compose(
        [
            Rand2DElasticd(
                both,
                spacing=spacing,
                magnitude_range=(0, 2.5),
                prob=1,
                rotate_range=0.0524,
                scale_range=(0.1, 0.1),
                mode=("bilinear", "nearest"),
                padding_mode="reflection",
            ),
            RandFlipd(both, prob=0.5, spatial_axis=0),
            RandFlipd(both, prob=0.5, spatial_axis=1),
            RandStdShiftIntensityd("image", factors=0.5, prob=1, nonzero=True),
        ]
    ).set_random_state(0)
    warp = RandomWarp(rotate=0.0524, zoom=0.1, mirror=(0, 1), spline_std=2.5)
    whole = AugmentBatch({"image": "label"}, warp, [RandomShift(0.1)], "reflection").set_random_state(0)
    items = [{key: value[k] for key, value in batch.items()} for k in range(8)]
    return lambda: [single(item) for item in items] and None, lambda: whole(batch, "cpu") and None


def spectral_norms() -> tuple[Work, Work]:
    """Normalised kernels of GenSeg's generator at the published size, forward and backward."""
    torch.manual_seed(0)
    plain = GenSegNet(width=16)
    ours = add_spectral_norm(copy.deepcopy(plain))
    convolutions: list[Any] = []
    for name, module in plain.named_modules():
        if isinstance(module, nn.Conv2d) and "classifier" not in name.split("."):
            convolutions.append(parametrizations.spectral_norm(module))
    plain.load_state_dict(ours.state_dict())
    grouped: list[Any] = [m for m in ours.modules() if hasattr(m, "parametrizations")]

    directions = [torch.randn_like(m.parametrizations.weight.original) for m in grouped]

    def gradients(modules: list[Any]) -> list[Tensor]:
        kernels = [m.weight for m in modules]
        originals = [m.parametrizations.weight.original for m in modules]
        return [*kernels, *torch.autograd.grad(kernels, originals, directions)]

    plain.train()
    ours.train()

    def at_once() -> list[Tensor]:
        with weights_once():
            return gradients(grouped)

    return lambda: gradients(convolutions), at_once


def optimiser() -> tuple[Work, Work]:
    """An update of GenSeg's generator at the published size by Adam, its default and fused."""
    torch.manual_seed(0)
    network = GenSegNet(width=16)
    works = []
    for options in ({}, {"fused": True}):
        parameters = [nn.Parameter(p.detach().clone()) for p in network.parameters()]
        for p in parameters:
            p.grad = torch.ones_like(p)
        adam = torch.optim.Adam(parameters, 1e-3, (0.5, 0.999), weight_decay=1e-4, amsgrad=True, **options)

        def update(adam: Any = adam, parameters: Any = parameters) -> list[Tensor]:
            adam.step()
            return [p.detach() for p in parameters]

        works.append(update)
    return works[0], works[1]


def upsampling() -> tuple[Work, Work]:
    """Nearest-neighbour upsampling and a 5x5 convolution, forward and backward; at high and at low resolution."""
    torch.manual_seed(0)
    ours = UpsampleConv(2, 64, 32, 5)
    plain = copy.deepcopy(ours)
    plain.low_resolution = False
    image = torch.randn(4, 64, 60, 120, requires_grad=True)

    def gradients(network: nn.Module) -> list[Tensor]:
        out = network(image)
        return [out, *torch.autograd.grad(out.square().sum(), [image, *network.parameters()])]

    return lambda: gradients(plain), lambda: gradients(ours)


def memory_format() -> tuple[Work, Work]:
    """Segmentation of 4 half-slices by GenSeg at the published size, in the default and the channels-last format."""
    torch.manual_seed(0)
    plain = GenSegNet(width=16).eval()
    ours: Any = copy.deepcopy(plain)
    ours.to(memory_format=torch.channels_last)
    image = torch.randn(4, 4, *SLICE)
    inner = torch.inference_mode()
    return inner(lambda: [plain(image)]), inner(lambda: [ours(image)])


def back_to_the_scan() -> tuple[Work, Work]:
    """Probabilities of a brain of 2 mm on a grid of 1 mm, by sampling a full grid and axis by axis."""
    volume = F.interpolate(torch.rand(1, 1, 30, 30, 20), size=(120, 120, 78), mode="trilinear")[0]
    affine, fine, size = np.diag([2.0, 2, 2, 1]), np.eye(4), (240, 240, 155)
    sampler = SpatialResample(mode="bilinear", padding_mode="border", align_corners=True, dtype="float64")
    source: Any = MetaTensor(volume, affine=torch.from_numpy(affine))
    return (
        lambda: [torch.as_tensor(sampler(source, torch.from_numpy(fine), size)).float()],
        lambda: [resample(volume, torch.from_numpy(affine), torch.from_numpy(fine), size)],
    )


LEVERS = {
    "augmentation of a batch": augmentation,
    "spectral norms at once": spectral_norms,
    "fused Adam": optimiser,
    "upsampling at low resolution": upsampling,
    "channels-last inference": memory_format,
    "masks back on the scan's grid": back_to_the_scan,
}


def compare(plain: Work, ours: Work, rounds: int) -> dict[str, Any]:
    """CPU milliseconds of both, least of the rounds, and the largest difference, relative to the largest value."""
    figures: dict[str, Any] = {}
    pairs = list(zip(plain() or (), ours() or (), strict=True))
    if pairs:
        difference = max((a - b).abs().max().item() / a.abs().max().item() for a, b in pairs)
        if not difference <= TOLERANCE:
            raise AssertionError(f"not the same values: {difference}")
        figures["difference"] = difference
    least = dict.fromkeys(("plain", "ours"), float("inf"))
    for _ in range(rounds):
        for name, work in (("plain", plain), ("ours", ours)):
            start = time.process_time()
            work()
            least[name] = min(least[name], time.process_time() - start)
    return {f"{name}_ms": round(1e3 * value, 2) for name, value in least.items()} | figures


def main(rounds: Annotated[int, typer.Option(help="The least time of so many counts.")] = 10) -> None:
    """Measure all."""
    torch.set_num_threads(1)
    figures: dict[str, Any] = {}
    for name, make in LEVERS.items():
        figures[name] = {"what": make.__doc__, **compare(*make(), rounds)}
        print(name, figures[name], flush=True)
    figures["load_average"] = round(os.getloadavg()[0], 2)
    print(write_result("levers", "random", [0], figures))


if __name__ == "__main__":
    typer.run(main)
