"""Every config and overlay of the GenSeg bundle is trained for one iteration, and stays what it claims to be."""

import json

import pytest
import torch

from .conftest import BUNDLES, parser_of

BUNDLE = BUNDLES / "brain_mri_genseg_segmentation"
CONFIGS = BUNDLE / "configs"
WHOLE = {"channels": ["image"], "halves": False}  # LiTS and cluttered MNIST: one channel, whole slices


def workflow(files, folder, data, **options):
    places = {"dataset_dir": str(data), "run_dir": str(folder / "run")}
    small = {"batch_size": 2, "batches_per_epoch": 1, "epochs": 1}
    return parser_of(BUNDLE, *files, **places, **small, **options)


def train(files, folder, data, **options):
    parser = workflow(files, folder, data, **options)
    parser.get_parsed_content("initialize")
    trainer = parser.get_parsed_content("train#trainer")
    before = [p.detach().clone() for p in trainer.network.parameters()]
    parser.get_parsed_content("run")
    changed = sum(not torch.equal(a, b) for a, b in zip(before, trainer.network.parameters(), strict=True))
    assert changed > len(before) // 3
    return parser, trainer


BASELINES = sorted(p.relative_to(CONFIGS).as_posix() for p in CONFIGS.glob("baselines/*.json"))
ABLATIONS = sorted(p.relative_to(CONFIGS).as_posix() for p in CONFIGS.glob("ablations/*.json"))


@pytest.mark.parametrize("overlay", [None, "averaged.json", *BASELINES, *ABLATIONS])
def test_overlay_trains_one_iteration(overlay, prepared, tmp_path):
    files = ["train.json"]
    files += [name for name in BASELINES if overlay and overlay.startswith(name.removesuffix(".json") + "_")]
    files += [overlay] if overlay else []
    _, trainer = train(files, tmp_path, prepared(BUNDLE), labelled_per_batch=1)
    assert all(torch.isfinite(torch.as_tensor(v)) for v in trainer.state.output["terms"].values())
    assert (tmp_path / "run/models/model.pt").is_file()
    assert (tmp_path / "run/train_state.pt").is_file()


@pytest.mark.parametrize(("overlay", "size"), [("data_lits.json", 256), ("data_cluttered_mnist.json", 48)])
def test_data_overlay_trains_one_iteration(overlay, size, prepared, tmp_path):
    data = prepared(BUNDLE, **WHOLE, image_size=[size, size])
    _, trainer = train(["train.json", overlay], tmp_path, data, labelled_per_batch=1)
    assert trainer.state.output["translation"].x_pa.shape == (2, 1, size, size)


def test_overlays_are_short():
    for path in CONFIGS.rglob("*.json"):
        if path.parent != CONFIGS:
            assert len(json.loads(path.read_text())) <= 10, path


def test_evaluation_of_slices_scores_the_weights_of_a_run(prepared, tmp_path):
    data = prepared(BUNDLE)
    train(["train.json"], tmp_path, data, labelled_per_batch=1)
    parser = parser_of(tmp_path / "run", "train.json", "evaluate_slices.json", dataset_dir=str(data))
    parser.get_parsed_content("run")
    score = parser.get_parsed_content("validate#evaluator").state.metrics["val_global_dice"]
    assert 0 < score < 1
    assert (tmp_path / "run/eval/metrics.csv").is_file()


def test_paper_config_has_the_papers_size(tmp_path):
    parser = workflow(["train.json", "paper.json"], tmp_path, tmp_path, channels=["flair", "t1c", "t1", "t2"])
    generator, discriminator = (parser.get_parsed_content(k) for k in ("network_def", "discriminator_def"))
    assert sum(p.numel() for p in generator.parameters()) == 7_466_847
    assert sum(p.numel() for p in discriminator.parameters()) == 8_279_619
    assert parser.get_parsed_content("generator_weights")["segmentation"] == 0.01


def fault(parser):
    """Run what `python -m monai.bundle run` would; the messages of the error and its causes."""
    with pytest.raises(Exception) as error:  # noqa: PT011 (the messages are checked by the caller)
        parser.get_parsed_content("run")
    messages = ""
    cause: BaseException | None = error.value
    while cause is not None:
        messages, cause = f"{messages}\n{cause}", cause.__cause__
    return messages


def edited(data, folder, edit):
    """The same data under a changed datalist."""
    content = json.loads((data / "datalist.json").read_text())
    edit(content)
    for items in content.values():
        for item in items if isinstance(items, list) else ():
            item.update({key: str(data / item[key]) for key in ("image", "label") if key in item})
    folder.mkdir()
    (folder / "datalist.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda c: c.update(training_absence=[]), "no absence slice"),
        (lambda c: [item.pop("label", None) for item in c["training"]], "no labelled volume"),
        (lambda c: c["training"][3].update(image="images/lost.npy"), "lost.npy"),
        (lambda c: c.pop("training"), 'no list "training"'),
    ],
)
def test_bad_training_data_is_named(edit, message, prepared, tmp_path):
    data = edited(prepared(BUNDLE), tmp_path / "data", edit)
    assert message in fault(workflow(["train.json"], tmp_path, data))


def test_a_missing_datalist_is_named(tmp_path):
    messages = fault(workflow(["train.json"], tmp_path, tmp_path / "nowhere"))
    assert "no such datalist" in messages
    assert "data_prep" in messages


def test_weights_of_another_width_are_named(prepared, tmp_path):
    data = prepared(BUNDLE)
    parser = workflow(["train.json", "evaluate_slices.json"], tmp_path, data, width=8)
    messages = fault(parser)
    assert "model.pt holds the weights of another network" in messages


def test_without_validation_the_last_weights_are_kept(prepared, tmp_path):
    data = edited(prepared(BUNDLE), tmp_path / "data", lambda c: c.update(validation=[], validation_absence=[]))
    train(["train.json", "no_validation.json"], tmp_path, data, labelled_per_batch=1)
    assert (tmp_path / "run/models/model.pt").is_file()
