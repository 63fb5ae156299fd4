"""Every overlay of the PathoGAN bundle is trained, stays what it claims to be, and no label reaches the training."""

import json

import nibabel as nib
import numpy as np
import pytest
import torch
from transeg.engines.tree import to_device
from transeg.errors import DatalistError, UserError, root_cause

from data_prep import brats_volumes
from data_prep.brats_slices import prepare
from data_prep.phantoms.brain import brain_phantom, write_brain
from data_prep.prepare import prepare as prepare_table

from .conftest import BUNDLES, load_nifti, parser_of, read_config
from .test_workflows import GRIDS, SHAPE, volumes, workflow, write_volumes  # noqa: F401 (fixture)

BUNDLE = BUNDLES / "brain_mri_pathogan_segmentation"
CONFIGS = BUNDLE / "configs"
SIZE = (80, 80)
CHANNELS = len(read_config(BUNDLE, "inference.json")["recipe"]["channels"])
PAPER = ["flair", "t1c", "t1", "t2"]  # sequences of BraTS
SUPERVISED = "baselines/supervised.json"
RECORDS = {"runs.json", "familiarity.csv"}  # of every inference


@pytest.fixture
def bundle():
    return BUNDLE


def trained(data, folder, *overlays, prepare_batch=to_device, **options):
    """Parser and trainer after one iteration."""
    torch.manual_seed(0)
    places = {"dataset_dir": str(data), "run_dir": str(folder / "run")}
    small = {"epochs": 1, "batches_per_epoch": 1, "batch_size": 2, "labelled_per_batch": 1}
    parser = parser_of(BUNDLE, "train.json", *overlays, **{"width": 4, **small, **places, **options})
    parser.get_parsed_content("initialize")
    trainer = parser.get_parsed_content("train#trainer")
    trainer.prepare_batch = prepare_batch
    trainer.run()
    return parser, trainer


BASELINES = sorted(path.relative_to(CONFIGS).as_posix() for path in CONFIGS.glob("baselines/*.json"))


@pytest.mark.parametrize("overlay", ["no_detach.json", "one_discriminator.json", "multi_scale.json", *BASELINES])
def test_overlay_trains_one_iteration(overlay, prepared, tmp_path):
    torch.manual_seed(0)
    fresh = parser_of(BUNDLE, "train.json", overlay, width=4).get_parsed_content("network_def")
    parser, trainer = trained(prepared(BUNDLE), tmp_path, overlay)
    pairs = zip(fresh.parameters(), trainer.network.parameters(), strict=True)
    assert sum(not torch.equal(a, b) for a, b in pairs) > len(list(fresh.parameters())) // 3
    assert all(torch.isfinite(torch.as_tensor(v)) for v in trainer.state.output["terms"].values())
    assert (tmp_path / "run/models/model.pt").is_file()
    assert parser.get_parsed_content("objective").__dict__.get("detach_masks", True) == (overlay != "no_detach.json")


def test_directions_share_one_discriminator(prepared, tmp_path):
    _, trainer = trained(prepared(BUNDLE), tmp_path, "one_discriminator.json")
    views = [trainer.networks[name] for name in ("d_a", "d_b")]
    assert [view.domain for view in views] == [0, 1]
    shared = [[id(p) for p in view.parameters()] for view in views]
    player = next(player for player in trainer.players if player.name == "discriminators")
    assert shared[0] == shared[1] == [id(p) for p in player.parameters]
    image = torch.rand(1, CHANNELS, *SIZE)
    assert not torch.equal(*(view(image)[0] for view in views))


def test_discriminators_at_three_scales(prepared, tmp_path):
    _, trainer = trained(prepared(BUNDLE), tmp_path, "multi_scale.json")
    maps = [trainer.networks[name](torch.rand(1, CHANNELS, *SIZE)) for name in ("d_a", "d_b")]
    assert [[logits.shape[-1] for logits in scales] for scales in maps] == [[10, 5, 2]] * 2


def test_the_run_folder_of_the_supervised_reference_segments_and_scores(prepared, volumes, tmp_path):  # noqa: F811
    trained(prepared(BUNDLE), tmp_path, SUPERVISED)
    run, out = tmp_path / "run", tmp_path / "out"
    options = {"output_dir": str(out)}
    workflow(run, "infer", ["inference.json"], volumes, run_id="inferring", **options).run()
    masks = {f"{name}_seg.nii.gz" for name in GRIDS}
    assert {path.name for path in out.iterdir() if path.name[0] != "."} - RECORDS == masks
    evaluation = workflow(run, "infer", ["inference.json", "evaluate.json"], volumes, run_id="evaluating", **options)
    evaluation.run()
    assert 0 <= evaluation.evaluator.state.metrics["val_mean_dice"] <= 1
    assert len((out / "patients.csv").read_text().splitlines()) == 1 + len(GRIDS)


