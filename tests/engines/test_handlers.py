import json
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
import toy_engine as toy
from ignite.engine import Events
from monai.handlers import ValidationHandler
from PIL import Image
from torch import nn
from transeg.engines import BestModelSaver, NonFiniteError, PanelSaver, TermLogger, TrainingState


def assert_equal(a, b, where="state"):
    assert type(a) is type(b), where
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), where
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            assert_equal(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), where
        for index, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_equal(x, y, f"{where}[{index}]")
    else:
        assert a == b, where


def load(path):
    return torch.load(path, weights_only=True)


def test_a_killed_and_resumed_run_ends_bit_equal(tmp_path):
    toy.resumable(tmp_path / "whole.pt").run()

    command = [sys.executable, toy.__file__, "resume", str(tmp_path / "killed.pt")]
    with subprocess.Popen([*command, "--pause", "16"], stdout=subprocess.PIPE, text=True) as process:
        assert any("READY" in line for line in process.stdout)  # 6 iterations an epoch: the middle of the third
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert load(tmp_path / "killed.pt")["epoch"] == 2
    subprocess.run(command, check=True, capture_output=True, timeout=120)

    whole, killed = load(tmp_path / "whole.pt"), load(tmp_path / "killed.pt")
    assert_equal(whole, killed)
    assert (whole["epoch"], whole["iteration"]) == (4, 24)
    assert set(whole["networks"]) == {"g", "d", "ema"}
    adam = whole["players"]["generators"]["optimizer"]
    assert "max_exp_avg_sq" in adam["state"][0]
    assert adam["param_groups"][0]["lr"] == 0.0025  # the schedule has halved it twice
    assert len(whole["objective"]["pool"]["images"]) == 4
    assert 1 <= whole["best"][1]["epoch"] <= 4


def test_saves_after_validation_wherever_it_stands_in_the_list(tmp_path):
    trainer = toy.resumable(tmp_path / "state.pt", epochs=1)
    trainer.run()
    assert load(tmp_path / "state.pt")["best"][1]["epoch"] == 1  # TrainingState comes before the validation


def test_interval_saves_the_last_epoch_too_and_a_finished_run_stays_finished(tmp_path):
    path = tmp_path / "state.pt"
    toy.make_trainer(3, handlers=[TrainingState(path, interval=2)]).run()
    assert load(path)["epoch"] == 3
    stamp = path.stat().st_mtime_ns
    again = toy.make_trainer(3, handlers=[TrainingState(path, interval=2, resume=True)])
    again.run()
    assert again.state.epoch == 3
    assert path.stat().st_mtime_ns == stamp
    longer = toy.make_trainer(4, handlers=[TrainingState(path, resume=True)])
    longer.run()
    assert load(path)["epoch"] == 4
    with pytest.raises(ValueError, match=r"state\.pt does not fit.*epoch 4, but max_epochs is 2"):
        toy.make_trainer(2, handlers=[TrainingState(path, resume=True)]).run()


def test_without_resume_an_old_file_is_not_read(tmp_path):
    path = tmp_path / "state.pt"
    path.write_bytes(b"anything")
    toy.make_trainer(1, handlers=[TrainingState(path)]).run()
    assert load(path)["epoch"] == 1


def test_a_half_written_draft_does_no_harm(tmp_path):
    path = tmp_path / "state.pt"
    toy.make_trainer(1, handlers=[TrainingState(path)]).run()
    (tmp_path / "state.pt.tmp").write_bytes(path.read_bytes()[:500])
    trainer = toy.make_trainer(2, handlers=[TrainingState(path, resume=True)])
    trainer.run()
    assert load(path)["epoch"] == 2
    assert [p.name for p in tmp_path.iterdir()] == ["state.pt"]


