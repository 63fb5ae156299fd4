"""Every overlay of the cardiac bundle is trained or run, and stays what it claims to be."""

import numpy as np
import pytest
import torch
from ignite.engine import Events
from transeg.errors import root_cause
from transeg.evaluation.rows import read_dice

from data_prep.mmwhs import prepare
from data_prep.phantoms.heart import heart_phantom, write_heart

from .conftest import BUNDLES, load_nifti, parser_of, read_config
from .test_workflows import workflow

BUNDLE = BUNDLES / "cardiac_ct_mr_segmentation"
CONFIGS = BUNDLE / "configs"
BASELINES = sorted(path.relative_to(CONFIGS).as_posix() for path in CONFIGS.glob("baselines/*.json"))
RECIPE = read_config(BUNDLE, "inference.json")["recipe"] | {"image_size": [24, 24, 16], "pixdim": 8.0}
GRID = {"pixdim": RECIPE["pixdim"], "size": RECIPE["image_size"]}
SMALL = {"recipe": RECIPE, "width": 2, "segmenter_width": 2}


@pytest.fixture(scope="module")
def hearts(tmp_path_factory):
    """Prepared phantoms, a patient of each modality for training, validation and test."""
    folder = tmp_path_factory.mktemp("hearts")
    (folder / "raw").mkdir()
    for modality in ("ct", "mr"):
        for k in range(3):
            write_heart(heart_phantom((0, k), modality, (40, 40, 32), 6.0), folder / "raw", k)
    prepare(folder / "raw", folder / "data", validation=1, test=1, **GRID)
    return folder / "data"


def trained(data, folder, *overlays, epochs=4, **options):
    """Trainer at the end of a training of an iteration an epoch, and who played in each epoch on which terms."""
    places = {"dataset_dir": str(data), "run_dir": str(folder)}
    small = {"width": 2, "segmenter_width": 2, "discriminator_width": 2, "epochs": epochs, "batches_per_epoch": 1}
    parser = parser_of(BUNDLE, "train.json", *overlays, **small, **places, **options)
    parser.get_parsed_content("initialize")
    trainer, terms = parser.get_parsed_content("train#trainer"), []
    before = {key: value.clone() for key, value in trainer.network.state_dict().items()}
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: terms.append(set(trainer.state.output["terms"])))
    trainer.run()
    after = trainer.network.state_dict()
    changed = {key.split(".")[0] for key, value in before.items() if not torch.equal(value, after[key])}
    return trainer, terms, changed


REAL = {"segmenters/real"}
TRANSLATION = {"generators/adversarial", "generators/cycle", "discriminators/adversarial"}
ALL = TRANSLATION | {"generators/shape"} | {f"segmenters/{kind}" for kind in ("real", "synthetic", "reconstructed")}


def test_phases_follow_one_another(hearts, tmp_path):
    trainer, terms, changed = trained(hearts, tmp_path, segmenter_epochs=1, translation_epochs=1)
    assert terms == [REAL, TRANSLATION, ALL, ALL]
    assert changed == {"g_b", "g_a", "s_a", "s_b"}
    assert all(np.isfinite(float(value)) for value in trainer.state.output["terms"].values())
    assert (tmp_path / "models/model.pt").is_file()
    panels = sorted(path.name for path in (tmp_path / "logs/panels").iterdir())
    assert panels == [f"epoch_{k:04d}.png" for k in range(1, 5)]


def test_labels_of_one_modality(hearts, tmp_path, caplog):
    """The segmenter of MR first learns from translations, while the translators do not rely on it yet."""
    prepare(hearts.parent / "raw", tmp_path / "data", validation=1, test=1, unlabelled_domain="mr", **GRID)
    data = tmp_path / "data"
    _, terms, changed = trained(data, tmp_path / "real", "baselines/real_only.json", epochs=1)
    assert (terms, changed) == ([REAL], {"s_a"})
    _, terms, changed = trained(data, tmp_path / "run", segmenter_epochs=1, translation_epochs=1)
    assert terms == [REAL, ALL - {"generators/shape"}, ALL, ALL]
    assert changed == {"g_a", "g_b", "s_a", "s_b"}
    assert "no labelled MR for validation; the scores are those of CT alone" in caplog.text
    state = torch.load(tmp_path / "run" / "train_state.pt", weights_only=True)["networks"]["network"]
    saved = torch.load(tmp_path / "run" / "models" / "model.pt", weights_only=True)
    assert all(torch.equal(saved[key], value) for key, value in state.items()), "the last epoch, whatever CT scores"
    scores = {}
    for modality in ("ct", "mr"):
        options = {"run_id": "evaluating", "modality": modality, "output_dir": str(tmp_path / modality)}
        configs = ["inference.json", "evaluate.json"]
        workflow(tmp_path / "run", "infer", configs, data, **options).run()
        scores[modality] = read_dice(tmp_path / modality / "evaluation.csv")
    assert [len(dices["LV"]) for dices in scores.values()] == [1, 1], "test volumes keep their labels"


def test_baselines(hearts, tmp_path):
    _, terms, changed = trained(hearts, tmp_path / "real", "baselines/real_only.json", epochs=1)
    assert (terms, changed) == ([REAL], {"s_a", "s_b"})
    _, terms, _ = trained(hearts, tmp_path / "none", "baselines/no_shape.json", segmenter_epochs=1)
    assert terms == [REAL, TRANSLATION, TRANSLATION, TRANSLATION]

    with pytest.raises(RuntimeError) as error:
        trained(hearts, tmp_path / "alone", "baselines/ada.json", epochs=1)
    assert "name its run folder by --start" in str(root_cause(error.value))
    start = tmp_path / "none"
    _, terms, _ = trained(hearts, tmp_path / "ada", "baselines/ada.json", epochs=1, start=str(start))
    assert terms == [{term for term in ALL if "segmenters" in term}]
    first, last = (torch.load(run / "models/model.pt", weights_only=True) for run in (start, tmp_path / "ada"))
    assert all(torch.equal(value, last[key]) for key, value in first.items() if key.startswith("g_"))


