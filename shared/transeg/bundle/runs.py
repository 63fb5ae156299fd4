"""Run folders: a training run makes a bundle of its own and leaves the one it was started from as it is.

A run folder holds `configs/`, `models/model.pt` with the hashes of its training scans (`transeg.data.training_cases`),
`docs/README.md` (a card with data, command, commit, seed, hardware and scores) and `LICENSE`, as every bundle does,
beside `logs/` and `train_state.pt` for `--resume True`.
"""

from __future__ import annotations

import copy
import json
import logging
import os
import shutil
import time
from collections.abc import Iterable, Mapping, Sized
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import ignite.distributed as idist
import torch
from ignite.engine import Events
from monai.bundle import ConfigParser
from monai.config import PathLike
from monai.engines import Evaluator
from monai.handlers import ValidationHandler
from torch import nn

from transeg.bundle.card import run_card
from transeg.bundle.config import content, references, running_parser
from transeg.data.training_cases import Cases, add_cases, prepared_cases, read_cases, study_cases
from transeg.engines.trainer import AlternatingTrainer
from transeg.engines.weights import SCORING, load_weights, save_weights
from transeg.errors import RunError
from transeg.files import atomic, digest_of, write_text

logger = logging.getLogger(__name__)

WEIGHTS = Path("models", "model.pt")
STATE = "train_state.pt"
DATA_HASH = "datalist_sha256"  # in the metadata of a run
OF_A_COMMAND = {"epochs", "dataset_dir", "device", "num_workers", "resume", "promote", "start"}  # free when resuming
# what a training run may set in inference.json
OF_OTHER_WEIGHTS = {"trust": None, "threshold": 0.5, "least_area": 0.0, "temperature": 1.0}
NEW_RUN: Mapping[str, Any] = {  # what every new run begins with
    "run_dir": {"_target_": "transeg.bundle.runs.new_run_dir", "bundle_root": "@bundle_root"},
    "start": None, "resume": False, "promote": False,
}  # fmt: skip


def new_run_dir(bundle_root: PathLike, runs: PathLike = "runs") -> str:
    """Name a new run folder, `runs/<bundle>/<date>_<time>`; the same one for all processes."""
    name = f"{datetime.now():%Y-%m-%d_%H-%M-%S}"
    folder = Path(runs, bundle_name(bundle_root), name)
    number = 1
    while folder.exists():
        number += 1
        folder = folder.with_name(f"{name}_{number}")
    return str(idist.broadcast(str(folder), src=0) if idist.get_world_size() > 1 else folder)


def bundle_name(root: PathLike) -> str:
    """Name of the bundle that a folder is, or was trained from."""
    return str(_metadata(Path(root)).get("bundle", Path(root).resolve().name))


def is_run(root: PathLike) -> bool:
    """Whether a folder is a run folder: its metadata name the bundle that it was trained from."""
    return "bundle" in _metadata(Path(root))


def check_run(bundle_root: PathLike, start: PathLike | None = None, resume: bool = False) -> None:
    """Refuse a training run that would overwrite another one or cannot begin, before anything is loaded.

    Called while the config is evaluated. A run folder that is not given is not looked at: its name will be new.

    Args:
        bundle_root: folder of the bundle.
        start: bundle or run folder whose weights to begin from.
        resume: whether to go on with the run of the folder.

    Raises:
        RunError: the folder belongs to another run or method, is not writable or lacks what is to be resumed; or
            `start` has no weights, or those of another method.
    """
    method = method_of(bundle_root)
    given = content(running_parser()).get("run_dir")
    if start is not None:
        _check_start(Path(start), method)
    if not isinstance(given, str) or given.startswith(("$", "@")):
        if resume:
            runs = sorted(Path("runs", bundle_name(bundle_root)).glob(f"*/{STATE}"))
            latest = f"; the latest is {runs[-1].parent}" if runs else ""
            raise RunError(f"resume: name the run folder to go on with by --run_dir{latest}")
        return
    if int(os.environ.get("RANK", 0)) == 0:
        _check_folder(Path(given), method, resume)


