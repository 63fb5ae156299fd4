"""Random transforms of batches: their distribution is that of the papers, in 2D and 3D."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from monai.transforms import Compose, RandGaussianNoise
from transeg.transforms.batch import EachImage, RandomShift, RandomWarp, spline_weights

SIZES = [(12, 20), (8, 12, 10)]


def seeded(transform, seed=0):
    transform.set_random_state(seed)
    return transform


def places(warp, count, size):
    """Where voxels are taken from: (count, *output size, dims), in voxels from the centre of the image."""
    grid = warp(count, size).flip(-1).double()
    return grid * torch.tensor([(n - 1) / 2 for n in size])


def affine(found, size):
    """Matrices (count, dims, dims), offsets (count, dims) and largest residual of the affine map that fits places."""
    axes = [torch.arange(n, dtype=torch.double) - (n - 1) / 2 for n in size]
    x = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, len(size))
    x = torch.cat([x, torch.ones(len(x), 1, dtype=torch.double)], dim=1)
    y = found.reshape(len(found), -1, len(size))
    fit = torch.linalg.lstsq(x.expand(len(y), -1, -1), y).solution
    return fit[:, :-1].mT.numpy(), fit[:, -1].numpy(), (x @ fit - y).abs().max().item()


@pytest.mark.parametrize("size", SIZES)
def test_nothing_random_is_the_identity(size):
    images = torch.rand(3, 2, *size)
    grid = RandomWarp()(3, size)
    torch.testing.assert_close(F.grid_sample(images, grid, align_corners=True), images, atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", SIZES)
def test_a_seed_gives_the_same_grids_and_images_differ(size):
    warp = RandomWarp(rotate=0.1, zoom=0.1, mirror=[0], translate=0.1, spline_std=2, varied=True)
    first, again = (seeded(warp, 3)(4, size) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(seeded(warp, 4)(4, size), first)
    assert not torch.allclose(first[0], first[1])


def test_moments_of_rotation_zoom_mirror_and_translation():
    size, count = (12, 20), 4000
    warp = seeded(RandomWarp(rotate=0.3, zoom=[0.2, 0.1], mirror=[1], translate=0.25))
    matrix, offset, residual = affine(places(warp, count, size), size)
    assert residual < 1e-4
    scale = np.linalg.norm(matrix, axis=1)  # of the columns
    zoom = 1 / scale - 1
    turned = matrix / scale[:, None, :]
    mirrored = np.linalg.det(turned) < 0
    np.testing.assert_allclose(np.linalg.det(turned), np.where(mirrored, -1, 1), atol=1e-4)
    angle = np.arctan2(np.where(mirrored, -1, 1) * turned[:, 1, 0], turned[:, 0, 0])
    for values, largest in ((angle, 0.3), (zoom[:, 0], 0.2), (zoom[:, 1], 0.1), (offset[:, 0], 3), (offset[:, 1], 5)):
        assert np.abs(values).max() <= largest * (1 + 1e-4)
        assert values.mean() == pytest.approx(0, abs=0.05 * largest)
        assert values.std() == pytest.approx(largest / np.sqrt(3), rel=0.05)  # uniform
    assert mirrored.mean() == pytest.approx(0.5, abs=0.03)


def test_rotation_in_3d():
    size = (8, 12, 10)
    matrix, _, residual = affine(places(seeded(RandomWarp(rotate=0.2)), 500, size), size)
    assert residual < 1e-4
    np.testing.assert_allclose(matrix @ matrix.transpose(0, 2, 1), np.broadcast_to(np.eye(3), (500, 3, 3)), atol=1e-5)
    for row, column in ((2, 1), (0, 2), (1, 0)):
        assert matrix[:, row, column].std() == pytest.approx(0.2 / np.sqrt(3), rel=0.15)


@pytest.mark.parametrize(("varied", "std"), [(False, 5.0), (True, 5 / np.sqrt(3))])
def test_displacements_at_the_nodes_are_normal(varied, std):
    """E u^2 = std^2, times E a^2 = 1/3 of an amplitude a from U(0, 1)."""
    size = (21, 31)
    found = places(seeded(RandomWarp(spline_std=5, varied=varied)), 4000, size)
    moved = (found - places(RandomWarp(), 1, size))[:, ::10, ::15]  # nodes: borders and middle
    assert moved.shape[1:3] == (3, 3)
    assert moved.std().item() == pytest.approx(std, rel=0.03)
    assert moved.mean().item() == pytest.approx(0, abs=0.1)
    flat = moved.reshape(len(moved), -1).numpy()
    correlation = np.corrcoef(flat, rowvar=False) - np.eye(flat.shape[1])
    assert np.abs(correlation).max() < 0.08  # nodes and axes are independent


def test_displacements_are_smooth_in_3d():
    size = (17, 17, 17)
    moved = places(seeded(RandomWarp(spline_std=2)), 8, size) - places(RandomWarp(), 1, size)
    assert moved.std() > 0.5
    for axis in (1, 2, 3):
        assert moved.diff(n=2, dim=axis).abs().max() < 0.25 * moved.abs().max()


def test_spline_weights():
    weights = spline_weights(9, 3)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-12)
    np.testing.assert_allclose(weights[[0, 4, 8]], np.eye(3), atol=1e-12)  # through the nodes
    apart = spline_weights(15, 5, 8 / 15)  # nodes 8 voxels apart, the third in the middle
    np.testing.assert_allclose(apart[7], np.eye(5)[2], atol=1e-12)


@pytest.mark.parametrize("size", SIZES)
def test_crops_are_parts_of_the_image(size):
    crop = [n // 2 for n in size]
    found = places(seeded(RandomWarp(crop_size=crop)), 300, size)
    assert list(found.shape[1:-1]) == crop
    starts = found[(slice(None), *[0] * len(size))] + torch.tensor([(n - 1) / 2 for n in size])
    torch.testing.assert_close(starts, starts.round(), atol=1e-4, rtol=0)
    for axis, n in enumerate(size):
        assert set(starts[:, axis].round().int().tolist()) == set(range(n - n // 2 + 1))
    whole = places(RandomWarp(), 1, size)[0]
    part = whole[tuple(slice(int(s), int(s) + c) for s, c in zip(starts[0].round().tolist(), crop, strict=True))]
    torch.testing.assert_close(found[0], part, atol=1e-4, rtol=0)
    assert RandomWarp(crop_size=[n + 1 for n in size])(1, size).shape[1:-1] == size


def test_shifts_leave_the_background():
    images = torch.rand(2000, 2, 3, 3) + 1
    images[:, :, 0] = 0
    moved = seeded(RandomShift(0.3))(images) - images
    assert (moved[:, :, 0] == 0).all()
    shift = moved[:, 0, 1, 0]
    torch.testing.assert_close(moved[:, :, 1:], shift.view(-1, 1, 1, 1).expand(-1, 2, 2, 3), atol=1e-6, rtol=0)
    assert shift.abs().max() <= 0.3 + 1e-6
    assert shift.std().item() == pytest.approx(0.3 / np.sqrt(3), rel=0.05)


def test_each_image_has_its_own_draw_which_the_seed_decides():
    images = torch.zeros(4, 2, 16, 16)
    noise = EachImage(Compose([RandGaussianNoise(prob=0.5, std=1.0)]))
    first = seeded(noise, 1)(images)
    assert {bool(image.any()) for image in first} == {True, False}
    assert torch.equal(seeded(noise, 1)(images), first)
    assert not torch.equal(seeded(noise, 2)(images), first)
