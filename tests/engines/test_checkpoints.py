import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
import toy_engine as toy
from ignite.engine import Events
from monai.handlers import ValidationHandler
from torch import nn
from transeg.engines.checkpoints import TrainingState
from transeg.engines.trainer import NonFiniteError
from transeg.engines.weights import BestModelSaver


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
    (tmp_path / ".partial_state.pt").write_bytes(path.read_bytes()[:500])
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
