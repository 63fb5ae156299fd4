import gzip
import json
import struct

import numpy as np
import pytest
from transeg.data.datalist import read_datalist
from transeg.errors import UserError

from data_prep import cluttered_mnist
from data_prep.cluttered_mnist import Variant, add_clutter, add_digits, choose_labelled, prepare, read_idx


def write_idx(path, array):
    content = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()
    with (gzip.open if path.suffix == ".gz" else open)(path, "wb") as file:
        file.write(content)


@pytest.fixture(scope="module")
def mnist(tmp_path_factory):
    """Digits that are plain squares, in torchvision's layout; training ones brightness 200, test ones 100."""
    folder = tmp_path_factory.mktemp("mnist")
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for kind, count, brightness in (("train", 700, 200), ("t10k", 60, 100)):
        digits = np.zeros((count, 28, 28), np.uint8)
        digits[:, 4:24, 4:24] = brightness
        write_idx(raw / f"{kind}-images-idx3-ubyte.gz", digits)
        write_idx(raw / f"{kind}-labels-idx1-ubyte", (np.arange(count) % 10).astype(np.uint8))
    return folder


@pytest.fixture(scope="module")
def prepared(mnist, tmp_path_factory):
    return prepare(mnist, tmp_path_factory.mktemp("out"), train_images=150, test_images=20, labelled_count=5)


def test_lists_and_labels(prepared):
    lists = {
        key: read_datalist(prepared, key) for key in ("training", "training_absence", "validation", "test_absence")
    }
    assert {key: len(items) for key, items in lists.items()} == {
        "training": 150,
        "training_absence": 150,
        "validation": 500,
        "test_absence": 20,
    }
    assert [item["digit"] for item in lists["training"] if "label" in item] == [9] * 5
    assert all("label" in item for item in lists["validation"])
    content = json.loads(prepared.read_text())
    assert content["preparation"]["labelled"] == 5
    assert content["recipe"] == {
        "method": "genseg",
        "channels": ["image"],
        "image_size": [48, 48],
        "pixdim": None,
        "halves": False,
        "labels": ["background", "digit"],
        "pieces": 8,
    }


def test_images_show_the_digit_under_the_mask_and_clutter_of_the_same_fold(prepared):
    folder = prepared.parent
    images, masks = (np.load(folder / kind / "training.npy") for kind in ("images", "labels"))
    assert images.shape == (150, 1, 48, 48)
    assert images.dtype == np.float16
    assert masks.sum(axis=(1, 2)).tolist() == [400] * 150
    np.testing.assert_allclose(images[:, 0][masks > 0], 200 / 255, atol=1e-3)
    corners = {tuple(np.argwhere(mask)[0]) for mask in masks}
    assert len(corners) > 100
    background = images[images < 0.5].astype(float)
    assert abs(background.mean()) < 1e-3
    assert abs(background.std() - 0.01) < 1e-3
    test = np.load(folder / "images" / "test_absence.npy")
    assert 0.3 < test.max() < 0.4
    assert 0.05 < (test > 0.2).mean() < 0.35  # eight pieces of 100 of 2,304 pixels, partly empty or overlapping


def test_same_seed_same_bytes_other_seed_other(mnist, prepared, tmp_path):
    options = {"train_images": 150, "test_images": 20, "labelled_count": 5}
    again = prepare(mnist, tmp_path / "a", **options)
    other = prepare(mnist, tmp_path / "b", **options, seed=1)
    stack = "images/training.npy"
    first = (prepared.parent / stack).read_bytes()
    assert (again.parent / stack).read_bytes() == first
    assert (other.parent / stack).read_bytes() != first
    assert again.read_text() == prepared.read_text()


def test_prepared_again_in_place_but_not_over_another_variant(mnist, tmp_path, capsys):
    few = {"train_images": 20, "test_images": 1, "labelled_digit": -1}
    prepare(mnist, tmp_path, **few)
    path = prepare(mnist, tmp_path, **few | {"train_images": 10})
    assert "replacing the data set in" in capsys.readouterr().out
    assert len(np.load(tmp_path / "images/training.npy")) == 10
    before = path.read_text()
    with pytest.raises(UserError, match="holds the data set 'Cluttered MNIST, simple48' for genseg; delete it"):
        prepare(mnist, tmp_path, Variant.hard48, **few)
    assert path.read_text() == before


def test_chunks_do_not_tear_images_from_masks(mnist, tmp_path, monkeypatch):
    monkeypatch.setattr(cluttered_mnist, "CHUNK", 7)
    prepare(mnist, tmp_path, train_images=20, test_images=1, labelled_digit=-1)
    images, masks = (np.load(tmp_path / kind / "training.npy") for kind in ("images", "labels"))
    assert masks.any(axis=(1, 2)).all()
    np.testing.assert_allclose(images[:, 0][masks > 0], 200 / 255, atol=1e-3)


def test_clutter_covers_but_the_brighter_stays_where_the_sum_saturates():
    digits = np.full((1, 28, 28), 153, np.uint8)  # 0.6
    rng = np.random.default_rng(0)
    dark, bright = np.full((1, 10, 10), 0.2, np.float32), np.full((1, 10, 10), 0.9, np.float32)
    add_clutter(dark, 1, digits, rng)
    add_clutter(bright, 1, digits, rng)
    np.testing.assert_allclose(dark, 0.6)
    np.testing.assert_allclose(bright, 0.9)


def test_mask_is_the_bright_half_of_the_digit():
    digits = np.zeros((1, 28, 28), np.uint8)
    digits[0, 0, :3] = 127, 128, 255
    images = np.full((1, 28, 28), -0.5, np.float32)
    masks = add_digits(images, digits, np.random.default_rng(0))
    assert masks[0, 0, :4].tolist() == [0, 1, 1, 0]
    np.testing.assert_allclose(images[0, 0, :4], [127 / 255, 128 / 255, 1, -0.5])


def test_smaller_labelled_sets_are_nested_and_too_large_ones_refused():
    names = np.arange(100) % 10
    assert choose_labelled(names, 3, 9, 0) < choose_labelled(names, 6, 9, 0)
    with pytest.raises(ValueError, match=r"11 labelled images requested, but 10 of 100 .*--labelled-digit -1"):
        choose_labelled(names, 11, 9, 0)
    assert len(choose_labelled(names, 11, -1, 0)) == 11


def test_missing_and_damaged_files_are_named(mnist, tmp_path):
    with pytest.raises(FileNotFoundError, match="no train-images"):
        read_idx(tmp_path, "train-images")
    whole = (mnist / "MNIST/raw/train-images-idx3-ubyte.gz").read_bytes()
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(whole[:500])
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(b"hello world")
    for kind in ("train-images", "train-labels"):
        with pytest.raises(ValueError, match=rf"{kind}.*damaged"):
            read_idx(tmp_path, kind)
    with pytest.raises(ValueError, match=r"--train-images must lie between 1 and 200, not 201"):
        prepare(mnist, tmp_path, train_images=201, test_images=1)
