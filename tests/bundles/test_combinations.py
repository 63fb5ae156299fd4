"""Every documented combination of configs gives the values of its paper, in any order of the overlays that makes sense.

The tables below are those of the papers (PLAIN: small, for a CPU; PAPER: as published). A row names overlays, what
they change, and what they change only over the paper's config.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from monai.bundle import ConfigParser
from torch.nn.modules.conv import _ConvNd
from transeg.engines.player import Player
from transeg.engines.weights import WeightsLoader

from .conftest import BUNDLES, parser_of, read_config

GENSEG, PATHOGAN, THIGH, CARDIAC = (
    BUNDLES / name
    for name in (
        "brain_mri_genseg_segmentation",
        "brain_mri_pathogan_segmentation",
        "thigh_mri_muscle_segmentation",
        "cardiac_ct_mr_segmentation",
    )
)


META = "$torch.device('meta')"


class Row(NamedTuple):
    """Overlays and the values that they change."""

    overlays: tuple[str, ...] = ()
    changes: Mapping[str, Any] = {}
    in_paper: Mapping[str, Any] = {}


def shares(**weights: float) -> dict[str, float]:
    """Weights of which a player's loss is the weighted mean."""
    return {term: weight / sum(weights.values()) for term, weight in weights.items()}


# G. GenSeg, Vorontsov et al.

GENSEG_PLAIN = {
    "discriminators": {"adversarial": 1},
    "generators": shares(segmentation=1, reconstruction=50, latent=1, cycle=50, adversarial=3),
    "width": 6, "image": ([128, 128], [1.88, 1.88, -1.0]), "discriminator_widths": (24, 48, 96), "scales": 3,
    "export": "network", "saves": "best",
    "batch_size": 10, "epochs": 30, "batches": 100, "labelled": 2, "learning_rate": 0.001, "segment_absence": True,
    "reads": {"presence", "presence with a label", "absence"}, "scores": {"validation", "validation_absence"},
}  # fmt: skip
GENSEG_PAPER = GENSEG_PLAIN | {
    "generators": shares(segmentation=0.01, reconstruction=50, latent=1, cycle=50, adversarial=3),
    "width": 16, "image": ([240, 240], 1.0), "discriminator_widths": (64, 128, 256, 512),
    "batch_size": 20, "epochs": 500, "batches": None, "labelled": 0, "segment_absence": False,
}  # fmt: skip
ALONE = {"discriminators": None, "discriminator_widths": None, "scales": None}
LABELLED_ALONE = {"presence with a label"}
TEACHER = {**ALONE, "generators": shares(segmentation=1, consistency=0.01), "averages": {"teacher": 0.99}}
GENSEG_BASELINES = [
    Row(
        ("baselines/segmentation_only.json",),
        {**ALONE, "generators": shares(segmentation=1), "labelled": 0, "reads": LABELLED_ALONE | {"absence"}},
        {"reads": LABELLED_ALONE},
    ),
    Row(
        ("baselines/segmentation_only.json", "baselines/segmentation_only_unet.json"),
        {
            **{**ALONE, "generators": shares(segmentation=1), "labelled": 0, "reads": LABELLED_ALONE | {"absence"}},
            "learning_rate": 0.01,
        },
        {"reads": LABELLED_ALONE},
    ),
    Row(
        ("baselines/autoencoding.json",),
        {**ALONE, "generators": shares(segmentation=1, reconstruction=1)},
        {"generators": shares(segmentation=0.01, reconstruction=1)},
    ),
    Row(("baselines/mean_teacher.json",), TEACHER),
    Row(("baselines/mean_teacher.json", "baselines/mean_teacher_dropout.json"), TEACHER),
    Row(("baselines/mean_teacher.json", "baselines/mean_teacher_norm_dropout.json"), TEACHER),
]
GENSEG_ABLATIONS = [
    Row(
        ("ablations/no_translation.json",),
        {**ALONE, "generators": shares(segmentation=1, reconstruction=50, latent=1)},
        {"generators": shares(segmentation=0.01, reconstruction=50, latent=1)},
    ),
    Row(
        ("ablations/presence_to_absence.json",),
        {"generators": shares(segmentation=1, reconstruction=50, latent=1, adversarial=3)},
        {"generators": shares(segmentation=0.01, reconstruction=50, latent=1, adversarial=3)},
    ),
    Row(("ablations/mutual_information.json",), {"information": {"mutual_information": 1}}),
    *(
        Row((f"ablations/{name}.json",))
        for name in (
            "norm_batch_batch",
            "norm_instance_instance",
            "norm_layer_layer",
            "separate_decoder",
            "signed_code",
            "skip_concat",
            "skip_none",
            "skip_sum",
        )
    ),
]
GENSEG_OTHERS = [
    Row(("averaged.json",), {"export": "average", "averages": {"average": 0.99}}),
    Row(("strong_augmentation.json",)),
    Row(("no_validation.json",), {"scores": set(), "saves": "last"}),
    Row(("evaluate_slices.json",), {"scores": {"test"}}),
]
# the overlay of a data set, and the one that the paper's setting needs as well
LITS = (
    Row(("data_lits.json",), {"image": ([256, 256], None)}),
    Row(("paper_lits.json",), {"batch_size": 10, "epochs": 200}),
)
MNIST = (
    Row(
        ("data_cluttered_mnist.json",),
        {"image": ([48, 48], None), "batch_size": 20, "segment_absence": False, "scores": {"validation"}},
    ),
    Row(("paper_cluttered_mnist.json",), {"width": 32, "discriminator_widths": (128, 256, 512), "epochs": 300}),
)
MNIST_BASELINES = [
    Row(),
    *(row._replace(changes={**row.changes, "reads": LABELLED_ALONE}) for row in GENSEG_BASELINES[:2]),
    *GENSEG_BASELINES[2:],
]

