import os
import pickle

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset
from transeg.data.datasets import UnpairedDataset
from transeg.data.samplers import UnpairedBatchSampler
from transeg.transforms.slices import LoadSliced


@pytest.fixture
def stacks(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {
        "image": rng.normal(size=(5, 2, 4, 3)).astype(np.float16),
        "bytes": rng.integers(0, 256, (5, 1, 4, 3)).astype(np.uint8),
        "label": rng.integers(0, 3, (5, 4, 3)).astype(np.uint8),
    }
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
    return arrays, {name: str(tmp_path / f"{name}.npy") for name in arrays}


def test_one_slice_of_image_and_label(stacks):
    arrays, files = stacks
    item = LoadSliced()({"image": files["image"], "label": files["label"], "index": 3, "case": "c"})
    assert item["image"].dtype == item["label"].dtype == torch.float32
    np.testing.assert_array_equal(item["image"], arrays["image"][3])
    np.testing.assert_array_equal(item["label"][0], arrays["label"][3] > 0)
    assert item["labelled"] is True
    assert item["case"] == "c"


def test_missing_label_is_zeros_and_unlabelled(stacks):
    item = LoadSliced()({"image": stacks[1]["image"], "index": 0})
    assert item["labelled"] is False
    assert item["label"].shape == (1, 4, 3)
    assert not item["label"].any()


def test_bytes_are_scaled_to_one(stacks):
    arrays, files = stacks
    image = LoadSliced(label_keys=())({"image": files["bytes"], "index": 1})["image"]
    np.testing.assert_allclose(image, arrays["bytes"][1] / 255, rtol=1e-6)


def test_whole_volumes_keep_the_classes_of_their_label(tmp_path):
    image, label = np.arange(24.0).reshape(1, 1, 2, 3, 4), np.arange(24).reshape(1, 2, 3, 4) % 6
    np.save(tmp_path / "image.npy", image.astype(np.float16))
    np.save(tmp_path / "label.npy", label.astype(np.uint8))
    item = {"image": str(tmp_path / "image.npy"), "label": str(tmp_path / "label.npy"), "index": 0}
    loaded = LoadSliced(spatial_dims=3, classes=True)(item)
    np.testing.assert_array_equal(loaded["image"], image[0])
    np.testing.assert_array_equal(loaded["label"], label)
    assert loaded["label"].dtype == torch.float32
    with pytest.raises(ValueError, match="5 axes instead of 4"):
        LoadSliced()(item)


def test_batches_of_either_loader_have_the_agreed_form(stacks):
    _, files = stacks
    items = [{"image": files["image"], "index": i} for i in range(5)]
    items[2]["label"] = files["label"]
    data = UnpairedDataset(items, items, LoadSliced())
    batch = next(iter(DataLoader(data, batch_sampler=UnpairedBatchSampler(data, 4, labelled_per_batch=1))))
    assert batch["image"].shape == batch["absence"].shape == (4, 2, 4, 3)
    assert batch["label"].shape == (4, 1, 4, 3)
    assert batch["labelled"].dtype == torch.bool
    assert batch["labelled"][0]
    validation = next(iter(DataLoader(Dataset(items, LoadSliced()), batch_size=5)))
    assert validation["labelled"].tolist() == [False, False, True, False, False]


def test_rewritten_stack_is_read_anew_and_the_transform_pickles(stacks):
    _, files = stacks
    load = pickle.loads(pickle.dumps(LoadSliced()))
    assert load({"image": files["image"], "index": 0})["image"].abs().sum() > 0
    np.save(files["image"], np.zeros((5, 2, 4, 3), np.float16))
    os.utime(files["image"], ns=(1, 1))
    assert load({"image": files["image"], "index": 0})["image"].abs().sum() == 0


def test_bad_stacks_are_named(stacks, tmp_path):
    _, files = stacks
    with pytest.raises(ValueError, match=r"image\.npy: no slice 5, the stack holds 5"):
        LoadSliced()({"image": files["image"], "index": 5})
    with pytest.raises(ValueError, match=r"label\.npy: 3 axes instead of 4"):
        LoadSliced()({"image": files["label"], "index": 0})
    whole = (tmp_path / "image.npy").read_bytes()
    (tmp_path / "truncated.npy").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"truncated\.npy: not a whole \.npy file"):
        LoadSliced()({"image": str(tmp_path / "truncated.npy"), "index": 0})
