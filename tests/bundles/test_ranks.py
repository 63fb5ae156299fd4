"""Every bundle under torchrun with two processes: training that loses one, validation, inference, evaluation."""

import json
import os
import signal
import socket
import subprocess
import sys

import pytest
import torch

from tests.commands import start

from .conftest import BUNDLES
from .test_workflows import copy, slices, volumes, workflow, write_test_volumes  # noqa: F401 (fixtures)

SMALL = {"epochs": 2, "batch_size": 4, "batches_per_epoch": 3, "labelled_per_batch": 1}


class Dies:
    """Ends the last process as a failing machine would, in the middle of the second epoch."""

    def attach(self, engine):
        from ignite.engine import Events

        if os.environ["RANK"] == "1":
            engine.add_event_handler(Events.ITERATION_COMPLETED(once=5), lambda: os.kill(os.getpid(), signal.SIGKILL))


def arguments(run, root, configs, data, **options):
    """What follows `python -m monai.bundle`."""
    files = "[" + ",".join(f"'{root / 'configs' / name}'" for name in (*configs, "multi_gpu_train.json")) + "]"
    pairs = {"bundle_root": root, "dataset_dir": data, **options}.items()
    return ["run", run, "--config_file", files, *(part for key, value in pairs for part in (f"--{key}", str(value)))]


def torchrun(*run, **options):
    """What a user would type, on two processes of one thread each; both pipes as one text."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m"]
    command += ["monai.bundle", *arguments(*run, **options)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=180, cwd=BUNDLES.parent, env=environment, check=False
    )


def two_ranks(folder, *run, **options):
    """The processes that torchrun would start: their exit codes and outputs."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    logs = [folder / f"rank{rank}.log" for rank in (0, 1)]
    processes = [
        start(
            "monai.bundle",
            *arguments(*run, **options),
            cwd=BUNDLES.parent,
            log=log,
            environment=shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank, log in enumerate(logs)
    ]
    for process in processes:
        process.join(180)
    return [process.exitcode for process in processes], [log.read_text() for log in logs]


def test_a_training_that_loses_a_process_goes_on_with_any_number(copy, slices, tmp_path):  # noqa: F811
    run, out = tmp_path / "run", tmp_path / "run/logs"
    places = {"run_dir": str(run)}
    dies = {"+train#handlers": [{"_target_": f"{__package__}.test_ranks.Dies"}]}
    (copy / "configs/dies.json").write_text(json.dumps(dies))
    dead = torchrun("training", copy, ["train.json", "dies.json"], slices, **SMALL, **places)
    assert dead.returncode == 1
    assert "Signal 9 (SIGKILL)" in dead.stderr  # torchrun's account of the root cause
    state = torch.load(run / "train_state.pt", weights_only=True)
    assert (state["epoch"], state["iteration"]) == (1, 3)
    assert not list(run.rglob(".partial_*"))

    # a single process finds the checkpoint of two, and the same score on the whole validation set as they on shares
    alone = workflow(copy, "train", ["train.json"], slices, **SMALL, **places, resume=True)
    alone.parser["epochs"] = 1
    alone.initialize()
    alone.run()
    evaluator = alone.parser.get_parsed_content("validate#evaluator")
    best = next(item for item in state["best"] if item["epoch"] == 1)
    evaluator.run()
    assert evaluator.state.metrics[evaluator.state.key_metric_name] == pytest.approx(best["metric"], rel=1e-5)

    codes, outputs = two_ranks(tmp_path, "training", copy, ["train.json"], slices, **SMALL, **places, resume=True)
    assert codes == [0, 0], outputs
    assert torch.load(run / "train_state.pt", weights_only=True)["epoch"] == 2
    rows = [json.loads(row) for row in (out / "terms.jsonl").read_text().splitlines()]
    assert [row["iteration"] for row in rows] == list(range(1, 7))
    assert sorted(path.name for path in (out / "panels").iterdir()) == ["epoch_0001.png", "epoch_0002.png"]
    assert sum(output.count("Got new best metric") for output in outputs) <= 1

    longer = workflow(copy, "train", ["train.json"], slices, **{**SMALL, "epochs": 3}, **places, resume=True)
    longer.initialize()
    longer.run()
    assert torch.load(run / "train_state.pt", weights_only=True)["epoch"] == 3


def test_processes_share_the_scans_and_their_failures(copy, volumes, tmp_path):  # noqa: F811
    items = json.loads((volumes / "datalist.json").read_text())["test_volumes"]
    (volumes / "broken.nii.gz").write_bytes(b"no image")
    items += [{"image": "broken.nii.gz", "case": "broken"}]  # the fourth: that of the second process
    write_test_volumes(volumes, items)
    out = tmp_path / "out"
    codes, outputs = two_ranks(tmp_path, "inferring", copy, ["inference.json"], volumes, output_dir=out)
    assert max(codes) == 1
    assert (
        sum(output.count("error: 1 of 4 cases failed; the remaining cases were processed") for output in outputs) == 1
    )
    assert any("broken.nii.gz" in output for output in outputs)
    assert {path.name for path in out.glob("*.nii.gz")} == {f"{item['case']}_seg.nii.gz" for item in items[:3]}


def test_a_process_without_a_scan_waits_for_the_others(copy, volumes, tmp_path):  # noqa: F811
    items = json.loads((volumes / "datalist.json").read_text())["test_volumes"]
    write_test_volumes(volumes, items[:1])
    out = tmp_path / "out"
    codes, outputs = two_ranks(tmp_path, "inferring", copy, ["inference.json"], volumes, output_dir=out)
    assert codes == [0, 0], outputs
    assert [path.name for path in out.glob("*.nii.gz")] == [f"{items[0]['case']}_seg.nii.gz"]