# C. PathoGAN, Andermatt et al.

PATHOGAN_PLAIN = {
    "discriminators": {"adversarial": 1},
    "generators": {
        **{"adversarial": 3, "cycle": 2, "outside": 1, "inside": 1, "label": 1},
        **{"identity": 0.3, "relevancy": 0.5, "divergence": 0.1, "presence": 1},
    },
    "width": 12, "image": ([128, 128], [1.88, 1.88, -1.0]), "discriminator_widths": (24, 48, 96), "scales": 1,
    "export": "average", "averages": {"average": 0.99}, "saves": "last",
    "batch_size": 4, "epochs": 15, "batches": 100, "labelled": 0, "learning_rate": 0.0002,
    "detach_masks": True, "reduction": "mean",
    "reads": {"presence", "presence with a label", "absence"}, "scores": {"validation", "validation_absence"},
}  # fmt: skip
PATHOGAN_PAPER = PATHOGAN_PLAIN | {
    "generators": {
        **{"adversarial": 1, "cycle": 5, "outside": 1, "inside": 1, "label": 1},
        **{"identity": 1, "relevancy": 0.5, "divergence": 0.1, "presence": 0},
    },
    "width": 64, "image": ([240, 240], 1.0), "discriminator_widths": (64, 128, 256, 512),
    "averages": {"average": 0}, "epochs": 119, "batches": None, "detach_masks": False, "reduction": "sum",
}  # fmt: skip
PATHOGAN_VOLUMES = PATHOGAN_PLAIN | {
    "width": 6, "image": ([64, 64, 64], 3.75), "discriminator_widths": (12, 24, 48), "batch_size": 1, "batches": 20,
}  # fmt: skip
PATHOGAN_ROWS = [
    Row(),
    Row(("no_detach.json",), {"detach_masks": False}),
    Row(("one_discriminator.json",)),
    Row(("multi_scale.json",), {"scales": 3}, {"discriminator_widths": (64, 128, 256)}),
    Row(
        ("baselines/classifier.json",),
        {
            **{**ALONE, "generators": {"presence": 1}},
            **{"learning_rate": 0.001, "detach_masks": None, "reduction": None},
        },
    ),
    Row(
        ("baselines/supervised.json",),
        {
            **{**ALONE, "generators": {"segmentation": 1}},
            **{"learning_rate": 0.001, "segment_absence": True, "detach_masks": None, "reduction": None},
        },
    ),
]

# A. thigh muscle, Gadermayr et al.

