from functools import partial

import pytest
import torch
from transeg.methods.genseg.networks import BaselineNet, GenSegNet, MutualInformationNet


def count(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("shape", "encoder", "common", "residual"),
    [
        ({"in_channels": 4, "width": 16, "levels": 5}, 1_748_496, 1_330_563, 4_387_788),
        ({"in_channels": 1, "width": 32, "levels": 4}, 1_743_040, 1_330_730, 4_391_128),
    ],
)
def test_parameter_counts_of_the_paper(shape, encoder, common, residual):
    # The authors' common decoder holds 4,377 (2,654) more: a segmentation mode that it never runs.
    net = GenSegNet(**shape)
    assert (count(net.encoder), count(net.common), count(net.residuals)) == (encoder, common, residual)


def test_parameter_count_of_the_mean_teacher_student():
    assert count(BaselineNet(in_channels=4, width=16, levels=5)) == 3_371_469


def test_split_of_the_code():
    net = GenSegNet(width=16, levels=5)
    assert (net.common_channels, net.unique_channels) == (384, 128)
    code, skips = GenSegNet(in_channels=1, width=2, levels=5).encode(torch.randn(1, 1, 240, 120))
    assert code.shape == (1, 64, 8, 4)
    assert [tuple(s.shape[1:]) for s in skips] == [
        (2, 240, 120),
        (4, 120, 60),
        (8, 60, 30),
        (16, 30, 15),
        (32, 15, 8),
    ]


VARIANTS = [
    {},
    {"long_skip": "sum"},
    {"long_skip": "concat"},
    {"long_skip": "none"},
    {"separate_decoder": True},
    {"out_channels": 2},
    {"norm_encoder": "layer"},
    {"norm_decoder": "instance"},
    {"norm_encoder": "batch", "norm_decoder": "batch"},
    {"code_activation": False},
    {"spatial_dims": 3, "levels": 3},
]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_shapes_and_scripting(variant):
    torch.manual_seed(0)
    net = GenSegNet(in_channels=2, width=4, **{"levels": 4, **variant}).eval()
    image = torch.randn(2, 2, *((17, 24, 20) if variant.get("spatial_dims") == 3 else (52, 35)))
    scripted = torch.jit.script(net)
    logits, healthy = net(image), net.translate(image)
    assert logits.shape == (2, variant.get("out_channels", 1), *image.shape[2:])
    assert healthy.shape == image.shape
    assert healthy.abs().max() <= 1
    torch.testing.assert_close(scripted(image), logits)
    torch.testing.assert_close(scripted.translate(image), healthy)


def test_segmentation_mode_shares_all_but_norms_and_head():
    net = GenSegNet(in_channels=1, width=4, levels=3)
    net(torch.randn(1, 1, 24, 24)).sum().backward()
    touched = {name for name, p in net.residuals.named_parameters() if p.grad is not None}
    untouched = {name for name, p in net.residuals.named_parameters() if p.grad is None}
    assert any("classifier" in name for name in touched)
    assert untouched
    assert all(".translation." in name or name.startswith("0.out.") for name in untouched)


def test_baseline_reconstruction_has_no_long_skips():
    net = BaselineNet(in_channels=1, width=4, levels=3, reconstruct=True)
    image = torch.randn(2, 1, 24, 24)
    code, skips = net.encode(image)
    blank = [torch.zeros_like(s) for s in skips]
    torch.testing.assert_close(net.reconstructor(code, skips), net.reconstructor(code, blank))
    assert not torch.allclose(net.segment(code, skips), net.segment(code, blank))


def test_unknown_long_skip_is_named():
    with pytest.raises(ValueError, match="Unknown long skip 'add'"):
        GenSegNet(width=4, long_skip="add")


def test_a_pair_of_codes_has_one_score_that_depends_on_both():
    torch.manual_seed(0)
    network = MutualInformationNet(2, common_channels=6, unique_channels=2, width=4)
    common, unique = torch.randn(3, 6, 4, 5), torch.randn(3, 2, 4, 5)
    scores = network(common, unique)
    assert scores.shape == (3,)
    torch.testing.assert_close(network(common[1:2], unique[1:2]), scores[1:2])
    assert not torch.isclose(network(common, unique.roll(1, 0)), scores).any()
    assert not torch.isclose(network(common.roll(1, 0), unique), scores).any()


def test_checkpointing(check_checkpointing):
    check_checkpointing(GenSegNet(in_channels=1, width=4, levels=3))


@pytest.mark.parametrize(
    "make", [GenSegNet, partial(GenSegNet, separate_decoder=True), partial(GenSegNet, out_channels=2), BaselineNet]
)
def test_the_segmentation_begins_with_its_prior(make):
    torch.manual_seed(0)
    image = torch.rand(4, 2, 32, 32)
    areas = [make(in_channels=2, width=4, levels=3, prior=p)(image).sigmoid().mean().item() for p in (0.02, 0.5)]
    assert areas[0] < 0.15 < 0.3 < areas[1] < 0.7