def test_every_baseline_is_tested():
    assert BASELINES == ["baselines/ada.json", "baselines/no_shape.json", "baselines/real_only.json"]


def test_paper_has_the_published_size_and_schedule():
    parser = parser_of(BUNDLE, "train.json", "paper.json")
    count = lambda key: sum(p.numel() for p in parser.get_parsed_content(key).parameters())  # noqa: E731
    assert (count("network_def"), count("d_a_def")) == (7_581_230, 665_825)
    rate = parser.get_parsed_content("rate")
    assert [rate(epoch) for epoch in (0, 209)] == [1, 1]
    assert rate(210) == pytest.approx(1 - 1 / 51)
    assert rate(259) == pytest.approx(1 - 50 / 51)
    assert [phase.get("epochs") for phase in parser.get_parsed_content("phases")] == [100, 60, None]


@pytest.mark.parametrize(("count", "phases"), [(1, [0, 0, None]), (70, [35, 17, None])])
def test_phases_and_rate_follow_who_sets_the_epochs_of_the_trainer(count, phases):
    """MONAI Label does, and federated learning, which then goes on beyond them."""
    parser = parser_of(BUNDLE, "train.json", epochs=40, **{"train#trainer#max_epochs": count})
    assert [phase.get("epochs") for phase in parser.get_parsed_content("phases")] == phases
    rate = parser.get_parsed_content("rate")
    assert all(rate(epoch) > 0 for epoch in range(max(count, 40)))
    assert (rate(0), rate(1000)) == (1, 0)


@pytest.mark.parametrize(("modality", "to"), [("ct", "mr"), ("mr", "ct")])
def test_translation_in_units_of_the_other_modality(modality, to, hearts, tmp_path):
    path = str(tmp_path / "model.pt")
    torch.save(parser_of(BUNDLE, "inference.json", **SMALL).get_parsed_content("network_def").state_dict(), path)
    options = {**SMALL, "output_dir": str(tmp_path), "run_id": "inferring", "modality": modality}
    options["handlers#0#path"] = path
    workflow(BUNDLE, "infer", ["inference.json", "translate.json"], hearts, **options).run()
    [file] = tmp_path.glob(f"*_{to}.nii.gz")
    found = load_nifti(file)
    source = load_nifti(next(hearts.parent.rglob(file.name.replace(f"_{to}", "_image"))))
    assert found.shape == source.shape
    np.testing.assert_allclose(found.affine, source.affine, atol=1e-5)
    values, inside = np.unique(found.get_fdata()), (-100, 800) if to == "ct" else (0, 1000)
    assert values[0] == (-1000 if to == "ct" else 0)
    assert values[-1] <= inside[1]
    assert len((tmp_path / "regions.csv").read_text().splitlines()) == 1 + 5


def test_the_modality_of_each_scan_is_told(hearts, tmp_path):
    torch.save(
        parser_of(BUNDLE, "inference.json", **SMALL).get_parsed_content("network_def").state_dict(), tmp_path / "m.pt"
    )
    masks = {}
    for modality in ("auto", "ct", "mr"):
        options = {**SMALL, "output_dir": str(tmp_path / modality), "run_id": "inferring", "modality": modality}
        options["handlers#0#path"] = str(tmp_path / "m.pt")
        workflow(BUNDLE, "infer", ["inference.json"], hearts, **options).run()
        masks[modality] = {
            path.name: load_nifti(path).get_fdata() for path in (tmp_path / modality).glob("*_seg.nii.gz")
        }
    assert sorted(name[:2] for name in masks["auto"]) == ["ct", "mr"]
    for name, mask in masks["auto"].items():
        np.testing.assert_array_equal(mask, masks[name[:2]][name])
        assert mask.any()


def test_s_score_is_that_of_the_scorer(hearts, tmp_path):
    torch.manual_seed(0)
    network = parser_of(BUNDLE, "inference.json", **SMALL).get_parsed_content("network_def")
    torch.save(network.state_dict(), tmp_path / "model.pt")
    for parameter in network.s_b.decoder[-1].layers[-1].parameters():
        torch.nn.init.zeros_(parameter)
    network.s_b.decoder[-1].layers[-1].bias.data[3] = 1.0  # LV everywhere
    (tmp_path / "scorer/models").mkdir(parents=True)
    torch.save(network.state_dict(), tmp_path / "scorer/models/model.pt")
    configs = ["inference.json", "evaluate.json", "s_score.json"]
    options = {**SMALL, "output_dir": str(tmp_path / "out"), "run_id": "evaluating", "modality": "ct"}
    options |= {"handlers#0#path": str(tmp_path / "model.pt"), "scorer_run": str(tmp_path / "scorer")}
    evaluation = workflow(BUNDLE, "infer", configs, hearts, **options)
    evaluation.run()
    found = read_dice(tmp_path / "out" / "evaluation.csv")
    assert list(found) == ["Myo", "LA", "LV", "RA", "RV"]
    assert [dice > 0 for [dice] in found.values()] == [False, False, True, False, False]


def test_checkpointing_changes_no_weight(hearts, tmp_path):
    states = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        trained(hearts, tmp_path / str(checkpointing), epochs=1, checkpointing=checkpointing)
        states.append(torch.load(tmp_path / str(checkpointing) / "models/model.pt", weights_only=True))
    assert states[0].keys() == states[1].keys()
    for key, value in states[0].items():
        torch.testing.assert_close(states[1][key], value, rtol=1e-3, atol=1e-5)