THIGH_PLAIN = {
    "generators": {"adversarial": 1, "cycle": 1, "domain": 0.5, "identity": 1},
    "discriminators": {"adversarial": 1},
    "width": 12, "image": ([192, 96], 2.0), "discriminator_widths": (24, 48, 96, 192), "scales": 1,
    "export": "network", "saves": "last",
    "batch_size": 1, "epochs": 10, "batches": 150, "labelled": 0, "learning_rate": 0.0002,
    "adversarial": "least_squares",
    "reads": {"presence", "presence with a label", "absence"}, "scores": {"validation"},
}  # fmt: skip
THIGH_PAPER = THIGH_PLAIN | {
    "width": 64, "image": ([256, 256], [1.0, 1.0, -1.0]), "discriminator_widths": (64, 128, 256, 512), "epochs": 200,
    "batches": 3,  # of the larger domain
}  # fmt: skip
THIGH_ROWS = [
    Row(),
    Row(("cross_entropy.json",), {"adversarial": "cross_entropy"}),
    *(
        Row(
            (f"grid/g_{w_r}_{w_i}.json",),
            {"generators": {"adversarial": 1, "cycle": 1, "domain": w_r, "identity": w_i}},
        )
        for w_r, w_i in ((0, 0), (0, 1), (1, 1), (2, 1))
    ),
]

# B. cardiac CT and MR, Zhang et al.

REAL_ONLY = {
    "players": ["segmenters"],
    "objective": {"translate": False, "volumes": ["real"]},
    "weights": {"segmenters": {"real": 1}},
}
WITHOUT_SHAPE = {
    "players": ["generators", "discriminators"],
    "objective": {"shape": False},
    "weights": {"generators": {"adversarial": 1, "cycle": 10}},
}
OFFLINE = {
    "players": ["segmenters"],
    "weights": {"segmenters": {"real": 0.5, "synthetic": 0.25, "reconstructed": 0.25}},
}
CARDIAC_PLAIN = {
    "generators": {"adversarial": 1, "cycle": 10, "shape": 1},
    "segmenters": shares(real=1, synthetic=1, reconstructed=1),
    "discriminators": {"adversarial": 1},
    "width": 8, "image": ([32, 32, 24], 5.0), "discriminator_widths": (8, 16, 32), "scales": 1,
    "export": "network", "saves": "best",
    "batch_size": 2, "epochs": 56, "batches": 25, "labelled": 0, "learning_rate": 0.001,
    "phases": [REAL_ONLY | {"epochs": 28}, WITHOUT_SHAPE | {"epochs": 14}, {"patience": None}],
    "reads": {"ct", "mr"}, "scores": {"validation_ct", "validation_mr"},
}  # fmt: skip
CARDIAC_PAPER = CARDIAC_PLAIN | {
    "width": 16, "image": ([112, 112, 86], 1.5), "discriminator_widths": (32, 64, 128),
    "batch_size": 1, "epochs": 260, "batches": None, "learning_rate": 0.0002,
    "phases": [REAL_ONLY | {"epochs": 100}, WITHOUT_SHAPE | {"epochs": 60}, {"patience": 5}],
}  # fmt: skip
CARDIAC_ROWS = [
    Row(),
    Row(
        ("baselines/real_only.json",),
        {"phases": [REAL_ONLY | {"patience": None}]},
        {"phases": [REAL_ONLY | {"patience": 5}]},
    ),
    Row(
        ("baselines/no_shape.json",),
        {"phases": [REAL_ONLY | {"epochs": 28}, WITHOUT_SHAPE], "saves": "last"},
        {"phases": [REAL_ONLY | {"epochs": 100}, WITHOUT_SHAPE]},
    ),
    Row(
        ("baselines/ada.json",),
        {"phases": [OFFLINE | {"patience": None}], "start_required": True},
        {"phases": [OFFLINE | {"patience": 5}]},
    ),
]


class Case(NamedTuple):
    """A combination: the overlays in each order, and the values."""

    bundle: Path
    orders: list[list[str]]
    expected: Mapping[str, Any]

    @property
    def name(self) -> str:
        """For pytest."""
        return "+".join([self.bundle.name.split("_")[-2], *(name.removesuffix(".json") for name in self.orders[0])])


def orders(first: Sequence[str], second: Sequence[str]) -> list[list[str]]:
    """One before the other, and after it."""
    both = [[*first, *second], [*second, *first]]
    return both if both[0] != both[1] else both[:1]


