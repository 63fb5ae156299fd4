"""Every overlay of the thigh bundle is trained or evaluated, and stays what it claims to be."""

import json

import pytest
import torch

from .conftest import BUNDLES, parser_of
from .test_workflows import GRIDS, volumes, workflow  # noqa: F401 (fixture)

BUNDLE = BUNDLES / "thigh_mri_muscle_segmentation"
CONFIGS = BUNDLE / "configs"
GRID = sorted(path.relative_to(CONFIGS).as_posix() for path in CONFIGS.glob("grid/*.json"))


@pytest.fixture
def bundle():
    return BUNDLE


@pytest.mark.parametrize("overlay", ["cross_entropy.json", *GRID])
def test_overlay_trains_one_iteration(overlay, prepared, tmp_path):
    places = {"dataset_dir": str(prepared(BUNDLE)), "run_dir": str(tmp_path)}
    parser = parser_of(BUNDLE, "train.json", overlay, epochs=1, batches_per_epoch=1, **places)
    parser.get_parsed_content("initialize")
    trainer = parser.get_parsed_content("train#trainer")
    before = [p.detach().clone() for p in trainer.network.parameters()]
    trainer.run()
    changed = sum(not torch.equal(a, b) for a, b in zip(before, trainer.network.parameters(), strict=True))
    assert changed > len(before) // 3
    weights = trainer.players[0].weights
    if overlay in GRID:
        w_r, w_i = overlay.removeprefix("grid/g_").removesuffix(".json").split("_")
        assert weights == {"adversarial": 1, "cycle": 1, "domain": float(w_r), "identity": float(w_i)}
    assert all(torch.isfinite(torch.as_tensor(v)) for v in trainer.state.output["terms"].values())


def test_defaults_are_the_setting_that_the_paper_recommends():
    config = json.loads((CONFIGS / "train.json").read_text())
    assert [config[key] for key in ("w_c", "w_r", "w_i")] == [1, 0.5, 1]


def test_paper_has_the_published_sizes_and_schedule(prepared):
    parser = parser_of(BUNDLE, "train.json", "paper.json", dataset_dir=str(prepared(BUNDLE)))
    sizes = [
        sum(p.numel() for p in parser.get_parsed_content(key).parameters()) for key in ("network_def", "d_e", "d_h")
    ]
    assert sizes == [2 * 11_365_633, 2_762_689, 2_762_689]
    rate = parser.get_parsed_content("rate")
    assert [rate(epoch) for epoch in (0, 99)] == [1, 1]
    assert rate(100) == pytest.approx(1 - 1 / 101)
    assert rate(199) == pytest.approx(1 - 100 / 101)


def test_originals_are_scored_without_weights(volumes, tmp_path):  # noqa: F811
    """What GMM makes of the scans themselves, the baseline; no file of weights is read."""
    configs = ["inference.json", "evaluate.json", "baselines/original.json"]
    options = {"output_dir": str(tmp_path / "out"), "run_id": "evaluating", "handlers#0#path": "nowhere.pt"}
    evaluation = workflow(BUNDLE, "infer", configs, volumes, **options)
    evaluation.run()
    assert 0 < evaluation.evaluator.state.metrics["val_global_dice"] < 1


def test_reports_and_translations_of_every_scan(volumes, tmp_path):  # noqa: F811
    out = tmp_path / "out"
    options = {"output_dir": str(out), "run_id": "inferring", "save_translation": True}
    workflow(BUNDLE, "infer", ["inference.json"], volumes, **options).run()
    names = {f"{name}_{part}" for name in GRIDS for part in ("seg.nii.gz", "translation.nii.gz", "trust.png")}
    assert {path.name for path in out.iterdir() if path.name[0] != "."} == names | {
        "trust.csv", "muscle.csv", "runs.json", "familiarity.csv",
    }  # fmt: skip