def test_a_file_that_does_not_fit_is_named(tmp_path):
    path = tmp_path / "state.pt"
    toy.make_trainer(1, handlers=[TrainingState(path)]).run()

    def resume(**kwargs):
        toy.make_trainer(2, handlers=[TrainingState(path, resume=True)], **kwargs).run()

    with pytest.raises(ValueError, match=r"state\.pt does not fit.*networks \['d', 'ema', 'g'\].*\['d', 'g'\]"):
        resume(ema=False)
    wider = toy.make_networks()
    wider["g"] = nn.Linear(4, 4)
    with pytest.raises(ValueError, match=r"state\.pt does not fit.*network 'g'.*Missing key"):
        resume(nets=wider)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"state\.pt cannot be read as a training state"):
        resume()


def test_state_that_could_not_be_read_back_is_refused(tmp_path):
    class Unsafe(toy.ToyObjective):
        def state_dict(self):
            return {"pool": np.zeros(3)}

    path = tmp_path / "state.pt"
    toy.make_trainer(1, handlers=[TrainingState(path)]).run()
    with pytest.raises(TypeError, match="numpy"):
        toy.make_trainer(1, objective=Unsafe(), handlers=[TrainingState(path)]).run()
    assert load(path)["epoch"] == 1


def test_the_guard_leaves_the_last_checkpoint(tmp_path):
    class Breaks(toy.ToyObjective):
        calls = 0

        def generators(self, nets, t):
            self.calls += 1
            terms = super().generators(nets, t)
            if self.calls == 15:
                terms["reconstruction"] = terms["reconstruction"] * float("inf")
            return terms

    path = tmp_path / "state.pt"
    with pytest.raises(NonFiniteError, match="reconstruction"):
        toy.make_trainer(4, objective=Breaks(), handlers=[TrainingState(path)]).run()
    assert load(path)["epoch"] == 2
    resumed = toy.make_trainer(4, handlers=[TrainingState(path, resume=True)])
    resumed.run()
    assert load(path)["epoch"] == 4


def _train_with_best(tmp_path, epochs, worse_from):
    """Train; from some epoch on the network is made useless before each validation."""
    nets = toy.make_networks()

    class Spoil:
        def attach(self, engine):
            engine.add_event_handler(Events.EPOCH_COMPLETED, self)

        def __call__(self, engine):
            if engine.state.epoch >= worse_from:
                with torch.no_grad():
                    nets["g"][3].bias.fill_(50.0)

    evaluator = toy.make_evaluator(nets["g"], [BestModelSaver(tmp_path / "model.pt", nets["g"])])
    handlers = [Spoil(), ValidationHandler(1, evaluator), TrainingState(tmp_path / "state.pt", resume=True)]
    toy.make_trainer(epochs, nets=nets, handlers=handlers).run()
    return evaluator


def test_best_weights_stay_after_a_resume_that_makes_it_worse(tmp_path):
    first = _train_with_best(tmp_path, 2, worse_from=9)
    best = load(tmp_path / "model.pt")
    second = _train_with_best(tmp_path, 4, worse_from=3)
    assert second.state.best_metric == pytest.approx(first.state.best_metric)
    assert_equal(load(tmp_path / "model.pt"), best)


def test_best_weights_fit_the_network_without_spectral_norm(tmp_path):
    nets = toy.make_networks()
    toy.make_trainer(1, nets=nets, handlers=[BestModelSaver(tmp_path / "m" / "model.pt", nets["g"])]).run()
    toy.make_trainer(1, nets=nets, handlers=[BestModelSaver(tmp_path / "half.pt", nets["g"], half=True)]).run()
    plain = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 4))
    plain.load_state_dict(load(tmp_path / "half.pt"))
    x = torch.randn(5, 4)
    assert torch.allclose(plain.eval()(x), nets["g"].eval()(x), atol=2e-2)
    assert {v.dtype for v in load(tmp_path / "half.pt").values()} == {torch.float16}
    assert {v.dtype for v in load(tmp_path / "m" / "model.pt").values()} == {torch.float32}
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
