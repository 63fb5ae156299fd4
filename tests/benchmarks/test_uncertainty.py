"""Scores of masks on disk, and how well a table orders them."""

import csv

import nibabel as nib
import numpy as np
import pytest

from benchmarks.uncertainty import case_dice, order


def test_dice_of_the_structures_of_a_mask_on_disk(tmp_path):
    label, mask = np.zeros((2, 6, 4, 3))
    label[:2], label[4] = 500, 850
    mask[:1], mask[5, 0, 0] = 2, 1
    for name, data in {"P1": np.ones_like(label), "P1_label": label, "P1_seg": mask}.items():
        nib.save(nib.Nifti1Image(data.astype(np.float32), np.eye(4)), tmp_path / f"{name}.nii.gz")
    item = {"case": "P1", "image": str(tmp_path / "P1.nii.gz"), "label": str(tmp_path / "P1_label.nii.gz")}
    recipe = {"labels": ["background", "a", "b"], "label_values": {"background": [0, 850], "a": [1], "b": [500]}}
    assert case_dice(tmp_path, item, recipe) == pytest.approx((0 + 2 / 3) / 2)


def test_order_of_cases(tmp_path):
    dices, entropies = [0.9, 0.1, 0.5, 0.8], [0.1, 0.4, 0.3, 0.2]
    with (tmp_path / "uncertainty.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["case", "entropy", "disagreement", "member_dice"])
        writer.writerows([k, entropy, "", 1 - d] for k, (entropy, d) in enumerate(zip(entropies, dices, strict=True)))
    found = order(tmp_path, [{"case": str(k)} for k in range(4)], dices)
    assert found.keys() == {"entropy", "member_dice"}
    assert found["entropy"]["correlation"] == 1
    assert found["member_dice"]["correlation"] == -1
    assert found["entropy"]["values"] == entropies
