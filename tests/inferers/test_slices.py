"""Slices are predicted with the weights of inference, if there are any."""

import numpy as np
import torch
from torch import nn
from transeg.inferers.slices import SliceProbabilities


def test_probabilities_of_slices(tmp_path):
    network, trained = nn.Conv2d(1, 2, 1), nn.Conv2d(1, 2, 1)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    items = [{"value": float(value)} for value in range(5)]
    path = tmp_path / "model.pt"

    def load(item):
        return {"image": torch.full((1, 3, 4), item["value"])}

    predict = SliceProbabilities(network, path, load, batch_size=2)
    assert predict(items) is None
    torch.save(trained.state_dict(), path)
    images = torch.stack([load(item)["image"] for item in items])
    expected = trained(images).sigmoid()[:, 0].detach().numpy()
    np.testing.assert_allclose(predict(items), expected, rtol=1e-6)
    own = SliceProbabilities(network, path, load, lambda images, output: images * 0 + output[:, 1:])
    np.testing.assert_allclose(own(items), trained(images)[:, 1].detach().numpy(), rtol=1e-5)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
