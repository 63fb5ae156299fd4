import pytest
import torch
from ignite.engine import Engine
from transeg.engines.weights import WeightsLoader


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
        ({"weight": torch.zeros(5)}, "weights of another network"),
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
