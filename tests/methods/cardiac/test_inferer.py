import pytest
import torch
from monai.data import DataLoader, MetaTensor
from transeg.methods.cardiac.inferer import DomainInferer
from transeg.methods.cardiac.networks import CardiacNet


@torch.no_grad()
def test_each_volume_is_segmented_as_its_modality():
    network = CardiacNet(3, width=2, levels=1).eval()
    volumes = [MetaTensor(torch.rand(1, 8, 8, 8), meta={"domain": name}) for name in ("mr", "ct")]
    for inferer in (DomainInferer(), DomainInferer(tile=4, most_voxels=1)):
        batches = [*(volume[None] for volume in volumes), *DataLoader(volumes, batch_size=1)]
        for volume, modality in zip(batches, ["mr", "ct"] * 2, strict=True):
            expected = network.segment(volume.as_tensor(), modality)
            torch.testing.assert_close(inferer(volume, network).as_tensor(), expected, rtol=1e-4, atol=1e-5)
            translated = inferer(volume, network.translate, "ct").as_tensor()
            expected = network.translate(volume.as_tensor(), "ct")
            torch.testing.assert_close(translated, expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match=r"got \['ct', 'mr'\]"):
        inferer(next(iter(DataLoader(volumes, batch_size=2))), network)
    with pytest.raises(ValueError, match=r"got \[\]"):
        inferer(volumes[0].as_tensor()[None], network)
