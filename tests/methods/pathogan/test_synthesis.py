"""Sampled pathologies follow their seed, and change nothing but the chosen slices of the brain."""

import nibabel as nib
import numpy as np
import pytest
import torch
from transeg.errors import VolumeError
from transeg.methods.pathogan.networks import PathoGANNet
from transeg.methods.pathogan.synthesis import Synthesised, synthesis_output
from transeg.transforms.load import LoadVolumed

from tests.recipes import brain_preprocessing

SIZE = (32, 32)
FIRST, LAST = 12, 20  # mm above the lowest slice: slices 3 to 5 of 4 mm


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    net = PathoGANNet(2, 2, SIZE, width=4, blocks=1, code=8)
    with torch.no_grad():
        for parameter in net.decoder.parameters():
            parameter.mul_(3)  # far from the even grey of a fresh network
    return net.train()


@pytest.fixture(scope="module")
def preprocessing():
    return brain_preprocessing(pixdim=4.0, image_size=SIZE, num_std=3.0, zero_background=False)


@pytest.fixture(scope="module")
def item(preprocessing, tmp_path_factory):
    """A scan of 2 mm, turned upside down, so that the lowest slice is the last."""
    axes = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in (40, 44, 20)], indexing="ij"), axis=-1)
    brain = (axes[..., :2] ** 2).sum(axis=-1) < 0.7
    image = brain[..., None] * np.random.default_rng(0).normal((300, 500), 30, (*brain.shape, 2))
    path = tmp_path_factory.mktemp("scan") / "scan.nii.gz"
    nib.save(nib.Nifti1Image(image.astype(np.float32), np.diag([2.0, 2, -2, 1])), path)
    loaded = LoadVolumed("scan", 2)({"image": str(path), "scan": str(path), "case": "p1"})
    return preprocessing(loaded)


def draw(network, item, sample=1, seed=0, **changes):
    return Synthesised("image", network, sample, seed, FIRST, LAST, batch_size=2)({**item, **changes})


def test_a_sample_follows_seed_case_and_number(network, item):
    state = torch.get_rng_state()
    drawn = draw(network, item)["pathology"]
    assert torch.equal(state, torch.get_rng_state())
    torch.rand(1)
    torch.testing.assert_close(draw(network, item)["pathology"], drawn, rtol=0, atol=0)
    for other in ({"sample": 2}, {"seed": 1}, {"case": "p2"}):
        assert (draw(network, item, **other)["pathology"] - drawn).abs().max() > 1e-3


def test_all_slices_share_one_code(network, item):
    same = item["image"][..., :1].expand_as(item["image"]).clone()  # one slice all over
    drawn = draw(network, item, image=same)["pathology"][..., 3:6]
    torch.testing.assert_close(drawn, drawn[..., :1].expand_as(drawn))


def test_only_the_chosen_slices_are_drawn_as_the_network_does(network, item):
    out = draw(network, item)
    image, label, inpainting = (out[key].as_tensor() for key in ("image", "pathology", "inpainting"))
    kept = [0, 1, 2, *range(6, image.shape[-1])]
    assert not label[..., kept].any()
    assert torch.equal(inpainting[..., kept], image[..., kept])
    assert network.training
    code = torch.as_tensor(np.random.default_rng([0, 1, *b"p1"]).standard_normal((1, 8), np.float32))
    with torch.no_grad():
        logits, expected = network.eval().synthesise(image[..., 4][None], code)
    network.train()
    torch.testing.assert_close(label[..., 4], logits[0].sigmoid())
    torch.testing.assert_close(inpainting[..., 4], expected[0])


def test_files_on_the_grid_of_the_scan(network, item, preprocessing, tmp_path):
    synthesis_output(network, preprocessing, tmp_path, samples=2, first=FIRST, last=LAST)(item)
    assert {path.name for path in tmp_path.iterdir()} == {
        f"p1_sample{k}_{part}.nii.gz" for k in (1, 2) for part in ("image", "seg")
    }
    scan = item["scan"].numpy()
    brain = scan.any(axis=0)
    images = []
    for k in (1, 2):
        image, mask = (nib.load(tmp_path / f"p1_sample{k}_{part}.nii.gz") for part in ("image", "seg"))
        for file in (image, mask):
            np.testing.assert_array_equal(file.affine, np.diag([2.0, 2, -2, 1]))
        assert mask.get_data_dtype() == np.uint8
        values, region = np.moveaxis(image.get_fdata(), -1, 0), np.asarray(mask.dataobj)
        changed = (values != scan).any(axis=0)
        # 12 to 20 mm above slice 19, and less than one slice of 4 mm more on both sides
        assert np.flatnonzero(changed.any(axis=(0, 1))).tolist() == list(range(8, 15))
        assert not (changed & ~brain).any()
        assert region.any()
        assert not (region.astype(bool) & ~changed).any()
        images.append(values)
    # in the units of the scan: between what was there and tanh, at most three standard deviations of 30 from the mean
    inner = brain & np.roll(brain, 3, 0) & np.roll(brain, -3, 0) & np.roll(brain, 3, 1) & np.roll(brain, -3, 1)
    for values, before, mean in zip(images[0], scan, (300, 500), strict=True):
        assert (abs(values - mean) <= np.maximum(abs(before - mean), 95))[inner].all()
    assert abs(images[0] - images[1]).max() > 1


def test_refusals(network, item):
    with pytest.raises(VolumeError, match=r"scan\.nii\.gz.*from 200 to 300 mm"):
        Synthesised("image", network, first=200, last=300)(item)
    with pytest.raises(ValueError, match="network expects"):
        draw(network, item, image=item["image"][:, :30])
    with pytest.raises(ValueError, match="spatial_dims 2"):
        Synthesised("image", PathoGANNet(3, 1, (32, 32, 32), width=2, blocks=1, code=2))
    with pytest.raises(ValueError, match="at least 1"):
        synthesis_output(network, None, ".", samples=0)
