"""Means over networks and mirrored copies, and the files that tell how uncertain they are."""

import csv

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Activationsd, Compose, DivisiblePadd, Orientationd
from torch import nn
from transeg.metrics.uncertainty import entropy
from transeg.transforms.load import LoadVolumed
from transeg.transforms.members import (
    FillBackgroundd,
    ScanCopy,
    member_mean,
    scan_copies,
    uncertainty_output,
)

SIGMOID = Activationsd("pred", sigmoid=True)


class Edge(nn.Module):
    """Logits that grow along X, whatever the image: not equivariant."""

    def forward(self, image):
        return image[:, :1] + torch.arange(image.shape[2]).view(-1, 1, 1)


class Power(nn.Module):
    def __init__(self, factor=1.0):
        super().__init__()
        self.factor = factor

    def forward(self, image):
        return self.factor * image[:, :1]


def item_of(network, shape=(2, 4, 5, 6)):
    image = MetaTensor(torch.rand(shape, generator=torch.Generator().manual_seed(0)) - 0.5)
    return SIGMOID({"image": image, "case": "P1", "pred": network(image[None])[0]})


def simple(batch, network):
    return network(batch)


def mean_of(network, **options):
    item = item_of(network)
    return item, member_mean(True, SIGMOID, network, simple, **options)(item)


def test_copies_are_mirrored_first_and_then_differ_in_contrast():
    assert scan_copies(0, (0, 1)) == [ScanCopy()]
    copies = scan_copies(8, (0, 1))
    assert copies[:4] == [ScanCopy(axes) for axes in ((), (0,), (1,), (0, 1))]
    assert copies[4:8] == [ScanCopy(axes, 1.1) for axes in ((), (0,), (1,), (0, 1))]
    assert copies[8] == ScanCopy((), 1 / 1.1)
    assert scan_copies(3) == [ScanCopy((), gamma) for gamma in (1, 1.1, 1 / 1.1, 1.2)]


def test_a_copy_keeps_range_and_background_and_is_undone():
    values = torch.tensor([[[-1.0, 0.0, 0.5]], [[2.0, 3.0, 4.0]]])[..., None]
    image = MetaTensor(values, meta={"intensity_background": torch.tensor([0.0, 3.0]), "domain": "ct"})
    copy = ScanCopy((1,), 2.0).apply(image)
    expected = torch.tensor([[[-1.0, 0.0, 0.5]], [[2.0, 3.0, 4.0]]])[..., None].flip(2)  # ends, and the background
    torch.testing.assert_close(copy.as_tensor(), expected)
    assert copy.meta["domain"] == "ct"
    torch.testing.assert_close(ScanCopy((1,), 2.0).undo(copy.as_tensor()), values)
    middle = ScanCopy((), 2.0).apply(MetaTensor(torch.tensor([[[[0.0, 1.0, 4.0]]]])))
    torch.testing.assert_close(middle.as_tensor(), torch.tensor([[[[0.0, 0.25, 4.0]]]]))


def test_one_member_changes_nothing():
    item, found = mean_of(Power())
    assert torch.equal(found["pred"], item["pred"])
    assert torch.equal(found["prob"], item["pred"])
    assert found["members"] == 1
    assert "disagreement" not in found
    assert len(member_mean(False, SIGMOID, Power(), simple)) == 0


def test_an_ensemble_of_a_network_with_itself_is_the_network():
    item, found = mean_of(Power(), others=[Power(), Power()])
    torch.testing.assert_close(found["pred"], item["pred"])
    assert found["disagreement"].max() < 1e-6
    assert (found["members"], found["member_dice"]) == (3, 1)


def test_an_ensemble_is_the_mean_of_the_probabilities_and_disagrees_where_they_differ():
    item, found = mean_of(Power(), others=[Power(-3.0)])
    parts = [torch.sigmoid(factor * item["image"].as_tensor()[:1]) for factor in (1.0, -3.0)]
    torch.testing.assert_close(found["pred"].as_tensor(), sum(parts) / 2)
    expected = entropy(sum(parts) / 2) - (entropy(parts[0]) + entropy(parts[1])) / 2
    torch.testing.assert_close(found["disagreement"].as_tensor(), expected)
    assert found["member_dice"] == 0


def test_copies_of_an_equivariant_network_agree_and_of_another_are_averaged():
    item, found = mean_of(Power(), tta=3, mirror=(0, 1))
    torch.testing.assert_close(found["pred"], item["pred"])
    assert found["members"] == 4
    item, found = mean_of(Edge(), tta=1, mirror=(0,))
    image, ramp = item["image"].as_tensor()[:1], torch.arange(4.0).view(-1, 1, 1)
    torch.testing.assert_close(
        found["pred"].as_tensor(), (torch.sigmoid(image + ramp) + torch.sigmoid(image + ramp.flip(0))) / 2
    )
    assert found["disagreement"].max() > 0.01
    again = mean_of(Edge(), tta=1, mirror=(0,))[1]
    assert torch.equal(found["pred"], again["pred"])
    # every network sees every copy
    assert mean_of(Edge(), tta=2, mirror=(0,), others=[Power()])[1]["members"] == 6


def test_the_temperature_is_of_the_probabilities_and_not_of_the_mask():
    item, found = mean_of(Power(), temperature=2.0)
    assert torch.equal(found["pred"], item["pred"])
    torch.testing.assert_close(found["prob"].as_tensor(), torch.sigmoid(item["image"].as_tensor()[:1] / 2))