def merged(*parts: Mapping[str, Any]) -> dict[str, Any]:
    """Later values over earlier ones."""
    return {key: value for part in parts for key, value in part.items()}


def cases_of(bundle: Path, plain: Mapping, paper: Mapping, rows: Sequence[Row], data: Sequence[Row] = ()) -> list[Case]:
    """Each row over the bundle's own setting, then over the paper's."""
    own, published = (list(row.overlays) for row in data) if data else ([], [])
    settings = [[*order, *published] for order in orders(["paper.json"], own)]
    cases = []
    for row in rows:
        values = merged(plain, *(part.changes for part in data[:1]), row.changes)
        cases.append(Case(bundle, orders(own, row.overlays), values))
        values = merged(paper, *(part.changes for part in data), row.changes, row.in_paper)
        found = [order for setting in settings for order in orders(setting, row.overlays)]
        cases.append(Case(bundle, found, values))
    return cases


TRAINING = [
    *cases_of(GENSEG, GENSEG_PLAIN, GENSEG_PAPER, [Row(), *GENSEG_BASELINES, *GENSEG_ABLATIONS, *GENSEG_OTHERS]),
    *cases_of(GENSEG, GENSEG_PLAIN, GENSEG_PAPER, [Row(), *GENSEG_BASELINES], LITS),
    *cases_of(GENSEG, GENSEG_PLAIN, GENSEG_PAPER, MNIST_BASELINES, MNIST),
    *cases_of(PATHOGAN, PATHOGAN_PLAIN, PATHOGAN_PAPER, PATHOGAN_ROWS),
    *(
        Case(PATHOGAN, orders(["volumes.json"], row.overlays), merged(PATHOGAN_VOLUMES, row.changes))
        for row in PATHOGAN_ROWS
    ),
    *cases_of(THIGH, THIGH_PLAIN, THIGH_PAPER, THIGH_ROWS),
    *cases_of(CARDIAC, CARDIAC_PLAIN, CARDIAC_PAPER, CARDIAC_ROWS),
]

# what is read, with which weights, what is written; the paper's settings over the recipe of data prepared so
RUN = {"reads": {"test_volumes"}, "loads": ["models/model.pt"], "writes": {"mask"}, "output": "eval"}
TWO = {"reads": {"test_ct_volumes", "test_mr_volumes"}}
TO_MR = {"reads": {"test_ct_volumes"}, "writes": {"translation"}}
INFERENCE = [
    Case(bundle, orders(first, second), merged(settings, RUN, {"scores": None}, changes))
    for bundle, first, second, settings, changes in (
        (GENSEG, [], [], GENSEG_PLAIN, {}),
        (GENSEG, [], ["paper.json"], GENSEG_PAPER, {}),
        (PATHOGAN, [], [], PATHOGAN_PLAIN, {}),
        (PATHOGAN, [], ["paper.json"], PATHOGAN_PAPER, {}),
        (PATHOGAN, [], ["volumes.json"], PATHOGAN_VOLUMES, {}),
        (PATHOGAN, [], ["baselines/supervised.json"], PATHOGAN_PLAIN, {}),
        (PATHOGAN, [], ["synthesise.json"], PATHOGAN_PLAIN, {}),
        (PATHOGAN, ["paper.json"], ["synthesise.json"], PATHOGAN_PAPER, {}),
        (THIGH, [], [], THIGH_PLAIN, {}),
        (THIGH, [], ["paper.json"], THIGH_PAPER, {}),
        (THIGH, [], ["baselines/original.json"], THIGH_PLAIN, {"loads": []}),
        (THIGH, [], ["segment_cut.json"], THIGH_PLAIN, {}),
        (THIGH, [], ["learn_cut.json"], THIGH_PLAIN, {"reads": {"validation_volumes"}}),
        (CARDIAC, [], [], CARDIAC_PLAIN, TWO),
        (CARDIAC, [], ["paper.json"], CARDIAC_PAPER, TWO),
        (CARDIAC, [], ["translate.json"], CARDIAC_PLAIN, TO_MR),
        (
            CARDIAC,
            ["paper.json"],
            ["translate.json"],
            CARDIAC_PAPER,
            TO_MR,
        ),
    )
]
SCORED = {"writes": set(), "scores": {"val_global_dice"}}
CT = {"reads": {"test_ct_volumes"}, "output": "eval/ct"}
S_SCORE = CT | {"loads": ["models/model.pt"] * 2, "output": "eval/s_score_ct"}
EVALUATION = [
    Case(bundle, orders(["evaluate.json"], overlays), merged(settings, RUN, SCORED, changes))
    for bundle, overlays, settings, changes in (
        (GENSEG, [], GENSEG_PLAIN, {}),
        (GENSEG, ["paper.json"], GENSEG_PAPER, {}),
        (PATHOGAN, [], PATHOGAN_PLAIN, {}),
        (PATHOGAN, ["paper.json"], PATHOGAN_PAPER, {}),
        (PATHOGAN, ["volumes.json"], PATHOGAN_VOLUMES, {}),
        (PATHOGAN, ["baselines/supervised.json"], PATHOGAN_PLAIN, {}),
        (THIGH, [], THIGH_PLAIN, {}),
        (THIGH, ["paper.json"], THIGH_PAPER, {}),
        (THIGH, ["baselines/original.json"], THIGH_PLAIN, {"loads": []}),
        (THIGH, ["segment_cut.json"], THIGH_PLAIN, {}),
        (CARDIAC, [], CARDIAC_PLAIN, CT),
        (CARDIAC, ["paper.json"], CARDIAC_PAPER, CT),
    )
] + [Case(CARDIAC, [["evaluate.json", "s_score.json"]], merged(CARDIAC_PLAIN, RUN, SCORED, S_SCORE))]  # over the scores


