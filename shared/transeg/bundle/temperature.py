"""`transeg calibrate`: the temperature that makes the probabilities of a bundle or run folder as frequent as they say.

Fitted on scans with masks that the weights have not seen, over the voxels of the foreground (head, body; the whole crop
where a recipe has none): the air around would fit any temperature.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import torch
import typer
from ignite.engine import Engine, Events
from monai.config import PathLike
from torch import Tensor

from transeg.bundle.trust import Calibration, inference_config, inference_of, set_inference
from transeg.data.datalist import load_lists
from transeg.data.recipe import Recipe, label_recipe
from transeg.data.volumes import find_volumes
from transeg.errors import UserError
from transeg.metrics.calibration import calibration_error, fit_temperature, negative_log_likelihood, tempered
from transeg.transforms.intensity import foreground_mask

VOXELS = 100_000  # of a scan, drawn if it has more
KEY = "temperature"


@dataclass(frozen=True)
class TemperatureFit:
    """A fitted temperature and what it is worth on the scans that it was fitted on.

    Attributes:
        temperature: divides logits; above 1, the probabilities were too confident.
        error: expected calibration error, see `calibration_error`, before and after.
        likelihood: negative log-likelihood of a voxel, before and after.
        scans: number of scans.
    """

    temperature: float
    error: tuple[float, float]
    likelihood: tuple[float, float]
    scans: int

    def __str__(self) -> str:
        error, likelihood = (f"{before:.4f}, now {after:.4f}" for before, after in (self.error, self.likelihood))
        return (
            f"temperature {self.temperature:g} by {self.scans} scans: expected calibration error was {error}; negative "
            f"log-likelihood was {likelihood}"
        )


def calibrate(
    root: Annotated[Path, typer.Argument(help="Bundle or run folder with weights.")],
    data: Annotated[
        Path,
        typer.Option(help="Scans with masks that were not trained on: prepared data (its validation patients), table."),
    ],
) -> None:
    """Set the temperature that calibrates the probabilities, by scans with masks; masks stay as they are."""
    items, recipe = labelled_scans(root, data)
    typer.echo(f"{inference_config(root)}: {calibrate_temperature(root, items, recipe)}")


def labelled_scans(root: PathLike, data: PathLike) -> tuple[list[dict[str, Any]], Recipe]:
    """Scans with masks, and the recipe by which a bundle or run folder reads these.

    Args:
        root: the folder.
        data: prepared data or its datalist, of which only validation patients are taken, or a table of cases.
    """
    recipe = json.loads(inference_config(root).read_text())["recipe"]
    datalist = Path(data) if Path(data).suffix == ".json" else Path(data) / "datalist.json"
    if datalist.is_file():
        names = [f"validation_{domain}_volumes" for domain in recipe.get("domains", ())] or ["validation_volumes"]
        items = load_lists(datalist, names)
    else:
        items = find_volumes(data, recipe["channels"], (), recipe.get("spacing"))
    return [item for item in items if "label" in item], recipe | label_recipe(recipe, datalist)


def calibrate_temperature(
    root: PathLike, items: Sequence[Mapping[str, Any]], recipe: Mapping[str, Any]
) -> TemperatureFit:
    """Fit the temperature of a bundle or run folder and write it to its inference.json.

    Args:
        root: the folder.
        items: scans with "label", see `find_volumes`; those that fail are left out.
        recipe: how the labels are read.

    Raises:
        UserError: no such scan, or none in which anything is labelled.
    """
    fit = fit_scans(root, items, recipe)
    set_inference(root, {KEY: fit.temperature})
    return fit


def fit_scans(root: PathLike, items: Sequence[Mapping[str, Any]], recipe: Mapping[str, Any]) -> TemperatureFit:
    """Fit the temperature on scans, see `calibrate_temperature`, and write nothing."""
    probabilities, labels = probabilities_of(root, items, recipe)
    if not probabilities:
        raise UserError("no scan with a mask that can be segmented; name validation scans that have masks")
    probability, label = torch.cat(probabilities, dim=1), torch.cat(labels)
    temperature = round(fit_temperature(probability, label), 4)
    before_after = (probability, tempered(probability, temperature))
    error, likelihood = (
        cast(tuple[float, float], tuple(measure(p, label) for p in before_after))
        for measure in (calibration_error, negative_log_likelihood)
    )
    return TemperatureFit(temperature, error, likelihood, len(labels))


def probabilities_of(
    root: PathLike, items: Sequence[Mapping[str, Any]], recipe: Mapping[str, Any]
) -> tuple[list[Tensor], list[Tensor]]:
    """Probabilities (C, N) at temperature 1 and classes (N,) of foreground voxels, of each scan that does not fail.

    Args:
        root: bundle or run folder; its `ensemble` and `tta` count.
        items: scans with "label".
        recipe: how the labels are read.
    """
    settings = {
        KEY: 1.0,
        "save_probability": True,
        "preprocessing#label_keys": "label",
        "preprocessing#recipe": dict(recipe),
        "postprocessing": {"_target_": "Compose", "transforms": ["@probability", "@members"]},
    }
    voxels = _Voxels()
    if items:
        with tempfile.TemporaryDirectory() as folder:
            engine = inference_of(root, items, folder, settings)
            voxels.attach(engine)
            engine.run()
    return voxels.probabilities, voxels.labels


class _Voxels:
    """Collects foreground voxels on the preprocessed grid, at most `VOXELS` of each scan."""

    def __init__(self) -> None:
        self.probabilities: list[Tensor] = []
        self.labels: list[Tensor] = []
        self.random = np.random.default_rng(0)

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        batch, output = (cast(list[dict[str, Any]], part) for part in (engine.state.batch, engine.state.output))
        for loaded, predicted in zip(batch, output, strict=True):
            places = np.flatnonzero(foreground_mask(loaded["image"])[0].numpy(force=True))
            if len(places) > VOXELS:
                places = self.random.choice(places, VOXELS, replace=False)
            self.probabilities.append(_flat(predicted["prob"])[:, places])
            self.labels.append(_flat(loaded["label"])[0, places].long())


def _flat(volume: Tensor) -> Tensor:
    return torch.as_tensor(volume).detach().cpu().flatten(1)


class TemperatureCalibration(Calibration):
    """At the end of a training run, set its temperature by its validation scans, see `calibrate_temperature`."""

    def calibrate(self) -> str:
        """Calibrate on the scans of the datalist."""
        items, recipe = labelled_scans(self.path, self.datalist)
        return f"Probabilities calibrated: {calibrate_temperature(self.path, items, recipe)}."

    def without(self, why: str) -> str:
        """Say how to do it later."""
        return f"Probabilities are not calibrated ({why}); to calibrate them: transeg calibrate {self.path} --data DATA"
