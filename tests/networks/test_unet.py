import pytest
import torch
from monai.networks.nets import DynUNet
from transeg.networks.unet import PlannedUNet, plan_strides


@pytest.mark.parametrize(
    ("size", "strides"),
    [
        ((48, 48), [[2, 2]] * 3),
        ((80, 144), [[2, 2]] * 4 + [[1, 2]]),
        ((32, 32, 9), [[2, 2, 2], [2, 2, 1], [2, 2, 1]]),
    ],
)
def test_axes_are_halved_while_four_voxels_remain(size, strides):
    assert plan_strides(size) == strides


def test_values_are_those_of_dynunet():
    torch.manual_seed(0)
    net = PlannedUNet(3, 1, (256, 256), width=32)  # six halvings: 256 to 4
    same = DynUNet(
        **{"spatial_dims": 2, "in_channels": 3, "out_channels": 1, "kernel_size": [3] * 7, "strides": [1, *[2] * 6]},
        **{"upsample_kernel_size": [2] * 6, "filters": [32, 64, 128, 256, 512, 512, 512]},
        **{"deep_supervision": True, "deep_supr_num": 4},
    )
    parts = {"bottleneck": "bottleneck", "up": "upsamples"}
    state = {}
    for key, value in net.state_dict().items():
        part, rest = key.split(".", 1)
        if part in ("down", "heads"):
            index, rest = rest.split(".", 1)
            names = {"down": ("input_block", "downsamples"), "heads": ("output_block", "deep_supervision_heads")}[part]
            state[f"{names[0]}.{rest}" if index == "0" else f"{names[1]}.{int(index) - 1}.{rest}"] = value
        else:
            state[f"{parts[part]}.{rest}"] = value
    missing, unexpected = same.load_state_dict(state, strict=False)
    assert not unexpected
    assert all(key.startswith("skip_layers") for key in missing)  # the same parts again
    image = torch.randn(1, 3, 256, 256)
    torch.testing.assert_close(net(image), same(image))
    torch.testing.assert_close(net.eval()(image), same.eval()(image))


@pytest.mark.parametrize("size", [(20, 27), (9, 16, 14)])
def test_any_size_comes_back_and_scripts(size):
    torch.manual_seed(0)
    net = PlannedUNet(2, 3, size, width=4)
    image = torch.randn(2, 2, *[n + 3 for n in size])
    assert net(image).shape == (2, max(len(plan_strides(size)) - 2, 1) + 1, 3, *image.shape[2:])
    out = net.eval()(image)
    assert out.shape == (2, 3, *image.shape[2:])
    torch.testing.assert_close(torch.jit.script(net)(image), out)


def test_too_small_images_are_refused():
    with pytest.raises(ValueError, match="too small"):
        PlannedUNet(1, 1, (7, 14))
