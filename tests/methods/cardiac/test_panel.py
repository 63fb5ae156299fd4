import numpy as np
import pytest
import torch
from transeg.methods.cardiac.objective import CardiacTranslation, Labelled
from transeg.methods.cardiac.panel import PLANES, CardiacPanel, orthogonal_slices
from transeg.visual.panel import panel
from transeg.visual.tiles import LABEL_COLOURS, label_overlay


def coloured(picture):
    return np.ptp(picture.astype(int), axis=-1) > 40


@pytest.mark.parametrize("size", [(20, 30), (20, 30, 6)])
def test_a_row_of_eight_and_empty_places_in_a_phase_without_translations(size):
    image = torch.zeros(2, 1, *size)
    label = torch.zeros(2, 1, *size, dtype=torch.long)
    label[:, :, 4:10, 5:12] = 3
    known = Labelled(torch.arange(2), label)
    real = CardiacTranslation(image, image, label, label, known, known)
    whole = CardiacTranslation(
        image, image, label, label, known, known, x_ab=image, x_ba=image, x_aba=image, x_bab=image
    )
    one, two = CardiacPanel()({"translation": whole}), CardiacPanel(rows=2)({"translation": whole})
    assert one.dtype == np.uint8
    assert two.shape[0] > one.shape[0]
    assert one.shape[1] == two.shape[1]
    width = one.shape[1] // 8
    colours = [coloured(one[:, k * width : (k + 1) * width]).any() for k in range(8)]
    assert colours == [False, False, False, True] * 2
    empty = CardiacPanel()({"translation": real})
    assert empty.shape == one.shape
    assert (empty[:, width : 3 * width] != one[:, width : 3 * width]).any()


def test_each_region_has_its_colour():
    label = np.arange(6)[None]
    assert (label_overlay(np.zeros((1, 1, 3), np.uint8), np.array([[7]])) == np.round(0.55 * LABEL_COLOURS[1])).all()
    picture = label_overlay(np.zeros((1, 6, 3), np.uint8), label)
    assert not picture[0, 0].any()
    assert (picture[0, 1:] == np.round(0.55 * LABEL_COLOURS)).all()


def test_three_slices_through_the_middle():
    volume = np.zeros((8, 12, 6))
    volume[:, :, 3] = 1  # the axial slice
    volume[6:] = 2  # right, which the axial and the coronal one show on the left
    label = np.zeros(volume.shape, int)
    label[4, 6, 5] = 1  # up, in the coronal and the sagittal one
    axial, coronal, sagittal = (tile.pixels for tile in orthogonal_slices(volume, label, limits=(0.0, 2.0)))
    assert axial.shape == coronal.shape == sagittal.shape == (12, 12, 3)
    assert (axial[:, 4:10] == 128).all()
    assert (axial[:, 2:4] == 255).all()
    assert not axial[:, :2].any()
    assert (coronal[3:9, 2:4] == 255).all()
    assert [list(map(tuple, np.argwhere(coloured(plane)))) for plane in (axial, coronal, sagittal)] == [
        [],
        [(3, 5)],
        [(3, 5)],
    ]
    row = orthogonal_slices(volume)
    assert panel([row], PLANES).dtype == np.uint8
