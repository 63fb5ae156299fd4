import json

import numpy as np
import pytest
import torch
import toy_engine as toy
from monai.engines import IterationEvents
from PIL import Image
from torch import nn
from transeg.engines.checkpoints import TrainingState
from transeg.engines.handlers import CarryFields, PanelSaver, TermLogger
from transeg.engines.weights import BestModelSaver


def test_best_weights_fit_the_network_without_spectral_norm(tmp_path):
    nets = toy.make_networks()
    toy.make_trainer(1, nets=nets, handlers=[BestModelSaver(tmp_path / "m" / "model.pt", nets["g"])]).run()
    toy.make_trainer(1, nets=nets, handlers=[BestModelSaver(tmp_path / "half.pt", nets["g"], half=True)]).run()
    plain = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 4))
    whole, half = (torch.load(tmp_path / name, weights_only=True) for name in ("m/model.pt", "half.pt"))
    plain.load_state_dict(half)
    x = torch.randn(5, 4)
    assert torch.allclose(plain.eval()(x), nets["g"].eval()(x), atol=2e-2)
    assert {v.dtype for v in half.values()} == {torch.float16}
    assert {v.dtype for v in whole.values()} == {torch.float32}
    assert "parametrizations.weight.original" in dict(nets["g"][0].named_parameters())


def test_best_model_needs_a_key_metric():
    evaluator = toy.make_evaluator(nn.Linear(4, 4))
    evaluator.state.key_metric_name = None
    with pytest.raises(ValueError, match="key metric"):
        BestModelSaver("m.pt", nn.Linear(4, 4)).attach(evaluator)


def test_terms_are_logged_by_name_and_a_resumed_log_has_each_iteration_once(tmp_path, caplog):
    def run(epochs, length=6):
        handlers = [
            TermLogger(tmp_path / "log", interval=2, progress=False),
            TrainingState(tmp_path / "s.pt", resume=True),
        ]
        toy.make_trainer(epochs, handlers=handlers).run()

    with caplog.at_level("INFO", logger="transeg"):
        run(2)
    assert "Epoch 2 of 2: loss" in caplog.text
    path = tmp_path / "log" / "terms.jsonl"
    with open(path, "a", encoding="utf-8") as file:  # what a killed third epoch would leave
        file.write(json.dumps({"epoch": 3, "iteration": 14, "loss": 0.0}) + '\n{"epoch": 3, "iter')
    run(3)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["iteration"] for row in rows] == list(range(2, 19, 2))
    assert rows[6]["loss"] != 0.0
    assert {"generators/adversarial", "discriminators/real"} < set(rows[0])
    events = list((tmp_path / "log").glob("events*"))
    assert len(events) == 2

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(tmp_path / "log")).Reload()
    assert [e.step for e in accumulator.Scalars("generators/adversarial")] == list(range(2, 19, 2))


def test_panels_are_drawn_from_the_output(tmp_path):
    def render(output):
        level = int(output["translation"].fake.shape[0])
        return np.full((6, 8, 3), level, np.uint8)

    handler = PanelSaver(tmp_path / "panels", render, interval_epochs=2, log_dir=tmp_path / "log")
    toy.make_trainer(4, handlers=[handler, TermLogger(tmp_path / "terms")]).run()
    assert sorted(p.name for p in (tmp_path / "panels").iterdir()) == ["epoch_0002.png", "epoch_0004.png"]
    with Image.open(tmp_path / "panels" / "epoch_0004.png") as picture:
        assert picture.size == (8, 6)
        assert picture.getpixel((0, 0)) == (4, 4, 4)
    assert list((tmp_path / "log").glob("events*"))
    with pytest.raises(ValueError, match=r"uint8 \(H, W, 3\)"):
        toy.make_trainer(1, handlers=[PanelSaver(tmp_path, lambda output: np.zeros((3, 3)))]).run()


def test_fields_of_the_batch_reach_the_output_with_the_prediction():
    evaluator = toy.make_evaluator(nn.Linear(4, 4))
    CarryFields(["presence", "labelled"]).attach(evaluator)
    evaluator.state.batch, evaluator.state.output = {"image": 1, "presence": 2}, {"pred": 3}
    evaluator.fire_event(IterationEvents.FORWARD_COMPLETED)
    assert evaluator.state.output == {"pred": 3, "presence": 2}
