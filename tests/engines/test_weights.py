import pytest
import torch
from ignite.engine import Engine
from transeg.engines.weights import WeightsLoader, load_weights
from transeg.networks.spectral import add_spectral_norm


def test_half_precision_weights_are_loaded_as_single(tmp_path):
    source, target = torch.nn.Linear(2, 3), torch.nn.Linear(2, 3)
    torch.save({k: v.half() for k, v in source.state_dict().items()}, tmp_path / "w.pt")
    WeightsLoader(tmp_path / "w.pt", target)(Engine(lambda e, b: None))
    assert target.weight.dtype == torch.float32
    torch.testing.assert_close(target.weight, source.weight, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        (b"not weights", "cannot be read as weights"),
        ({"weight": torch.zeros(5)}, r"other shape: weight \(5,\) instead of \(3, 2\); missing: bias\); set"),
        (
            {"weight": torch.zeros(3, 2), "bias": torch.zeros(3), "scale": torch.ones(1)},
            "another network .unexpected: scale",
        ),
        ([torch.zeros(5)], "not a plain state dict"),
        ({"model": {"weight": torch.zeros(3, 2)}}, "not a plain state dict"),
    ],
)
def test_faults_are_named(content, message, tmp_path):
    path = tmp_path / "w.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(ValueError, match=message) as error:
        WeightsLoader(path, torch.nn.Linear(2, 3))(Engine(lambda e, b: None))
    assert str(path) in str(error.value)


def test_a_pickle_with_code_is_refused(tmp_path):
    torch.save({"weight": Engine(print)}, tmp_path / "w.pt")
    with pytest.raises(ValueError, match="cannot be read as weights"):
        WeightsLoader(tmp_path / "w.pt", torch.nn.Linear(2, 3))(Engine(lambda e, b: None))


def test_five_tensors_are_named_and_the_others_counted(tmp_path):
    wide, narrow = (torch.nn.Sequential(*(torch.nn.Linear(1, n, bias=False) for _ in range(7))) for n in (3, 2))
    torch.save(narrow.state_dict(), tmp_path / "w.pt")
    with pytest.raises(ValueError, match=r"0\.weight .*4\.weight \(2, 1\) instead of \(3, 1\) and 2 more\)") as error:
        load_weights(wide, tmp_path / "w.pt")
    assert "5.weight" not in str(error.value)
    assert "missing" not in str(error.value)


def test_plain_weights_load_into_a_network_with_spectral_norm(tmp_path):
    plain, normed = torch.nn.Conv2d(1, 2, 3), add_spectral_norm(torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3)))
    torch.save({f"0.{key}": value for key, value in plain.state_dict().items()}, tmp_path / "w.pt")
    load_weights(normed, tmp_path / "w.pt")
    torch.testing.assert_close(normed.eval()[0].weight, plain.weight)