LISTS = {
    "training": ["presence with a label", "presence", "presence"],
    "training_absence": ["absence", "absence"],
    "training_ct": ["ct", "ct"],
    "training_mr": ["mr"],
    **{name: [name] for split in ("validation", "test") for name in (split, f"{split}_absence", f"{split}_volumes")},
    **{name: [name] for kind in ("ct", "mr") for name in (f"validation_{kind}", f"test_{kind}_volumes")},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Lists of every name for data of another recipe; their images are never opened."""
    folder = tmp_path_factory.mktemp("lists")
    (folder / "stack.npy").touch()

    def get(bundle: Path, size: Sequence[int], pixdim: float | list[float] | None) -> Path:
        recipe = read_config(bundle, "inference.json")["recipe"] | {"image_size": size, "pixdim": pixdim}
        lists: dict[str, Any] = {"recipe": recipe | ({"halves": False} if pixdim is None else {})}
        for name, cases in LISTS.items():
            index = {} if name.endswith("volumes") else {"index": 0}
            lists[name] = [{"image": "stack.npy", "case": case, **index} for case in cases]
            for item in lists[name]:
                domain = next((part for part in ("ct", "mr") if part in name.split("_")), None)
                item |= {"domain": domain} if domain else {}
                item |= {} if name.startswith("training") and item["case"].endswith("ence") else {"label": "stack.npy"}
        (folder / "datalist.json").write_text(json.dumps(lists))
        return folder

    return get


@pytest.fixture(autouse=True)
def without_arithmetic(monkeypatch):
    """Networks without values, whose size costs nothing; spectral norm needs values."""
    monkeypatch.setattr("transeg.networks.spectral.add_spectral_norm", lambda module, enabled=True: module)
    with torch.device("meta"):
        yield


def training_values(parser: ConfigParser) -> dict[str, Any]:
    players: list[Player] = parser.get_parsed_content("players")
    network, export = map(parser.get_parsed_content, ("network", "export_network"))
    train, validation, sampler = map(parser.get_parsed_content, ("train#dataset", "validate#dataset", "train#sampler"))
    judges = next((player.networks[0] for player in players if player.name == "discriminators"), None)
    convs = [] if judges is None else [part for part in judges.modules() if isinstance(part, _ConvNd)]
    channels = len(parser.get_parsed_content("channels"))
    optimizer = players[0].optimizer
    assert all(player.optimizer.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"] for player in players[:2])
    values = {
        **{player.name: player.weights for player in players},
        "width": parser.get_parsed_content("width"),
        "image": (parser.get_parsed_content("image_size"), parser.get_parsed_content("pixdim")),
        "discriminator_widths": tuple(dict.fromkeys(conv.out_channels for conv in convs))[:-1] or None,
        "scales": sum(conv.in_channels == channels for conv in convs) or None,
        "export": "network" if export is network else "average",
        "averages": decays(parser),
        "saves": "last" if parser.get_parsed_content("save_last") else "best",
        "batch_size": sampler.batch_size,
        "epochs": parser.get_parsed_content("epochs"),
        "batches": sampler.batches_per_epoch,
        "labelled": sampler.labelled_per_batch,
        "learning_rate": optimizer.param_groups[0]["lr"],
        "reads": {item["case"] for item in [*train.data, *(train.absence or ())]},
        "scores": {item["case"] for item in validation.data},
        "phases": parser.get_parsed_content("phases") or None,
        "start_required": parser.get_parsed_content("start_required") or None,
    }
    for name in ("segment_absence", "detach_masks", "reduction", "adversarial"):
        key = f"objective#{name}"
        values[name] = parser.get_parsed_content(key) if key in parser else None
    return values


def decays(parser: ConfigParser) -> dict[str, float] | None:
    """How much of each average one more update leaves."""
    found = {}
    for name in parser.get_parsed_content("averages") or ():
        average, update = torch.ones(1, device="cpu"), torch.zeros(1, device="cpu")
        parser.get_parsed_content("networks")[name].multi_avg_fn([average], [update], 1)
        found[name] = float(average)
    return found or None


def inference_values(parser: ConfigParser) -> dict[str, Any]:
    root = Path(parser["bundle_root"])
    handlers = parser.get_parsed_content("handlers")
    kinds = {"mask": "save_mask", "translation": "save_translation"}
    return {
        "width": parser.get_parsed_content("width"),
        "image": (parser.get_parsed_content("image_size"), parser.get_parsed_content("pixdim")),
        "reads": {item["case"] for item in parser.get_parsed_content("datalist")},
        "loads": [str(part.path.relative_to(root)) for part in handlers if isinstance(part, WeightsLoader)],
        "writes": {kind for kind, key in kinds.items() if parser.get_parsed_content(key)},
        "output": str(Path(parser.get_parsed_content("output_dir")).relative_to(root)),
        "scores": set(parser.get("evaluator#key_val_metric", {})) or None,
    }


def same(found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Compare values; what one of them lacks is None."""
    for key in found.keys() | expected.keys():
        value, wanted = found.get(key), expected.get(key)
        numbers = isinstance(wanted, dict) and all(isinstance(part, int | float) for part in wanted.values())
        assert value == (pytest.approx(wanted) if numbers else wanted), key


def check_networks(parser: ConfigParser) -> None:
    """Every network of a training run is trained by a player, or the average of one that is, and fits the images."""
    players, networks, averages = map(parser.get_parsed_content, ("players", "networks", "averages"))
    trained = {id(parameter) for player in players for parameter in player.parameters}
    idle = {name for name, part in networks.items() if not trained & {id(value) for value in part.parameters()}}
    assert idle == set(averages or ())
    convs = [part for network in networks.values() for part in network.modules() if isinstance(part, _ConvNd)]
    assert {conv.weight.dim() - 2 for conv in convs} == {len(parser.get_parsed_content("image_size"))}


@pytest.mark.parametrize("case", TRAINING, ids=lambda case: case.name)
def test_training(case, data):
    for order in case.orders:
        folder = data(case.bundle, *case.expected["image"])
        parser = parser_of(case.bundle, "train.json", *order, dataset_dir=str(folder), device=META)
        parser.get_parsed_content("initialize")
        same(training_values(parser), case.expected)
        check_networks(parser)


@pytest.mark.parametrize("case", [*INFERENCE, *EVALUATION], ids=lambda case: case.name)
def test_inference(case, data, tmp_path):
    for order in case.orders:
        folder = data(case.bundle, *case.expected["image"])
        recipe = json.loads((folder / "datalist.json").read_text())["recipe"]
        settings = {"dataset_dir": str(folder), "device": META, "recipe": recipe}
        parser = parser_of(case.bundle, "inference.json", *order, **settings)
        values = inference_values(parser)
        same(values, {key: value for key, value in case.expected.items() if key in values})
        parser["output_dir"] = str(tmp_path)
        parser.get_parsed_content("initialize")
