import nibabel as nib
import numpy as np
from transeg.evaluation.shapes import MeanShapes

RAS, LPS = np.diag([1.0, 1, 1, 1]), np.diag([-1.0, -1, 1, 1])


def test_the_shape_of_the_others_in_any_orientation_and_size():
    """Two patients have the structure on the right, in files of other sizes and orientations; the third on the left."""
    shapes = MeanShapes(2)
    for patient, affine, size in (("a", RAS, 64), ("b", LPS, 128), ("c", RAS, 64)):
        volume = np.zeros((size, 64, 32), np.uint8)
        right = slice(size // 2, None) if affine is RAS else slice(None, size // 2)
        volume[right if patient != "c" else slice(None, size // 2)] = 1
        shapes.add(patient, volume, affine)
    assert shapes.say_something()
    found = shapes.predict("c", (32, 48, 20), LPS)
    assert found.shape == (32, 48, 20)
    assert found[:16].all()
    assert not found[16:].any()
    along_z_first = nib.orientations.inv_ornt_aff(np.array([[2, 1], [0, 1], [1, 1]]), (1, 1, 1))
    turned = shapes.predict("c", (20, 32, 48), along_z_first)
    assert turned.shape == (20, 32, 48)
    assert not shapes.predict("a", (64, 64, 32), RAS).any(), "one of the two others only, so most say background"


def test_lesions_that_lie_anywhere_have_no_mean_shape():
    shapes = MeanShapes(2)
    for k in range(4):
        volume = np.zeros((16, 16, 16), np.uint8)
        volume[4 * k : 4 * k + 2] = 1
        shapes.add(str(k), volume, RAS)
    assert not shapes.say_something()


def test_few_patients_have_none():
    shapes = MeanShapes(2)
    for patient in "ab":
        shapes.add(patient, np.ones((4, 4, 4), np.uint8), RAS)
    assert not shapes.say_something()
