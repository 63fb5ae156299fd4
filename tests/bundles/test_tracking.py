"""Every bundle writes its training to MLflow, in a local file."""

import pytest

from .test_workflows import copy, slices, workflow  # noqa: F401 (fixtures)

mlflow = pytest.importorskip("mlflow", reason="needs the extra 'mlflow'")


@pytest.mark.parametrize("settings", ["mlflow", "configs/tracking.json"])
def test_terms_metrics_and_settings_are_tracked(settings, copy, slices, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    tracking = settings if settings == "mlflow" else str(copy / settings)
    small = {"epochs": 2, "batch_size": 2, "batches_per_epoch": 2, "labelled_per_batch": 1, "learning_rate": 0.002}
    run_dir = tmp_path / "run"
    training = workflow(copy, "train", ["train.json"], slices, tracking=tracking, **small, run_dir=str(run_dir))
    training.initialize()
    training.run()
    trainer, evaluator = (training.parser.get_parsed_content(k) for k in ("train#trainer", "validate#evaluator"))
    terms = {f"{player.name}/{term}" for player in trainer.players for term in player.weights}

    client = mlflow.MlflowClient(f"sqlite:///{run_dir / 'logs/mlruns.db'}")
    [run] = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    assert run.info.status == "FINISHED"
    assert terms | {"loss", "lr_group_0", evaluator.state.key_metric_name} <= run.data.metrics.keys()
    assert run.data.metrics[evaluator.state.key_metric_name] == evaluator.state.metrics[evaluator.state.key_metric_name]
    criteria = {name for name in trainer.state.metrics if name.startswith("label_free/")}
    assert len(criteria) == 4
    assert run.data.params["max_epochs"] == "2"
    if settings != "mlflow":  # that logs means of the epochs and no further settings
        assert [m.step for m in client.get_metric_history(run.info.run_id, "loss")] == [1, 2, 3, 4]
        assert criteria <= run.data.metrics.keys()
        assert run.data.params.items() >= {key: str(value) for key, value in small.items()}.items()
