"""A run on data of another kind than the released weights makes a bundle that does all that the released one does."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transeg.data.training_cases import add_cases, read_cases
from transeg.errors import RunError, root_cause

from .conftest import BUNDLES, one_update, other_recipe, parser_of, read_config
from .test_workflows import GRIDS, copy, workflow, write_volumes  # noqa: F401 (fixture)


def digests(root: Path) -> dict[str, str]:
    """Hash of every file below a folder."""
    files = [path for path in sorted(root.rglob("*")) if path.is_file()]
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture
def other(bundle, prepared):
    """Prepared data of another recipe."""
    return prepared(bundle, **other_recipe(read_config(bundle, "inference.json")["recipe"]))


def trained(root: Path, data: Path, run: Path, **options: Any) -> Any:
    """Trainer at the end of a run of one update per epoch."""
    small = one_update(read_config(root, "train.json"))
    parser = parser_of(root, "train.json", **{**small, "dataset_dir": str(data), "run_dir": str(run), **options})
    parser.get_parsed_content("initialize")
    parser.get_parsed_content("run")
    return parser.get_parsed_content("train#trainer")


def test_a_run_that_is_never_validated_keeps_its_last_weights(copy, other, tmp_path):  # noqa: F811
    trained(copy, other, tmp_path / "run", val_interval=2)  # it has one epoch
    assert (tmp_path / "run" / "models" / "model.pt").is_file()


def test_a_run_on_other_data_is_a_bundle(copy, other, tmp_path):  # noqa: F811
    before, released = digests(copy), digests(BUNDLES / copy.name)
    run, recipe = tmp_path / "run", json.loads((other / "datalist.json").read_text())["recipe"]
    trained(copy, other, run)
    assert {"configs", "models", "docs", "logs", "train_state.pt"} <= {path.name for path in run.iterdir()}
    inference = read_config(run, "inference.json")
    assert inference["recipe"].items() >= recipe.items()
    assert inference["width"] == 2
    formats = read_config(run, "metadata.json")["network_data_format"]
    assert [*formats["inputs"]["image"]["channel_def"].values()] == recipe["channels"]
    assert [*formats["outputs"]["pred"]["channel_def"].values()] == recipe["labels"]
    card = (run / "docs/README.md").read_text()
    assert all(str(value) in card for name, value in recipe.items() if name != "familiarity")

    scans = write_volumes(tmp_path / "scans", len(recipe["channels"]))
    out = {"output_dir": str(tmp_path / "out")}
    workflow(run, "infer", ["inference.json"], scans, run_id="inferring", **out).run()
    assert {path.name for path in (tmp_path / "out").glob("*_seg.nii.gz")} == {f"{name}_seg.nii.gz" for name in GRIDS}
    evaluation = workflow(run, "infer", ["inference.json", "evaluate.json"], scans, run_id="evaluating", **out)
    evaluation.run()
    assert 0 <= evaluation.evaluator.state.metrics["val_mean_dice"] <= 1

    first = torch.load(run / "models/model.pt", weights_only=True)
    onward = trained(run, other, tmp_path / "onward", start=str(run), epochs=1)
    assert onward.state.epoch == 1
    assert read_config(tmp_path / "onward", "inference.json")["recipe"].items() >= recipe.items()
    assert torch.load(tmp_path / "onward/models/model.pt", weights_only=True).keys() == first.keys()

    resumed = trained(copy, other, run, resume=True, epochs=2)
    assert resumed.state.epoch == 2
    assert [json.loads(row)["epoch"] for row in (run / "logs/terms.jsonl").read_text().splitlines()] == [1, 2]
    assert (digests(copy), digests(BUNDLES / copy.name)) == (before, released)


def test_a_resumed_run_tells_what_it_does_otherwise(copy, other, tmp_path, caplog):  # noqa: F811
    run = tmp_path / "run"
    trained(copy, other, run)
    trained(run, other, run, resume=True, epochs=2)
    assert "resume:" not in caplog.text
    trained(copy, other, run, resume=True, epochs=3, val_interval=2)
    assert f"val_interval is 2, was 1. To go on as the run began, resume with --config_file {run}" in caplog.text


def test_a_run_is_not_resumed_with_other_data(copy, other, tmp_path):  # noqa: F811
    run, again = tmp_path / "run", tmp_path / "again"
    trained(copy, other, run)
    shutil.copytree(other, again)
    trained(copy, again, run, resume=True, epochs=2)  # the same data elsewhere
    content = json.loads((again / "datalist.json").read_text())
    (again / "datalist.json").write_text(json.dumps(content | {"name": "another split"}))
    with pytest.raises(RuntimeError) as error:
        trained(copy, again, run, resume=True, epochs=3)
    assert isinstance(root_cause(error.value), RunError)
    assert f"{again / 'datalist.json'} is not what the run began with" in str(root_cause(error.value))


def test_weights_that_do_not_fit_leave_no_run_behind(copy, other, tmp_path):  # noqa: F811
    with pytest.raises(RuntimeError) as error:
        trained(copy, other, tmp_path / "run", start=str(BUNDLES / copy.name))
    assert "model.pt holds the weights of another network" in str(root_cause(error.value))
    assert not (tmp_path / "run" / "configs").exists()


def test_a_run_begins_from_the_weights_it_is_given(copy, other, tmp_path):  # noqa: F811
    run = tmp_path / "run"
    trained(copy, other, run)
    add_cases(run, {"training": ["of a scan"]})
    first = torch.load(run / "models/model.pt", weights_only=True)
    trained(run, other, tmp_path / "onward", start=str(run), learning_rate=1e-12, seed=1)
    assert read_cases(tmp_path / "onward") == {"training": ["of a scan"]}
    last = torch.load(tmp_path / "onward/models/model.pt", weights_only=True)
    learned = {key: value for key, value in first.items() if "running_" not in key and "num_batches" not in key}
    for key, value in learned.items():  # spectral norm is known only roughly at first, so the scale may differ
        assert torch.norm(last[key] - value) <= 0.1 * torch.norm(value) + 1e-4, key
