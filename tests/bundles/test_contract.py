"""What every bundle must have, as MONAI's model zoo and MONAI Label read it. The bundles are found, not listed."""

import re
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser, verify_metadata
from monai.bundle.config_item import ConfigComponent
from transeg.data.recipe import bundle_recipe

from .conftest import BUNDLES, FILES, check_whole, parser_of, read_config

SCHEMA = Path(__file__).with_name("meta_schema_20240725.json")
HEADINGS = (
    "# Model Overview",
    "## Data",
    "## Training configuration",
    "## Performance",
    "## MONAI Bundle Commands",
    "## References",
    "## License",
)
BUDGETS = {"train.json": 345, "inference.json": 240, "evaluate.json": 90, "metadata.json": 90}
OVERLAY_BUDGET = 30
NUMBERS = r"[\s\d.,\-\[\]]+"  # a line of data, which nobody reads


def test_an_empty_folder_is_told_what_it_lacks(tmp_path):
    with pytest.raises(AssertionError) as error:
        check_whole(tmp_path)
    assert all(name in str(error.value) for name in (tmp_path.name, *FILES))


def test_name(bundle):
    # "_v" starts the version in a zip's name; the others make MONAI Label take the bundle for another kind of model
    assert not re.search("_v|detection|deepedit|classification", bundle.name)
    assert re.fullmatch(r"[a-z0-9_]+_segmentation", bundle.name)


def test_metadata(bundle):
    folder = bundle / "configs"
    verify_metadata(meta_file=str(folder / "metadata.json"), filepath=str(SCHEMA))
    meta = read_config(bundle, "metadata.json")
    assert meta["schema"].rsplit("/", 1)[1] == SCHEMA.name
    assert meta["version"] in meta["changelog"]
    assert {"transeg", "pytorch-ignite", "nibabel"} <= meta["required_packages_version"].keys()
    inputs, outputs = (meta["network_data_format"][key] for key in ("inputs", "outputs"))
    assert inputs.keys() == {"image"}
    assert outputs.keys() == {"pred"}
    image = inputs["image"]
    assert (
        len(image["channel_def"])
        == image["num_channels"]
        == len(read_config(bundle, "inference.json")["recipe"]["channels"])
    )


def test_the_schema_refuses(bundle, tmp_path):
    """The check above is one: a version that is no text does not pass."""
    text = (bundle / "configs/metadata.json").read_text()
    (tmp_path / "metadata.json").write_text(re.sub(r'"version": "[^"]*"', '"version": 1', text, count=1))
    with pytest.raises(ValueError, match="1 is not of type 'string'"):
        verify_metadata(meta_file=str(tmp_path / "metadata.json"), filepath=str(SCHEMA))


def test_model_card(bundle):
    lines = (bundle / "docs/README.md").read_text().splitlines()
    assert [line for line in lines if line in HEADINGS] == list(HEADINGS)
    assert (bundle / "docs/data_license.txt").read_text().strip()
    assert "Apache License" in (bundle / "LICENSE").read_text()


def test_keys_of_the_model_zoo(bundle):
    train, inference = ConfigParser(), ConfigParser()
    train.read_config(str(bundle / "configs/train.json"))
    inference.read_config(str(bundle / "configs/inference.json"))
    common = {"bundle_root", "device", "dataset_dir", "output_dir", "network_def", "run"}
    wanted = common | {"training", "val_interval", "train#trainer#max_epochs", "validate#evaluator"}
    parts = ("dataset#data", "handlers", "preprocessing", "inferer")
    wanted |= {f"{phase}#{part}" for phase in ("train", "validate") for part in parts}
    wanted |= {"validate#postprocessing", "validate#key_metric"}
    assert not {key for key in wanted if key not in train}
    wanted = common | {"inferring", "dataset#data", "inferer", "preprocessing", "postprocessing", "handlers"}
    assert not {key for key in wanted if key not in inference}
    assert (
        train["training"] == inference["inferring"] == read_config(bundle, "evaluate.json")["evaluating"] == ["$@run"]
    )
    # others edit the handlers in the file: each a dictionary, the validation with the interval that they set
    handlers = [*train["train#handlers"], *train["validate#handlers"], *inference["handlers"]]
    assert all(ConfigComponent.is_instantiable(handler) for handler in handlers)
    validation = [handler for handler in handlers if handler["_target_"] == "ValidationHandler"]
    assert [handler["interval"] for handler in validation] == ["@val_interval"]


@pytest.mark.parametrize("config", ["train.json", "inference.json"])
def test_the_bundle_finds_itself(bundle, config, monkeypatch):
    """From the repository root and from its own folder, without --bundle_root."""
    for place in (BUNDLES.parent, bundle):
        monkeypatch.chdir(place)
        parser = ConfigParser()
        parser.read_config(str(bundle / "configs" / config))
        parser["imports"] = ["$import os"]
        assert (place / parser.get_parsed_content("bundle_root")).resolve() == bundle


def test_training_and_inference_define_the_same_network(bundle):
    train, inference = (read_config(bundle, f"{name}.json") for name in ("train", "inference"))
    assert train["network_def"] == inference["network_def"]
    settings = set(re.findall(r"@(\w+)", str(train["network_def"])))
    assert settings
    assert {name: train[name] for name in settings} == {name: inference[name] for name in settings}


def test_budgets(bundle):
    folder = bundle / "configs"
    for path in folder.rglob("*.json"):
        budget = BUDGETS.get(path.name, OVERLAY_BUDGET) if path.parent == folder else OVERLAY_BUDGET
        lines = sum(not re.fullmatch(NUMBERS, line) for line in path.read_text().splitlines())
        assert lines <= budget, f"{path.relative_to(BUNDLES)}: {lines} lines, budget {budget}."


def test_learning_rates_follow_who_sets_the_epochs_of_the_trainer(bundle):
    """MONAI Label does, and federated learning, which then goes on beyond them."""
    parser = ConfigParser()
    parser.read_config(bundle / "configs" / "train.json")
    parser["train#trainer#max_epochs"] = 100
    for name in set(re.findall(r'"lr_lambda": "@(\w+)"', (bundle / "configs" / "train.json").read_text())):
        rate = parser.get_parsed_content(name)
        assert all(0 < rate(epoch) <= 1 for epoch in range(100))
        assert rate(1000) == 0


def test_networks_see_plain_tensors(bundle):
    """Tensors with metadata slow down every operation of a network."""
    recipe = bundle_recipe(bundle)
    augment = parser_of(bundle, "train.json", recipe=recipe).get_parsed_content("augmentation")
    batch = {key: torch.rand(2, len(recipe["channels"]), *recipe["image_size"]) for key in augment.images}
    batch |= {label: torch.ones(2, 1, *recipe["image_size"]) for label in augment.images.values() if label}
    for value in augment(batch, "cpu").values():
        assert type(value) is torch.Tensor