def method_of(root: PathLike) -> str:
    """Method of a bundle or run folder.

    Raises:
        RunError: no metadata, or none that tells a method.
    """
    method = _metadata(Path(root)).get("method")
    if not method:
        raise RunError(
            f"{root}: configs/metadata.json tells no method; name a bundle or run folder made with this version of "
            "transeg (a bundle of an older version needs that version, or download its present version)"
        )
    return str(method)


def _check_start(start: Path, method: str) -> None:
    if not (start / WEIGHTS).is_file():
        raise RunError(f"start: {start / WEIGHTS}: no such file; name a bundle or run folder that has weights")
    if method_of(start) != method:
        raise RunError(f"start: {start} holds weights of the method {method_of(start)}, this run is of {method}")


def _check_folder(folder: Path, method: str, resume: bool) -> None:
    if folder.is_file():
        raise RunError(f"run_dir: {folder} is a file; name a new folder")
    if resume:
        if not (folder / STATE).is_file():
            raise RunError(
                f"resume: {folder / STATE}: no such file, so no epoch of a run was completed there; name another "
                "folder, or delete this one and begin without --resume"
            )
        if not (folder / "configs" / "inference.json").is_file():
            raise RunError(f"resume: {folder} has lost its configs; start a new run with --start {folder}")
        if method_of(folder) != method:
            raise RunError(f"resume: {folder} is a run of the method {method_of(folder)}, not of {method}")
    elif folder.is_dir() and any(path.name != "logs" for path in folder.iterdir()):  # MONAI's tracking begins earlier
        resumable = ", or resume its run by --resume True" if (folder / STATE).is_file() else " or delete it"
        raise RunError(f"run_dir: {folder} is not empty; name a new folder{resumable}")
    new = not folder.is_dir()
    try:
        with atomic(folder / ".writable") as probe:
            probe.write_text("")
        (folder / ".writable").unlink()
        if new:  # a run that is refused for another reason leaves no folder behind
            folder.rmdir()
    except OSError as error:
        raise RunError(f"run_dir: cannot write to {folder} ({error.strerror}); name another folder") from error


def _metadata(root: Path) -> dict[str, Any]:
    path = root / "configs" / "metadata.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def _plain(value: Any) -> bool:
    """Whether a setting is a value, and no expression or component."""
    return not isinstance(value, dict | list) and str(value)[:1] not in ("$", "@", "%")


