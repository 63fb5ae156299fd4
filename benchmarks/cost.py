"""What trainings of the published size cost: operations and memory of a step, counted, and hours at a given speed.

A step is computed on one and on two squares on noise, on the CPU, and extrapolated to the batch size, as preflight does
for memory. The hours are those of the arithmetic alone, at a share of the peak that convolutions of these widths reach;
a step that is bound by the launches of its kernels takes longer (see `benchmarks.gpu.steps`).

    python -m benchmarks.cost WORK
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from monai.bundle import ConfigParser
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import default_collate
from torch.utils.flop_counter import FlopCounterMode
from transeg.bundle.memory import step_memory
from transeg.bundle.package import bundle_folder
from transeg.data.recipe import bundle_recipe
from transeg.engines.step import Step
from transeg.engines.tree import to_device

from benchmarks.results import write_result
from benchmarks.squares import write_squares

# Updates of the published trainings: images of the larger domain over the batch size, times epochs
UPDATES = {
    "brain_mri_genseg_segmentation": (7729 // 20 * 500, "7,729 half-slices with a tumour, batch 20 + 20, 500 epochs"),
    "brain_mri_pathogan_segmentation": (1500 * 119, "1,500 updates of 4 + 4 slices an epoch, 119 epochs"),
    "cardiac_ct_mr_segmentation": (71 * 260, "71 + 71 volumes, one pair an update, 100 + 60 + 100 epochs"),
    "thigh_mri_muscle_segmentation": (1124 * 200, "1,124 easy slices, one pair an update, 200 epochs"),
}
GIB = 2**30


def training_config(bundle: str, work: Path) -> ConfigParser:
    """The config of a training at the published size, on squares."""
    root, data = bundle_folder(bundle), work / bundle
    parser = ConfigParser()
    parser.read_config([str(root / "configs" / name) for name in ("train.json", "paper.json")])
    parser.update({"bundle_root": str(root), "dataset_dir": str(data), "run_dir": str(data / "run")})
    write_squares(data, bundle_recipe(root) | {"image_size": parser["image_size"]}, count=2)
    return parser


class Launches(TorchDispatchMode):
    """Counts the operators that compute; on a GPU each launches at least one kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


def step_operations(train: ConfigParser) -> tuple[float, int]:
    """Floating-point operations of a step of all players, and its launches.

    A multiplication and an addition count as two operations.
    """
    keys = ("networks", "objective", "players", "train#dataset", "batch_size")
    networks, objective, players, dataset, size = (train.get_parsed_content(key) for key in keys)
    sample = {**dataset[0], "labelled": True}
    counts = []
    for samples in range(1, min(size, 2) + 1):
        batch = to_device(default_collate([sample] * samples), "cpu")
        with Launches() as launches, FlopCounterMode(display=False) as counter:
            Step(objective, networks, players, batch).run()
        counts.append(counter.get_total_flops())
    return counts[0] + (size - 1) * (counts[-1] - counts[0]), launches.count


def measure(work: Annotated[Path, typer.Argument(help="Folder for the squares.")]) -> None:
    """Count operations and memory of a step of every bundle."""
    figures: dict[str, dict[str, Any]] = {}
    for bundle, (updates, how) in UPDATES.items():
        train = training_config(bundle, work)
        memory = step_memory(train)
        operations, launches = step_operations(train)
        figures[bundle] = {
            "image_size": train["image_size"],
            "batch_size": train["batch_size"],
            "teraflop": round(operations / 1e12, 3),
            "launches": launches,
            "updates": updates,
            "training": how,
            "exaflop": round(operations * updates / 1e18, 2),
            "memory_gib": round(memory.total / GIB, 2),
            "activations_gib": round(memory.activations / GIB, 2),
        }
        print(bundle, figures[bundle], flush=True)
    write_result("cost", "squares on noise, the published size", [0], figures)


if __name__ == "__main__":
    typer.run(measure)
