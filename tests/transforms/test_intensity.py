"""Intensities are scaled as by MONAI's transforms, and return to the units of the file."""

import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import ScaleIntensityRange, ScaleIntensityRangePercentiles
from transeg.errors import VolumeError
from transeg.transforms.intensity import RestoreIntensityd, ScaleRanged, SignedRanged, WindowRanged


@pytest.fixture
def scan():
    values = torch.rand(2, 9, 8, 7, generator=torch.Generator().manual_seed(0))
    return MetaTensor(values * torch.tensor([300.0, 50.0])[:, None, None, None] - 20)


TRANSFORMS = {
    "percentiles": (
        ScaleRanged("image", 2, 98),
        ScaleIntensityRangePercentiles(2, 98, 0, 1, clip=True, channel_wise=True),
    ),
    "window": (WindowRanged("image", -10, 90), ScaleIntensityRange(-10, 90, 0, 1, clip=True)),
}


@pytest.mark.parametrize("kind", TRANSFORMS)
def test_values_are_those_of_monai_and_can_be_restored(scan, kind):
    ours, monai = TRANSFORMS[kind]
    expected = monai(scan)
    item = ours({"image": scan})
    torch.testing.assert_close(item["image"], expected)
    signed = SignedRanged("image")(item)
    torch.testing.assert_close(signed["image"], 2 * expected - 1)
    inside = (expected > 0) & (expected < 1)
    assert 0.05 < inside.float().mean() < 1
    for scaled in (item, signed):
        restored = RestoreIntensityd("copy")({**scaled, "copy": scaled["image"].clone()})["copy"]
        torch.testing.assert_close(restored[inside], scan[inside], rtol=1e-5, atol=1e-3)


def test_a_constant_channel_is_refused(scan):
    scan[1] = 7
    with pytest.raises(VolumeError, match=r"channel\(s\) \[1\] of constant intensity"):
        ScaleRanged("image")({"image": scan})
