import numpy as np
import pytest
from transeg.methods.cardiac.recipe import HEART
from transeg.methods.cardiac.volumes import CardiacVolumes

from data_prep.phantoms.heart import heart_phantom, write_heart


@pytest.mark.parametrize("modality", ["ct", "mr"])
def test_a_scan_becomes_a_stack_of_one_volume(tmp_path, modality):
    write_heart(heart_phantom(2, modality, (48, 48, 40), 4.0), tmp_path, 0)
    [image], [label] = tmp_path.rglob("*_image.nii.gz"), tmp_path.rglob("*_label.nii.gz")
    crop = CardiacVolumes(HEART | {"pixdim": 4.0, "image_size": (40, 40, 32)})
    whole = crop({"image": str(image), "label": str(label)})
    assert whole.images.shape == (1, 1, 40, 40, 32)
    assert whole.labels.shape == (1, 40, 40, 32)
    assert (whole.images.dtype, whole.labels.dtype) == (np.float16, np.uint8)
    assert set(np.unique(whole.labels)) == set(range(6))
    assert whole.fields == [{"domain": modality}]
    blood, muscle = (whole.images[0, 0][whole.labels[0] == region].mean() for region in (3, 1))
    assert blood > muscle + 0.2
    bare = crop({"image": str(image)})
    assert bare.labels is None
    assert bare.images.shape == whole.images.shape
