"""A small translation game with everything that a trainer has to carry over; run as a script, it trains."""

import argparse
import time
from dataclasses import dataclass

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Events
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from monai.handlers import MeanSquaredError, ValidationHandler, from_engine
from monai.transforms import Compose, MapTransform, Randomizable
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from transeg.engines.checkpoints import TrainingState
from transeg.engines.player import Player
from transeg.engines.trainer import AlternatingTrainer
from transeg.objectives.history_pool import HistoryPool


class Noise(MapTransform, Randomizable):
    def __call__(self, data):
        return {**data, "image": data["image"] + 0.05 * self.R.randn(4).astype(np.float32)}


@dataclass
class Translation:
    x: Tensor
    fake: Tensor
    target: Tensor
    note: str = "kept"


class ToyObjective:
    """Translate x to x + 1; a discriminator compares with the target."""

    def __init__(self) -> None:
        self.pool = HistoryPool(4)

    def forward(self, nets, batch):
        return Translation(x=batch["image"], fake=nets["g"](batch["image"]), target=batch["label"])

    def discriminators(self, nets, t):
        d = nets["d"]
        real, fake = d(t.target), d(self.pool.query(t.fake))
        return {"real": (1 - real).relu().mean(), "fake": (1 + fake).relu().mean()}

    def generators(self, nets, t):
        return {"adversarial": -nets["d"](t.fake).mean(), "reconstruction": (t.fake - t.target).square().mean()}

    def state_dict(self):
        return {"pool": self.pool.state_dict()}

    def load_state_dict(self, state):
        self.pool.load_state_dict(state["pool"])


def make_networks(dropout=0.1):
    torch.manual_seed(7)
    g = nn.Sequential(spectral_norm(nn.Linear(4, 16)), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, 4))
    d = nn.Sequential(spectral_norm(nn.Linear(4, 16)), nn.LeakyReLU(0.2), spectral_norm(nn.Linear(16, 1)))
    return {"g": g, "d": d}


def make_players(nets, **kwargs):
    adam = {"lr": 1e-2, "betas": (0.5, 0.999), "amsgrad": True}
    opt_g, opt_d = torch.optim.Adam(nets["g"].parameters(), **adam), torch.optim.Adam(nets["d"].parameters(), **adam)
    schedule = torch.optim.lr_scheduler.MultiStepLR(opt_g, [2, 3], 0.5)
    return [
        Player("discriminators", nets["d"], opt_d, {"real": 1.0, "fake": 1.0}),
        Player("generators", [nets["g"]], opt_g, {"adversarial": 0.1, "reconstruction": 1.0}, schedule, **kwargs),
    ]


def make_data(count=24, seed=3):
    images = np.random.default_rng(seed).normal(size=(count, 4)).astype(np.float32)
    return [{"image": image, "label": image + 1} for image in images]


def make_trainer(
    epochs=4, batch=4, objective=None, nets=None, players=None, handlers=(), noisy=True, ema=True, **kwargs
):
    torch.set_num_threads(1)
    nets = nets or make_networks()
    players = players or make_players(nets)
    networks = dict(nets)
    if ema:
        networks["ema"] = AveragedModel(nets["g"], multi_avg_fn=get_ema_multi_avg_fn(0.9))
        kwargs["averages"] = {"ema": "g"}
    dataset = Dataset(make_data(), transform=Compose([Noise("image")]) if noisy else None)
    return AlternatingTrainer(
        device="cpu",
        max_epochs=epochs,
        train_data_loader=DataLoader(dataset, batch_size=batch, shuffle=noisy),
        network=nets["g"],
        objective=objective or ToyObjective(),
        players=players,
        networks=networks,
        train_handlers=list(handlers),
        **kwargs,
    )


def make_evaluator(network, handlers=None):
    return SupervisedEvaluator(
        device="cpu",
        val_data_loader=DataLoader(Dataset(make_data(8, seed=5)), batch_size=8),
        network=network,
        key_val_metric={"error": MeanSquaredError(output_transform=from_engine(["pred", "label"]))},
        metric_cmp_fn=lambda current, best: current < best,
        val_handlers=handlers,
    )


class Pause:
    """Says READY at an iteration and waits to be killed."""

    def __init__(self, iteration):
        self.iteration = iteration

    def attach(self, engine):
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine):
        if engine.state.iteration == self.iteration:
            print("READY", flush=True)
            time.sleep(120)


def resumable(path, pause=0, epochs=4):
    """The training of the resume test: every kind of state takes part."""
    nets = make_networks()
    evaluator = make_evaluator(nets["g"])
    handlers = [TrainingState(path, resume=True), ValidationHandler(1, evaluator), Pause(pause)]
    return make_trainer(epochs=epochs, nets=nets, handlers=handlers, accumulation_steps=2)


def gradients_of_one_step(batch):
    """Gradients after the first step, without dropout or noise, for the test with two processes."""
    nets = make_networks(dropout=0.0)
    if idist.get_rank() == 1:  # ranks may start apart: rank 0's weights count
        for parameter in nets["g"].parameters():
            nn.init.zeros_(parameter)
    objective = ToyObjective()
    objective.pool.size = 0
    trainer = make_trainer(1, batch, objective, nets, noisy=False, ema=False, epoch_length=1)
    rank, size = idist.get_rank(), idist.get_world_size()
    trainer.data_loader.dataset.data = make_data()[rank * batch : (rank + 1) * batch]
    trainer.run()
    return {f"{n}.{k}": p.grad.clone() for n in nets for k, p in nets[n].named_parameters()} | {"size": size}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("task", choices=["resume", "distributed"])
    parser.add_argument("path")
    parser.add_argument("--pause", type=int, default=0)
    options = parser.parse_args()
    if options.task == "resume":
        resumable(options.path, options.pause).run()
    else:
        with idist.Parallel(backend="gloo"):
            result = gradients_of_one_step(4)
            torch.save(result, f"{options.path}/{idist.get_rank()}.pt")
