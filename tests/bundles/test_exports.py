"""The network of every bundle fits its metadata and gives the same out of TorchScript and ONNX."""

import onnxruntime
import pytest
import torch
from monai.bundle import ConfigParser, ckpt_export, onnx_export, verify_net_in_out

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def files(bundle):
    return {
        "net_id": "network_def",
        "config_file": str(bundle / "configs/inference.json"),
        "meta_file": str(bundle / "configs/metadata.json"),
    }


@pytest.fixture(scope="module")
def exported(bundle, files, tmp_path_factory):
    """The network with the released weights, arguments of an export, an image of the metadata's smallest size."""
    torch.manual_seed(0)
    parser = ConfigParser()
    parser.read_config(files["config_file"])
    parser.read_meta(files["meta_file"])
    network = parser.get_parsed_content("network_def").eval()
    released = bundle / "models/model.pt"
    if released.is_file():
        network.load_state_dict(torch.load(released, map_location="cpu", weights_only=True))
    else:  # not trained yet; fresh norms and biases would hide a mistake
        for name, value in network.state_dict().items():
            if value.is_floating_point() and "running_var" not in name:
                value.add_(0.1 * torch.randn_like(value))
    image = parser["_meta_"]["network_data_format"]["inputs"]["image"]
    size = [int(str(n).split("*")[0]) for n in image["spatial_shape"]]
    folder = tmp_path_factory.mktemp("export")
    torch.save(network.state_dict(), folder / "model.pt")
    arguments = {**files, "ckpt_file": str(folder / "model.pt")}
    return network, arguments, folder, torch.randn(1, image["num_channels"], *size)


@pytest.mark.parametrize("n", [1, 2])
def test_network_fits_the_metadata(files, n):
    verify_net_in_out(**files, n=n, device="cpu")


@torch.no_grad()
def test_torchscript(exported):
    network, arguments, folder, image = exported
    ckpt_export(**arguments, filepath=str(folder / "model.ts"))
    script = torch.jit.load(folder / "model.ts")
    larger = torch.cat([torch.cat([image, image.flip(2)], dim=2)] * 3)
    for x in (image, larger):
        expected = network(x)
        assert expected.std() > 0.01
        torch.testing.assert_close(script(x), expected, rtol=TOLERANCE, atol=TOLERANCE)


@torch.no_grad()
def test_onnx(exported):
    network, arguments, folder, image = exported
    onnx_export(**arguments, filepath=str(folder / "model.onnx"), input_shape=list(image.shape))
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    torch.testing.assert_close(torch.from_numpy(output), network(image), rtol=TOLERANCE, atol=TOLERANCE)
