import pytest
import torch
from transeg.methods.genseg.baselines import AutoencodingObjective, MeanTeacherObjective
from transeg.methods.genseg.networks import BaselineNet
from transeg.objectives.supervised import SegmentationObjective


@pytest.fixture
def batch():
    torch.manual_seed(0)
    return {
        "image": torch.rand(2, 1, 24, 24),
        "absence": torch.rand(2, 1, 24, 24),
        "label": (torch.rand(2, 1, 24, 24) > 0.7).float(),
        "labelled": torch.tensor([False, True]),
    }


def nets(**options):
    torch.manual_seed(1)
    generator = BaselineNet(in_channels=1, width=4, levels=3, **options)
    torch.manual_seed(2)
    return {"generator": generator, "teacher": BaselineNet(in_channels=1, width=4, levels=3, **options)}


@pytest.mark.parametrize(
    ("objective", "terms"),
    [
        (SegmentationObjective(), {"segmentation"}),
        (AutoencodingObjective(), {"segmentation", "reconstruction"}),
        (MeanTeacherObjective(), {"segmentation", "consistency"}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_all_segment_the_labelled_image_alone(objective, terms, batch):
    networks = nets(reconstruct=True)
    t = objective.forward(networks, batch)
    torch.testing.assert_close(t.seg, networks["generator"](batch["image"][1:]))
    torch.testing.assert_close(t.y, batch["label"][1:])
    assert set(objective.generators(networks, t)) == terms
    batch["labelled"] = torch.tensor([False, False])
    assert objective.generators(networks, objective.forward(networks, batch))["segmentation"].item() == 0


def test_autoencoder_reconstructs_both_domains(batch):
    networks = nets(reconstruct=True)
    objective = AutoencodingObjective()
    t = objective.forward(networks, batch)
    expected = (t.x_pp - batch["image"]).abs().mean() + (t.x_aa - batch["absence"]).abs().mean()
    torch.testing.assert_close(objective.generators(networks, t)["reconstruction"], expected)


def test_teacher_gets_no_gradient(batch):
    networks = nets()
    objective = MeanTeacherObjective()
    objective.generators(networks, objective.forward(networks, batch))["consistency"].backward()
    assert all(p.grad is None for p in networks["teacher"].parameters())
    assert any(p.grad is not None for p in networks["generator"].parameters())


@pytest.mark.parametrize("kind", [SegmentationObjective, AutoencodingObjective, MeanTeacherObjective])
def test_absence_images_can_count_as_empty_masks(kind, batch):
    networks = nets(reconstruct=True)
    t = kind(segment_absence=True).forward(networks, batch)
    images = torch.cat([batch["image"][1:], batch["absence"]])
    torch.testing.assert_close(t.seg, networks["generator"](images))
    assert t.y[1:].sum() == 0
