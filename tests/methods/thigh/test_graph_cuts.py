import json

import numpy as np
import pytest
import torch
from monai.inferers import SliceInferer
from transeg.methods.thigh.graph_cuts import GraphCutLearner, load_graph_cut
from transeg.metrics.overlap import dice

from data_prep.phantoms.thigh import thigh_phantom, write_thigh
from tests.recipes import thigh_preprocessing

SIZE = (96, 48)


@pytest.fixture(scope="module")
def items(tmp_path_factory):
    folder, found = tmp_path_factory.mktemp("raw"), []
    for case in range(3):
        write_thigh(thigh_phantom(case, (*SIZE, 8), (4.0, 4.0, 7.0), "moderate", difficulty=0.1), folder, case)
        stem = folder / "moderate" / f"Phantom_{case:03d}"
        found.append({"image": f"{stem}.nii.gz", "label": f"{stem}_mask.nii.gz", "case": stem.name})
    return found


class Darker(torch.nn.Module):
    """A translation by one weight."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(1.0))

    def forward(self, x):
        return (x + 1) * self.scale - 1


@pytest.mark.parametrize("shape_prior", [False, True])
def test_what_is_learned_segments(items, shape_prior, tmp_path):
    preprocessing = thigh_preprocessing("label", pixdim=[4.0, 4.0, -1.0], image_size=SIZE)
    torch.save({"scale": torch.tensor(0.9)}, tmp_path / "model.pt")
    weight = {"shape_weight": 0.5 * shape_prior}
    grid = [{"smoothness": 0.05, "sigma": 1.0, **weight}, {"smoothness": 0.5, "sigma": 2.0, **weight}]
    inferer, network = SliceInferer(spatial_dim=2, roi_size=SIZE, sw_batch_size=8), Darker()
    learner = GraphCutLearner(
        items, preprocessing, network, tmp_path / "model.pt", inferer, tmp_path / "cut", shape_prior, grid
    )
    best = learner.run()
    assert network.scale.item() == pytest.approx(0.9)
    assert json.loads((tmp_path / "cut" / "parameters.json").read_text())["smoothness"] == best.smoothness
    assert len((tmp_path / "cut" / "search.csv").read_text().splitlines()) == 3
    assert (tmp_path / "cut" / "atlas.npz").is_file() == shape_prior

    item = preprocessing(items[0])
    item["translation"] = network(item["image"]).detach()
    segment = load_graph_cut(tmp_path / "cut", ["image", "translation"], ["source_mask", "pred"])
    found = segment({**item, "case": items[0]["case"]})
    muscle = item["label"][0].numpy() > 0
    assert ("shape" in found) == shape_prior
    assert dice(found["pred"][0].numpy() > 0, muscle) > 0.7
    assert np.any(found["source_mask"].numpy())


def test_without_masks_or_without_learning_it_says_so(items, tmp_path):
    unlabelled = [{key: item[key] for key in ("image", "case")} for item in items]
    with pytest.raises(ValueError, match="0 of 3 scans have a mask"):
        GraphCutLearner(unlabelled, None, None, "none", None, tmp_path).run()
    with pytest.raises(FileNotFoundError, match="learn the graph cut first"):
        load_graph_cut(tmp_path, "image", "pred")