def test_the_region_of_the_report_is_that_of_the_mask_at_any_temperature(tmp_path):
    image = MetaTensor(torch.full((1, 9, 5, 5), -3.0))
    image[0, 2, 2, 2], image[0, 6, 2, 2] = 0.3, 0.5  # probabilities 0.574 and 0.622; at temperature 3, below 0.55
    for temperature in (1.0, 3.0):
        item = SIGMOID({"image": image, "case": "P1", "pred": image})
        out = tmp_path / str(temperature)
        options = {"threshold": 0.55, "temperature": temperature, "report_dir": out}
        found = member_mean(True, SIGMOID, Power(), simple, **options)(item)
        [row] = csv.DictReader((out / "uncertainty.csv").open(newline=""))
        both = torch.zeros(9, 5, 5, dtype=torch.bool)
        both[[1, 2, 3, 5, 6, 7], 1:4, 1:4] = True
        assert float(row["entropy"]) == pytest.approx(float(found["uncertainty"][0][both].mean()), rel=1e-3)


def test_probabilities_beside_a_mask_are_those_that_count():
    def segment(item):
        return {**item, "prob": torch.sigmoid(item["pred"]), "pred": (item["pred"] > 0).float()}

    image = item_of(Power())["image"]
    item = segment({"image": image, "pred": image[:1]})
    found = member_mean(True, segment, Power(), simple, others=[Power(2.0)])(item)
    expected = (torch.sigmoid(image[:1]) + torch.sigmoid(2 * image[:1])) / 2
    torch.testing.assert_close(found["pred"].as_tensor(), expected.as_tensor())


@pytest.fixture
def loaded(tmp_path):
    """A scan on an oblique grid, and its preprocessing, which pads."""
    affine = np.array([[-2.0, 0.3, 0, 9], [0.3, 1.5, 0, -4], [0, 0.2, 3, 1], [0, 0, 0, 1]])
    nib.save(nib.Nifti1Image(np.random.default_rng(0).random((5, 6, 4), np.float32), affine), tmp_path / "P1.nii.gz")
    preprocessing = Compose(
        [LoadVolumed("image"), Orientationd("image", axcodes="RAS", labels=None), DivisiblePadd("image", 4)]
    )
    return preprocessing({"image": str(tmp_path / "P1.nii.gz"), "case": "P1"}), preprocessing, affine


def test_maps_on_the_grid_of_the_scan_and_a_row_of_the_table(loaded, tmp_path):
    item, preprocessing, affine = loaded
    out, network = tmp_path / "out", Power()
    item = SIGMOID(item | {"pred": network(item["image"][None])[0]})
    found = member_mean(True, SIGMOID, network, simple, others=[Power(0.5)], report_dir=out)(item)
    uncertainty_output(preprocessing, out, True, True, several=True)(found)
    scan = nib.load(tmp_path / "P1.nii.gz")
    mean = (torch.sigmoid(torch.tensor(scan.get_fdata())) + torch.sigmoid(torch.tensor(scan.get_fdata()) / 2)) / 2
    for name, expected in {"prob": mean, "uncertainty": entropy(mean[None])[0]}.items():
        image = nib.load(out / f"P1_{name}.nii.gz")
        np.testing.assert_allclose(image.affine, affine, atol=1e-6)
        np.testing.assert_allclose(image.get_fdata(), expected.numpy(), atol=1e-5)
        assert image.header["descrip"].item().decode() == f"transeg {name}"
    assert nib.load(out / "P1_disagreement.nii.gz").shape == (5, 6, 4)
    [row] = csv.DictReader((out / "uncertainty.csv").open(newline=""))
    assert (row["case"], row["members"], row["member_dice"]) == ("P1", "2", "1")
    assert 0.9 < float(row["entropy"]) < 1
    assert 0 < float(row["disagreement"]) < 0.1


def test_a_single_member_leaves_its_columns_empty_and_writes_what_is_asked_for(loaded, tmp_path):
    item, preprocessing, _ = loaded
    out = tmp_path / "out"
    item = SIGMOID(item | {"pred": item["image"].clone()})
    found = member_mean(True, SIGMOID, Power(), simple, report_dir=out)(item)
    uncertainty_output(preprocessing, out, save_uncertainty=True)(found)
    assert {path.name for path in out.glob("[!.]*")} == {"P1_uncertainty.nii.gz", "uncertainty.csv"}
    [row] = csv.DictReader((out / "uncertainty.csv").open(newline=""))
    assert (row["members"], row["disagreement"], row["member_dice"]) == ("1", "", "")
    assert len(uncertainty_output(preprocessing, out)) == 0


def test_what_no_structure_has_is_background():
    several = MetaTensor(torch.tensor([[0.5, 0.0], [0.2, 0.0], [0.3, 0.0]]))
    filled = FillBackgroundd("prob")({"prob": several})["prob"]
    torch.testing.assert_close(filled.as_tensor(), torch.tensor([[0.5, 1.0], [0.2, 0.0], [0.3, 0.0]]))
    torch.testing.assert_close(several.as_tensor()[0], torch.tensor([0.5, 0.0]))
    only = MetaTensor(torch.tensor([[0.2, 0.0]]))
    assert FillBackgroundd("prob")({"prob": only})["prob"] is only
