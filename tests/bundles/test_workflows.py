"""Every bundle through MONAI's own consumers: workflows, inference and evaluation of volumes, federated learning."""

import json
import operator
import shutil

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, create_workflow
from monai.fl.client import MonaiAlgo
from monai.fl.utils.constants import ExtraItems, FlStatistics, ModelType, WeightType
from monai.fl.utils.exchange_object import ExchangeObject
from transeg.errors import BatchError, root_cause
from transeg.evaluation.command import run_evaluation
from transeg.evaluation.masks import read_methods
from transeg.evaluation.rows import METHOD, read_rows

from .conftest import CPU, load_nifti, read_config

SHAPE = (44, 52, 6)
GRIDS = {
    "flipped": np.diag([-2.4, 2.4, -2.4, 1.0]),
    "anisotropic": np.diag([1.8, 2.6, 7.0, 1.0]),
    "oblique": np.array([[1.9, 1.2, 0.4, -30], [-1.2, 1.9, 0.3, 55], [0.1, -0.5, 4.2, 7], [0, 0, 0, 1.0]]),
}


@pytest.fixture
def copy(bundle, tmp_path):
    """The bundle's configs in a folder of their own, with the weights of a fresh network."""
    root = tmp_path / bundle.name
    shutil.copytree(bundle / "configs", root / "configs")
    (root / "models").mkdir()
    torch.manual_seed(0)
    parser = ConfigParser()
    parser.read_config(str(root / "configs/inference.json"))
    torch.save(parser.get_parsed_content("network_def").state_dict(), root / "models/model.pt")
    return root


@pytest.fixture
def slices(bundle, prepared):
    """Data prepared by the recipe of the bundle."""
    return prepared(bundle)


@pytest.fixture
def volumes(bundle, tmp_path):
    """Scans that the bundle takes."""
    return write_volumes(tmp_path / "volumes", len(read_config(bundle, "inference.json")["recipe"]["channels"]))


def write_volumes(folder, channels):
    """One scan for each grid, channels last, noise in an ellipsoid with a lesion of four parts, under a data list."""
    rng = np.random.default_rng(0)
    axes = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij"), axis=-1)
    body, lesion = (((axes - centre) ** 2).sum(axis=-1) < radius for centre, radius in ((0, 0.7), (0.2, 0.17)))
    # a fresh network of many classes meets some of them
    regions = lesion * (1 + np.arange(SHAPE[0])[:, None, None] % 4)
    items = []
    folder.mkdir()
    for name, affine in GRIDS.items():
        image = (body * (300 + 90 * lesion))[..., None] + body[..., None] * rng.normal(0, 30, (*SHAPE, channels))
        nib.save(nib.Nifti1Image(image.astype(np.float32), affine), folder / f"{name}.nii.gz")
        nib.save(nib.Nifti1Image(regions.astype(np.uint8), affine), folder / f"{name}_label.nii.gz")
        items.append({"image": f"{name}.nii.gz", "label": f"{name}_label.nii.gz", "case": name})
    write_test_volumes(folder, items)
    return folder


def write_test_volumes(folder, items):
    """The data list of scans to test, under the names that bundles of one and of two modalities look for."""
    lists = {"test_volumes": items, "test_ct_volumes": items, "test_mr_volumes": []}
    (folder / "datalist.json").write_text(json.dumps(lists))


def workflow(root, kind, configs, data, **options):
    return create_workflow(
        workflow_type=kind,
        config_file=[str(root / "configs" / name) for name in configs],
        logging_file=False,
        bundle_root=str(root),
        dataset_dir=str(data),
        device=CPU,
        **options,
    )


def test_properties_of_training(copy, slices):
    """A required property that is missing raises KeyError, an optional one under another name is listed."""
    assert workflow(copy, "train", ["train.json"], slices).check_properties() == []


def test_properties_of_inference(copy, volumes):
    assert workflow(copy, "infer", ["inference.json"], volumes).check_properties() == []


def test_masks_lie_on_the_grids_of_the_scans(copy, volumes, tmp_path):
    out = tmp_path / "out"
    workflow(copy, "infer", ["inference.json"], volumes, output_dir=str(out), run_id="inferring").run()
    assert {path.name for path in out.glob("*.nii.gz")} == {f"{name}_seg.nii.gz" for name in GRIDS}
    for name, affine in GRIDS.items():
        mask = load_nifti(out / f"{name}_seg.nii.gz")
        assert mask.shape == SHAPE
        np.testing.assert_allclose(mask.affine, affine, atol=1e-6)