class RunFolder:
    """Makes the run folder of a training run a bundle: configs at the start, a card at the end.

    Its place in the list of handlers does not matter. A run that begins from weights (`start`) and is validated scores
    these first and replaces them only by better ones.

    Args:
        path: the run folder.
        bundle_root: bundle that the run is started from; its files are not changed.
        network: the network whose weights are exported.
        recipe: of the data.
        validator: scores weights by its key metric.
        start: bundle or run folder whose weights to begin from.
        start_required: refuse a run without `start`.
        resume: go on with the run in the folder.
        promote: at the end, put the weights in place of those of `bundle_root` if they score better; the previous
            ones are kept in `models/previous`. For MONAI Label, which reads the weights of the bundle.

    Raises:
        RunError: no `start` although one is required.
        ValueError: `promote` without a validator that has a key metric.
    """

    def __init__(
        self,
        path: PathLike,
        bundle_root: PathLike,
        network: nn.Module,
        recipe: Mapping[str, Any],
        validator: Evaluator | None = None,
        start: PathLike | None = None,
        start_required: bool = False,
        resume: bool = False,
        promote: bool = False,
    ) -> None:
        self.path, self.root, self.network, self.recipe = Path(path), Path(bundle_root), network, dict(recipe)
        self.validator = validator
        self.start = None if start is None else Path(start)
        self.resume, self.promote = resume, promote
        if start_required and self.start is None:
            raise RunError("this run begins from the weights of another one; name its run folder by --start")
        if promote and (validator is None or validator.state.key_metric_name is None):
            raise ValueError("promote: needs a validator with a key metric")
        parser = running_parser()
        self.config = {key: value for key, value in content(parser).items() if key != "_meta_"}
        self.facts = {key: self._fact(parser, key) for key in shared_facts(self.config)}
        self._started_at: float | None = None
        self._before: float | None = None

    @staticmethod
    def _fact(parser: ConfigParser, key: str) -> Any:
        value = copy.deepcopy(content(parser)[key])
        return parser.get_parsed_content(key) if isinstance(value, str) and value[:1] in "$@" else value

    def attach(self, engine: AlternatingTrainer) -> None:
        """Register with a trainer."""
        engine.add_event_handler(Events.STARTED, self._begin)

    def _begin(self, engine: AlternatingTrainer) -> None:
        if self._started_at is not None:  # federated rounds start the same trainer again and again
            return
        self._started_at = time.time()
        engine.add_event_handler(Events.COMPLETED, self._end)  # only now, to be the last one
        start = None if self.resume else self.start
        if start is not None:  # first, as weights that do not fit leave no folder behind
            for network in dict.fromkeys((engine.network, self.network)):  # an average of it begins there too
                load_weights(network, start / WEIGHTS)
        if idist.get_rank() == 0:
            logger.info("Run folder: %s", self.path)
            if self.resume:
                self._check_data()
                self._report_changes()
            else:
                self._write_configs()
                self._write_card(engine, scores={})
        validated = self._can_score() and any(isinstance(one, ValidationHandler) for one in engine.train_handlers)
        if start is not None and validated:
            self._keep_start(engine)
        if self._can_score() and self.promote and (self.root / WEIGHTS).is_file():
            self._before = self._score(self.root / WEIGHTS)

    def _can_score(self) -> bool:
        if self.validator is None or self.validator.state.key_metric_name is None:
            return False
        return len(cast(Sized, self.validator.data_loader)) > 0

    def _keep_start(self, engine: AlternatingTrainer) -> None:
        """The starting weights are the best ones until others score better."""
        assert self.start is not None
        assert self.validator is not None
        score = self._score(self.start / WEIGHTS)
        self.validator.state.best_metric, self.validator.state.best_metric_epoch = score, 0
        if idist.get_rank() == 0:
            (self.path / WEIGHTS).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.start / WEIGHTS, self.path / WEIGHTS)
        name = self.validator.state.key_metric_name
        logger.info("Starting weights %s: %s %.4f", self.start / WEIGHTS, name, score)

    def _score(self, weights: Path) -> float:
        """Key metric of weights; network and validator stay as they were."""
        assert self.validator is not None
        validator, kept = self.validator, copy.deepcopy(self.network.state_dict())
        best = validator.state.best_metric, validator.state.best_metric_epoch
        load_weights(self.network, weights)
        setattr(validator, SCORING, True)
        try:
            validator.run()
        finally:
            setattr(validator, SCORING, False)
            self.network.load_state_dict(kept)
        score = float(validator.state.metrics[validator.state.key_metric_name])
        validator.state.best_metric, validator.state.best_metric_epoch = best
        return score

    def _end(self, engine: AlternatingTrainer) -> None:
        if idist.get_rank() == 0 and not (self.path / WEIGHTS).is_file():
            logger.warning("Validation has not chosen any weights (no data, or val_interval): the last ones are kept.")
            save_weights(self.network, self.path / WEIGHTS)
        if self.promote:
            self._promote()
        if idist.get_rank() == 0:
            scores = {} if self.validator is None else dict(self.validator.state.metrics)
            self._write_card(engine, scores)
            logger.info("Run folder: %s", self.path)

    def _promote(self) -> None:
        if not self._can_score():
            logger.warning("The weights are kept: no validation data to score the new ones in %s.", self.path / WEIGHTS)
            return
        after = self._score(self.path / WEIGHTS)
        target = self.root / WEIGHTS
        if idist.get_rank() > 0:
            return
        if self._before is not None and after <= self._before:
            logger.warning(
                "The weights are kept: the new ones score %.4f, those of %s %.4f. The new ones stay in %s.",
                after, target, self._before, self.path / WEIGHTS,
            )  # fmt: skip
            return
        if target.is_file():
            previous = target.parent / "previous" / f"{self.path.name}.pt"
            previous.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(target, previous)
            logger.info("The previous weights are kept as %s.", previous)
        with atomic(target) as partial:
            shutil.copyfile(self.path / WEIGHTS, partial)
        add_cases(self.root, read_cases(self.path))
        before = "none before" if self._before is None else f"before {self._before:.4f}"
        logger.info("New weights in %s: score %.4f (%s).", target, after, before)

    # What makes it a bundle

    def _write_configs(self) -> None:
        source, target = self.root / "configs", self.path / "configs"
        shutil.copytree(source, target, dirs_exist_ok=True)
        (self.path / "models").mkdir(parents=True, exist_ok=True)
        if (self.root / "LICENSE").is_file():
            shutil.copyfile(self.root / "LICENSE", self.path / "LICENSE")
        inference, defaults = (json.loads((source / f"{name}.json").read_text()) for name in ("inference", "train"))
        inference |= {key: value for key, value in OF_OTHER_WEIGHTS.items() if key in inference}
        # an overlay may set what inference alone reads, as a baseline that has no translation to save
        inference |= {key: self.config[key] for key in self.config.keys() & inference.keys() - defaults.keys()}
        inference |= {key: value for key, value in self.facts.items() if self.config[key] != inference.get(key)}
        inference |= {"recipe": self.recipe, "bundle_root": self._root_of("inference")}
        _write(target / "inference.json", inference)
        train = lasting_config(self.config, defaults)
        _write(target / "train.json", train | {"bundle_root": self._root_of("train")})
        metadata = run_metadata(_metadata(self.root), self.recipe, bundle_name(self.root))
        _write(target / "metadata.json", metadata | {DATA_HASH: digest_of(self._datalist())})
        earlier = read_cases(self.start) if self.start else {}
        if earlier is None:
            logger.warning("start: which scans %s was trained on is not recorded: do not evaluate on these", self.start)
        add_cases(self.path, self._cases(), earlier)

    def _cases(self) -> Cases | None:
        """Hashes of the scans of the run, of its prepared data or given in its config."""
        lists = [self.config.get(phase, {}).get("dataset", {}).get("data") for phase in ("train", "validate")]
        if not any(isinstance(items, str) for items in lists):
            training, validation = ([item for item in items or () if "image" in item] for items in lists)
            return study_cases(training, validation)
        return prepared_cases(self._datalist()) if self._datalist().is_file() else None

    def _datalist(self) -> Path:
        return Path(str(self.config.get("dataset_dir", ""))) / "datalist.json"

    def _check_data(self) -> None:
        """Refuse other data than those that the run began with: its test patients may be among them."""
        before, now = _metadata(self.path).get(DATA_HASH), digest_of(self._datalist())
        if before and now and before != now:
            raise RunError(
                f"resume: {self._datalist()} is not what the run began with, so patients may have changed their split; "
                f"prepare the data as before, or begin a new run from its weights by --start {self.path}"
            )

    def _report_changes(self) -> None:
        """Warn of settings that are not those that a resumed run began with."""
        path = self.path / "configs" / "train.json"
        before = json.loads(path.read_text()) if path.is_file() else {}
        changed = [
            f"{key} is {self.config[key]}, was {before[key]}"
            for key in sorted(before.keys() & self.config.keys() - OF_A_COMMAND)
            if _plain(before[key]) and self.config[key] != before[key]
        ]
        if changed:
            logger.warning(
                "resume: %s. To go on as the run began, resume with --config_file %s.", "; ".join(changed), path
            )

    def _root_of(self, config: str) -> str:
        # "." comes last: it may be the folder of another bundle
        return root_expression([self.path.as_posix(), self.path.resolve().as_posix(), "."], config)

    def _write_card(self, engine: AlternatingTrainer, scores: Mapping[str, float]) -> None:
        began = self._started_at or time.time()
        panels = sorted((self.path / "logs" / "panels").glob("*.png"))
        if panels:
            (self.path / "docs").mkdir(parents=True, exist_ok=True)
            shutil.copyfile(panels[-1], self.path / "docs" / "panel.png")
        text = run_card(
            _metadata(self.path),
            bundle=bundle_name(self.root),
            datalist=self._datalist(),
            recipe=self.recipe,
            config=self.config,
            seed=engine.seed,
            epoch=engine.state.epoch,
            iterations=engine.state.iteration,
            seconds=time.time() - began,
            device=str(engine.state.device),
            scores=scores,
            recommendation=engine.recommendation,
            picture="panel.png" if panels else None,
        )
        write_text(self.path / "docs" / "README.md", text)
        write_text(
            self.path / "docs" / "data_license.txt",
            "The data of this training run are described in README.md; their licence is that of their owner.\n",
        )


