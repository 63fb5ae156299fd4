"""A batch is augmented as a whole, labels like their images."""

import pytest
import torch
from monai.transforms import ScaleIntensityRange
from transeg.engines.augmentation import AugmentBatch
from transeg.transforms.batch import RandomShift, RandomWarp

WARP = {"rotate": 0.2, "zoom": 0.1, "mirror": [0], "translate": 0.1, "spline_std": 1.0}


def blobs(count, size):
    axes = torch.meshgrid(*[torch.linspace(-1, 1, n) for n in size], indexing="ij")
    centres = torch.linspace(-0.3, 0.3, count)
    distance = torch.stack([sum((axis - c) ** 2 for axis in axes) for c in centres]).sqrt()
    return (distance < 0.5).float()[:, None]


@pytest.mark.parametrize("size", [(32, 40), (16, 24, 20)])
def test_labels_follow_their_images(size):
    mask = blobs(3, size)
    image = mask.repeat(1, 2, *[1] * len(size))
    batch = {"image": image, "label": mask, "absence": image, "labelled": torch.ones(3)}
    augment = AugmentBatch({"image": "label", "absence": None}, RandomWarp(**WARP))
    augment.set_random_state(0)
    out = augment(batch, "cpu")
    assert out.keys() == batch.keys()
    assert out["label"].unique().tolist() == [0, 1]
    assert not torch.equal(out["label"], mask)
    sure = (out["image"][:, :1] - 0.5).abs() > 0.3  # not at an edge
    assert sure.float().mean() > 0.9
    assert torch.equal(out["image"][:, :1][sure] > 0.5, out["label"][sure] > 0.5)
    assert not torch.allclose(out["absence"], out["image"])  # moved otherwise than the presence
    assert torch.equal(batch["label"], mask)  # what came in is as it was


def test_classes_stay_classes():
    label = 3 * blobs(2, (20, 20)) + 1
    out = AugmentBatch({"a": "a_label"}, RandomWarp(**WARP))({"a": label.clone(), "a_label": label}, "cpu")
    assert set(out["a_label"].unique().tolist()) <= {1.0, 4.0}


def test_steps_see_images_alone_and_what_a_batch_lacks_is_left_out():
    augment = AugmentBatch({"image": "label", "absence": None}, steps=[RandomShift(0.5), lambda x: x.clamp(-1, 1)])
    batch = {"image": torch.rand(4, 1, 8, 8) + 0.1, "label": torch.ones(4, 1, 8, 8)}
    out = augment(batch, "cpu")
    assert "absence" not in out
    assert torch.equal(out["label"], batch["label"])
    assert out["image"].max() <= 1
    assert not torch.allclose(out["image"], batch["image"])


def test_a_seed_reproduces_all_parts():
    augment = AugmentBatch({"image": None}, RandomWarp(**WARP), [RandomShift(0.5), RandomShift(0.5)])
    batch = {"image": torch.rand(4, 1, 16, 16)}
    outs = []
    for seed in (1, 1, 2):
        augment.set_random_state(seed=seed)
        outs.append(augment(batch, "cpu")["image"])
    assert torch.equal(outs[0], outs[1])
    assert not torch.allclose(outs[0], outs[2])
    first, second = augment.steps
    assert first.R.uniform() != second.R.uniform()


def test_steps_with_metadata_leave_plain_tensors():
    batch = {"image": torch.rand(2, 1, 8, 8)}
    out = AugmentBatch({"image": None}, steps=[ScaleIntensityRange(-1, 1, -1, 1, clip=True)])(batch, "cpu")
    assert type(out["image"]) is torch.Tensor