def test_paper_has_the_published_sizes_weights_and_schedule():
    parser = parser_of(BUNDLE, "train.json", "paper.json", channels=PAPER)
    network, *judges = (parser.get_parsed_content(key) for key in ("network_def", "d_a_def", "d_b_def"))
    count = lambda *parts: sum(p.numel() for part in parts for p in part.parameters())  # noqa: E731
    assert count(network.gamma, network.delta, network.decoder) == 62_747_430
    assert count(network.z_b) == 11_387_589
    assert [count(judge) for judge in judges] == [2_765_761] * 2
    assert parser.get_parsed_content("generator_weights") == {
        **{"adversarial": 1, "cycle": 5, "outside": 1, "inside": 1, "label": 1},
        **{"identity": 1, "relevancy": 0.5, "divergence": 0.1, "presence": 0},
    }
    assert [parser[key] for key in ("epochs", "batch_size", "image_size")] == [119, 4, [240, 240]]
    rate = parser.get_parsed_content("rate")  # of 200 epochs, of which the paper trains 119
    assert [rate(epoch) for epoch in (0, 99)] == [1, 1]
    assert rate(118) == pytest.approx(1 - 19 / 101)


def with_full_labels(batch, device, non_blocking, **options):
    batch = to_device(batch, device, non_blocking, **options)
    assert batch["label"].any()
    assert not batch["label"].all()
    return {**batch, "label": torch.ones_like(batch["label"])}


def state(trainer):
    return {f"{name}.{key}": value for name, net in trainer.networks.items() for key, value in net.state_dict().items()}


@pytest.mark.parametrize("overlays", [(), ("baselines/classifier.json",), (SUPERVISED,)], ids=str)
def test_an_iteration_does_not_look_at_labels(overlays, prepared, tmp_path):
    """The supervised reference does: what is compared would tell."""
    states = []
    for prepare_batch in (to_device, with_full_labels):
        folder = tmp_path / prepare_batch.__name__
        _, trainer = trained(prepared(BUNDLE), folder, *overlays, prepare_batch=prepare_batch)
        states.append(state(trainer))
    same = [torch.equal(value, states[1][key]) for key, value in states[0].items()]
    assert all(same) == (SUPERVISED not in overlays)


def test_no_label_reaches_the_training_process(tmp_path):
    """What `data_prep.brats_slices` writes for the training, as the training reads it."""
    for k in range(4):
        write_brain(brain_phantom((0, k), shape=(48, 48, 31), spacing=5.0), tmp_path / "raw", k)
    prepare(tmp_path / "raw", tmp_path / "data", validation=1, test=1)
    parser = parser_of(BUNDLE, "train.json", dataset_dir=str(tmp_path / "data"))
    for key in ("presence", "absence"):
        items = parser.get_parsed_content(key)
        assert items
        assert not [item for item in items if "label" in item]
    for item in parser.get_parsed_content("train#dataset"):
        assert not item["labelled"]
        assert not item["label"].any()
    validation = parser.get_parsed_content("validation")
    assert {item["presence"] for item in validation} == {True, False}
    assert all(("label" in item) == item["presence"] for item in validation)


TINY = {"width": 2, "blocks": 1, "code": 8}


def test_volumes_train_without_labels_and_segment_scans(tmp_path):
    """The variant in three dimensions, from phantoms to masks on the grids of other scans."""
    for k in range(4):
        phantom = brain_phantom((0, k), shape=(48, 48, 31), spacing=5.0, grade=("HGG", "healthy")[k % 2])
        write_brain(phantom, tmp_path / "raw", k)
    data, raw = tmp_path / "data", tmp_path / "raw"
    path = brats_volumes.prepare(raw, data, size=(32, 32, 32), pixdim=7.5, validation_cases="Phantom_002", test=0)
    lists = json.loads(path.read_text())
    assert [[item["case"] for item in lists["training" + kind]] for kind in ("", "_absence")] == [
        ["Phantom_000"],
        ["Phantom_001", "Phantom_003"],
    ]
    assert "label" not in str([lists["training"], lists["training_absence"], lists["training_volumes"]])
    assert "label" in lists["validation"][0]

    _, trainer = trained(data, tmp_path, "volumes.json", batch_size=1, labelled_per_batch=0, **TINY)
    assert trainer.state.output["translation"].y_a.shape == (1, 4, 32, 32, 32)
    assert all(torch.isfinite(torch.as_tensor(v)) for v in trainer.state.output["terms"].values())

    scans = write_volumes(tmp_path / "scans", channels=4)
    out, run = tmp_path / "out", tmp_path / "run"
    options = {"output_dir": str(out)}
    configs = ["inference.json", "evaluate.json"]
    evaluation = workflow(run, "infer", configs, scans, run_id="evaluating", **options)
    evaluation.run()
    assert 0 <= evaluation.evaluator.state.metrics["val_mean_dice"] <= 1
    workflow(run, "infer", configs[:1], scans, run_id="inferring", **options).run()
    for name, affine in GRIDS.items():
        mask = load_nifti(out / f"{name}_seg.nii.gz")
        assert mask.shape == SHAPE
        np.testing.assert_allclose(mask.affine, affine, atol=1e-6)


