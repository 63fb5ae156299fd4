import numpy as np
from transeg.methods.genseg.slices import BrainHalfSlices, half_slices


def test_half_slices_by_domain():
    image, label = np.zeros((2, 20, 10, 4), np.float32), np.zeros((20, 10, 4))
    image[:, :, :, :3] = 1
    image[:, 10:, 3:, 2] = 0  # 30 % of the right half
    label[0, 0, 0] = 1  # 1 % of the left half
    label[:2, 0, 1] = 1
    slices = half_slices(image, label)
    assert [(item["z"], item["side"]) for item in slices.fields] == [
        (0, "right"),
        (1, "left"),
        (1, "right"),
        (2, "left"),
        (2, "right"),
    ]
    assert slices.dropped == {"little brain": 2, "small tumour": 1}
    assert slices.images.shape == (5, 2, 10, 10)
    assert slices.labels.sum(axis=(1, 2)).tolist() == [0, 2, 0, 0, 0]
    assert half_slices(image, label, min_brain=0.3).dropped["little brain"] == 3
    assert half_slices(image, label, min_tumour=0.02).dropped["small tumour"] == 2


def test_half_slices_without_label_are_sorted_by_what_is_sure():
    images = np.zeros((4, 2, 10, 20), np.float16)
    images[:, 0, :, 10:] = 0.5  # 100 pixels of brain
    images[0, :, 0, 10] = 0, 0.3  # brain in the other channel
    probability = np.full((4, 10, 20), 0.05)
    probability[0, 3, 10:12] = 0.6  # 2 % of the brain
    probability[1, 3, 10] = 0.6  # 1 %
    probability[2, 3, 10] = 0.2
    shows, free = BrainHalfSlices().assign_domain(images, probability)
    assert shows.tolist() == [True, False, False, False]
    assert free.tolist() == [False, False, False, True]
    assert BrainHalfSlices(min_tumour=0.02).assign_domain(images, probability)[0].sum() == 0