def root_expression(places: Iterable[str], config: str) -> str:
    """Expression for `bundle_root`: the first of the folders that has the config (its name without suffix)."""
    listed = ", ".join(repr(place) for place in dict.fromkeys(places))
    return f"$next((p for p in ({listed}) if os.path.isfile(p + '/configs/{config}.json')), '.')"


def lasting_config(config: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Config of a run without what concerns that run alone; what MONAI Label sets for its studies counts as such.

    Args:
        config: that of the run.
        defaults: `train.json` of the bundle.
    """
    lasting: dict[str, Any] = {**copy.deepcopy(dict(config)), **NEW_RUN}
    if not isinstance(lasting["device"], str):
        lasting["device"] = defaults["device"]
    for phase in ("train", "validate"):
        dataset = lasting[phase]["dataset"]
        if not isinstance(dataset["data"], str):  # files of these studies
            dataset["data"] = defaults[phase]["dataset"]["data"]
    handlers = lasting["train"]["handlers"]
    lasting["train"]["handlers"] = [handler for handler in handlers if handler["_target_"] != "CheckpointLoader"]
    return lasting


def shared_facts(config: Mapping[str, Any]) -> list[str]:
    """Keys that training and inference must share: the network and, directly or not, what it refers to.

    Not the recipe, which inference reads from its own config.
    """
    found: list[str] = []
    waiting = ["network_def"]
    while waiting:
        key = waiting.pop()
        if key in config and key not in (*found, "recipe"):
            found.append(key)
            waiting += [reference.split("::")[0] for reference in references({"": config[key]})]
    return found


def run_metadata(metadata: Mapping[str, Any], recipe: Mapping[str, Any], bundle: str) -> dict[str, Any]:
    """Metadata of a bundle for the channels and labels of a recipe, without what is only true of the bundle's data."""
    channels, structures = (", ".join(names) for names in (recipe["channels"], recipe["labels"][1:]))
    made = copy.deepcopy(dict(metadata)) | {
        "bundle": bundle,
        "version": "0.1.0",
        "changelog": {"0.1.0": f"a training run of {bundle}"},
        "name": f"{structures} in {channels}",
        "task": f"Segmentation of {structures} in {channels}",
        "description": f"A training run of {bundle}; docs/README.md describes its data and scores.",
        "data_source": "see docs/README.md",
        "image_classes": f"channels in this order: {channels}",
        "label_classes": ", ".join(f"{value} {name}" for value, name in enumerate(recipe["labels"])),
    }
    made.pop("pred_classes", None)  # "channel_def" of the prediction names them
    describe_channels(made, recipe)
    return made


def describe_channels(metadata: dict[str, Any], recipe: Mapping[str, Any]) -> None:
    """Set the channels of the image and the labels of the prediction in metadata, in place."""
    formats = metadata["network_data_format"]
    image, pred = formats["inputs"]["image"], formats["outputs"]["pred"]
    image["num_channels"] = len(recipe["channels"])
    image["channel_def"] = {str(index): name for index, name in enumerate(recipe["channels"])}
    pred["channel_def"] = {str(value): name for value, name in enumerate(recipe["labels"])}
    if pred["num_channels"] > 1:  # one for each label, not one for the only lesion
        pred["num_channels"] = len(recipe["labels"])


def _write(path: Path, config: Mapping[str, Any]) -> None:
    write_text(path, json.dumps(config, indent=4, ensure_ascii=False, default=_as_text) + "\n")


def _as_text(value: Any) -> Any:
    """What others set in a config as objects: a device, an array, a path."""
    if isinstance(value, torch.device):
        return f"$torch.device('{value}')"
    return str(value)