def test_all_that_inference_writes(volumes, tmp_path):  # noqa: F811
    out = tmp_path / "out"
    wanted = {f"save_{part}": True for part in ("probability", "translation", "inpainting")}
    options = {"output_dir": str(out), "run_id": "inferring", **wanted}
    workflow(BUNDLE, "infer", ["inference.json"], volumes, **options).run()
    parts = ("seg.nii.gz", "prob.nii.gz", "translation.nii.gz", "inpainting.nii.gz", "trust.png")
    names = {f"{name}_{part}" for name in GRIDS for part in parts}
    assert {path.name for path in out.iterdir() if path.name[0] != "."} == {*names, "trust.csv", *RECORDS}
    name = next(iter(GRIDS))
    prob, healthy, inpainting = (
        load_nifti(out / f"{name}_{part}.nii.gz").get_fdata() for part in ("prob", "translation", "inpainting")
    )
    assert healthy.shape == inpainting.shape == (*prob.shape, CHANNELS)
    assert np.abs(healthy - inpainting).max() > 0


def yes_or_no(folder, cases=9):
    """A table of small scans of bright squares on noise, in slices 2 to 5 of every other case; no masks."""
    rng = np.random.default_rng(0)
    rows = ["case,image,presence"]
    for k in range(cases):
        scan = rng.normal(100, 5, (48, 48, 8))
        scan[20:30, 20:30, 2:6] += 60 * (k % 2)
        nib.save(nib.Nifti1Image(scan.astype(np.float32), np.diag([2.0, 2.0, 5.0, 1])), folder / f"scan{k}.nii.gz")
        rows.append(f"scan{k},scan{k}.nii.gz,{'2-5' if k % 2 else 'no'}")
    (folder / "cases.csv").write_text("\n".join(rows) + "\n")
    return folder / "cases.csv"


def test_yes_or_no_is_enough_to_prepare_train_and_score(tmp_path, caplog):
    """The weights are chosen, and test cases scored, without any mask; Dice is refused in one sentence."""
    caplog.set_level("INFO")
    data, run, out = (tmp_path / name for name in ("data", "run", "out"))
    prepare_table(yes_or_no(tmp_path), str(BUNDLE), data, foreground="none", validation=2, test=2)
    lists = json.loads((data / "datalist.json").read_text())
    assert all(lists[split + kind] for split in ("training", "validation", "test") for kind in ("", "_absence"))
    assert "label" not in str([value for value in lists.values() if isinstance(value, list)])

    trained(data, tmp_path, labelled_per_batch=0, save_last=False, classifier_width=0, **TINY)
    assert "without masks; it chooses the weights" in caplog.text
    assert (run / "models/model.pt").is_file()
    assert "chosen by image-level labels" in caplog.text
    released, inference = (read_config(folder, "inference.json") for folder in (BUNDLE, run))
    assert 0 < inference["threshold"] < 1
    assert inference["least_area"] != released["least_area"]
    assert inference["classifier_width"] == 0
    options = {"run_id": "evaluating", "output_dir": str(out), "dataset_dir": str(data)}
    parser = parser_of(run, "inference.json", "presence.json", **options)
    parser.get_parsed_content("initialize")
    parser.get_parsed_content("run")
    summary = json.loads((out / "presence_summary.json").read_text())
    assert (summary["patients"]["present"], summary["patients"]["absent"]) == (1, 1)
    assert 0 <= summary["slices"]["auc"] <= 1
    with pytest.raises(RuntimeError) as error:
        parser_of(run, "inference.json", "evaluate.json", **options).get_parsed_content("datalist")
    cause = root_cause(error.value)
    assert isinstance(cause, DatalistError)
    assert "no case of test_volumes has a label" in str(cause)


def test_genseg_refuses_data_without_masks(tmp_path):
    with pytest.raises(UserError, match=r"no training case has a label.*brain_mri_pathogan_segmentation"):
        prepare_table(yes_or_no(tmp_path), "brain_mri_genseg_segmentation", tmp_path / "data", foreground="none")
