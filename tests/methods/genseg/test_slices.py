import numpy as np
from transeg.methods.genseg.slices import LesionSlices, cut_slices
from transeg.transforms.preprocessing import Scan

from tests.recipes import BRAIN


def test_half_slices_by_domain():
    image, label = np.zeros((2, 20, 10, 4), np.float32), np.zeros((20, 10, 4))
    image[:, :, :, :3] = 1
    image[:, 10:, 3:, 2] = 0  # 30 % of the right half
    label[0, 0, 0] = 1  # 1 % of the left half
    label[:2, 0, 1] = 1
    scan = Scan(image, (image != 0).any(0), label, None, (2.0, 2.0, 2.0))
    slices = cut_slices(scan, halves=True, min_foreground=0.25)
    assert [(item["z"], item["side"]) for item in slices.fields] == [
        (0, "right"),
        (1, "left"),
        (1, "right"),
        (2, "left"),
        (2, "right"),
    ]
    assert slices.dropped == {"little foreground": 2, "small lesion": 1}
    assert slices.images.shape == (5, 2, 10, 10)
    assert slices.labels.sum(axis=(1, 2)).tolist() == [0, 2, 0, 0, 0]
    assert cut_slices(scan, True, min_foreground=0.3).dropped["little foreground"] == 3
    assert cut_slices(scan, True, 0.25, min_lesion=0.02).dropped["small lesion"] == 2


def test_half_slices_without_label_are_sorted_by_what_is_sure():
    images = np.zeros((4, 2, 10, 20), np.float16)
    images[:, 0, :, 10:] = 0.5  # 100 pixels of brain
    images[0, :, 0, 10] = 0, 0.3  # brain in the other channel
    probability = np.full((4, 10, 20), 0.05)
    probability[0, 3, 10:12] = 0.6  # 2 % of the brain
    probability[1, 3, 10] = 0.6  # 1 %
    probability[2, 3, 10] = 0.2
    shows, free = LesionSlices(BRAIN).assign_domain(images, probability)
    assert shows.tolist() == [True, False, False, False]
    assert free.tolist() == [False, False, False, True]
    assert LesionSlices(BRAIN | {"min_lesion": 0.02}).assign_domain(images, probability)[0].sum() == 0


def test_whole_slices_and_image_level_labels():
    image = np.ones((1, 8, 8, 4), np.float32)
    present = np.array([False, True, True, False])
    slices = cut_slices(Scan(image, image[0] > 0, None, present, (2.0, 2.0, 2.0)))
    assert slices.images.shape == (4, 1, 8, 8)
    assert slices.labels is None
    assert slices.present.tolist() == present.tolist()
    assert slices.fields == [{"z": z} for z in range(4)]
    halves = cut_slices(Scan(image, image[0] > 0, None, present, (2.0, 2.0, 2.0)), halves=True)
    assert halves.present.tolist() == [False, False, True, True, True, True, False, False]
    unknown = cut_slices(Scan(image, image[0] > 0, None, None, (2.0, 2.0, 2.0)))
    assert not unknown.present.any()