def one_case_fails(run):
    with pytest.raises(RuntimeError) as error:
        run.run()
    cause = root_cause(error.value)
    assert isinstance(cause, BatchError)
    assert "1 of 3 cases failed" in str(cause)


def test_evaluation_scores_every_scan_as_written(copy, volumes, tmp_path):
    """One scan fails to load: it counts as a missing mask. The scores are those of `transeg evaluate` of the masks."""
    items = json.loads((volumes / "datalist.json").read_text())["test_volumes"]
    (volumes / f"{items[1]['case']}.nii.gz").write_bytes(b"no image")
    out = tmp_path / "out"
    configs = ["inference.json", "evaluate.json"]
    config = read_config(copy, "inference.json")
    same = {"threshold": 0.0} if "least_area" in config else {}  # which finds nothing in noise
    same |= {"modality": "ct"} if "modality" in config else {}
    evaluation = workflow(copy, "infer", configs, volumes, output_dir=str(out), run_id="evaluating", **same)
    one_case_fails(evaluation)
    metrics = evaluation.evaluator.state.metrics
    assert 0 < metrics["val_mean_dice"] < 1
    assert 0 < metrics["val_global_dice"] < 1
    rows = [row for row in read_rows(out / "evaluation.csv") if row["method"] == METHOD]
    labels = config["recipe"]["labels"]
    assert len(rows) == len(GRIDS) * len(labels[1:])

    masks = tmp_path / METHOD
    apply = workflow(copy, "infer", configs[:1], volumes, output_dir=str(masks), run_id="inferring", **same)
    one_case_fails(apply)
    values = {name: [k] for k, name in enumerate(labels) if k} if len(labels) > 2 else {labels[1]: [1, 2, 3, 4]}
    run_evaluation(read_methods([str(masks)]), volumes, masks, values=values)
    written = [row for row in read_rows(masks / "evaluation.csv") if row["method"] == METHOD]
    key = operator.itemgetter("case", "structure")
    for row, own in zip(sorted(rows, key=key), sorted(written, key=key), strict=True):
        assert {name: str(value) for name, value in row.items()} == {name: str(value) for name, value in own.items()}


def weights(algo, **extra):
    """What a client would send; MONAI hands out the live tensors."""
    return {name: value.clone() for name, value in algo.get_weights(extra).weights.items()}


def test_federated_rounds(copy, slices, tmp_path):
    """Two rounds of one client; the validation of train.json evaluates, as the overlays load weights from a file."""
    run = tmp_path / "run"
    settings = {"dataset_dir": str(slices), "device": CPU}
    small = {"run_dir": str(run), "batch_size": 2, "batches_per_epoch": 1, "labelled_per_batch": 1}
    algo = MonaiAlgo(
        bundle_root=str(copy),
        send_weight_diff=False,
        train_kwargs={**settings, **small},
        config_evaluate_filename="configs/train.json",
        eval_kwargs={**settings, "run_dir": str(tmp_path / "scored")},
        best_model_filepath=str(run / "models/model.pt"),
    )
    algo.initialize({ExtraItems.CLIENT_NAME: "hospital"})
    assert algo.trainer is not None
    assert algo.evaluator is not None
    assert algo.trainer.state.max_epochs == 1
    parts = [weights(algo)]
    for done in (1, 2):
        algo.train(ExchangeObject(weights=parts[-1]))
        sent = algo.get_weights()
        assert sent.statistics[FlStatistics.NUM_EXECUTED_ITERATIONS] == 1
        assert algo.trainer.state.epoch == done
        parts.append({name: value.clone() for name, value in sent.weights.items()})
        changed = sum(not torch.equal(parts[-1][name], value) for name, value in parts[-2].items())
        assert changed > len(parts[0]) // 3

    # weights that arrive are the ones that are scored
    scores = [algo.evaluate(ExchangeObject(weights=part)).metrics["val_global_dice"] for part in (parts[0], parts[2])]
    assert 0 <= scores[0] <= 1
    assert all(torch.equal(value, parts[2][name]) for name, value in algo.evaluator.network.state_dict().items())

    # a client that sends differences
    algo.send_weight_diff = True
    algo.train(ExchangeObject(weights=parts[0]))
    sent = algo.get_weights()
    assert sent.weight_type == WeightType.WEIGHT_DIFF
    assert sent.weights.keys() == parts[0].keys()

    # the best model in the run folder is what inference loads
    best = weights(algo, **{ExtraItems.MODEL_TYPE: ModelType.BEST_MODEL})
    parser = ConfigParser()
    parser.read_config(str(run / "configs/inference.json"))
    parser.get_parsed_content("network_def").load_state_dict(best)
    algo.finalize()
