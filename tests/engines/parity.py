"""One step of every objective on a batch of four: all of it in one process, or a half on either of two ranks.

Run by torchrun with a folder, it writes the gradients of each case and rank there.
"""

import itertools
import sys
from unittest.mock import patch

import ignite.distributed as idist
import torch
from torch.optim import SGD
from transeg.engines.player import Player
from transeg.engines.trainer import AlternatingTrainer
from transeg.methods.genseg.baselines import AutoencodingObjective, MeanTeacherObjective
from transeg.methods.genseg.networks import BaselineNet, GenSegNet, MutualInformationNet
from transeg.methods.genseg.objective import GenSegObjective
from transeg.methods.pathogan.networks import PathoGANNet
from transeg.methods.pathogan.objective import PathoGANObjective
from transeg.networks.discriminators import MultiScaleDiscriminator, PatchGAN
from transeg.networks.spectral import add_spectral_norm
from transeg.objectives.supervised import SegmentationObjective

SIZE, COUNT = 16, 4
OBJECTIVES = {
    "GenSeg": (GenSegObjective, {}),
    "GenSeg, one direction": (GenSegObjective, {"translate": "presence_to_absence"}),
    "segmentation": (SegmentationObjective, {}),
    "autoencoding": (AutoencodingObjective, {}),
    "mean teacher": (MeanTeacherObjective, {}),
}
LABELLED = {"unequally many": (1, 1, 0, 1), "one rank has none": (1, 1, 0, 0), "none": (0, 0, 0, 0)}
CASES = [(name, labels, False) for name in OBJECTIVES for labels in LABELLED]
CASES += [(name, "one rank has none", True) for name in OBJECTIVES]  # absence images count
INPAINTING = ("cycle", "outside", "inside", "label", "identity", "relevancy", "divergence")


def networks(name, pathologies):
    torch.manual_seed(0)
    if not name.startswith("GenSeg"):
        make = lambda: BaselineNet(in_channels=1, width=2, levels=3, reconstruct=name == "autoencoding")  # noqa: E731
        return {"generator": make(), "teacher": make().requires_grad_(False)}
    generator = GenSegNet(in_channels=1, out_channels=pathologies, width=2, levels=3)
    nets = {"generator": generator}
    nets |= {key: MultiScaleDiscriminator(2, 1, (4, 8), scales=2) for key in ("d_a", "d_p")}
    nets = {key: add_spectral_norm(net) for key, net in nets.items()}
    codes = generator.common_channels, pathologies * generator.unique_channels
    return nets | {"information": MutualInformationNet(2, *codes, width=4)}


def players(nets):
    groups = {"discriminators": ["d_a", "d_p"], "generators": ["generator"], "information": ["information"]}
    terms = {
        "discriminators": {"adversarial": 1.0},
        "information": {"mutual_information": 1.0},
        "generators": {"segmentation": 1.0, "reconstruction": 5.0, "latent": 1.0, "cycle": 5.0, "adversarial": 3.0},
    }
    for name, keys in groups.items():
        if keys[0] in nets:
            modules = [nets[key] for key in keys]
            yield Player(name, modules, SGD([p for m in modules for p in m.parameters()], 0.01), terms[name])


def used_terms(name, player):
    """The weights of those terms that the objective has."""
    absent = {"segmentation": {"reconstruction", "consistency"}, "autoencoding": {"consistency"}}
    if name.startswith("GenSeg") or player.name != "generators":
        drop = {"cycle"} if "one direction" in name else set()
    else:
        drop = {"latent", "cycle", "adversarial"} | absent.get(name, {"reconstruction"})
        player.weights["consistency"] = 1.0
    player.weights = {term: weight for term, weight in player.weights.items() if term not in drop}
    return player


def gradients(name, labels, segment_absence):
    """Gradients of every player's parameters after one step, and the terms as this rank sees them."""
    kind, options = OBJECTIVES[name]
    pathologies = 2 if name == "GenSeg" else 1
    nets = {key: net.double() for key, net in networks(name, pathologies).items()}
    generator = torch.Generator().manual_seed(5)
    draw = lambda *shape: torch.rand(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    whole = {
        "image": draw(COUNT, 1, SIZE, SIZE),
        "absence": draw(COUNT, 1, SIZE, SIZE),
        "label": (draw(COUNT, pathologies, SIZE, SIZE) > 0.7).double(),
        "labelled": torch.tensor(LABELLED[labels], dtype=torch.bool),
    }
    noise = torch.randn(COUNT, 64, SIZE, SIZE, generator=generator, dtype=torch.float64)
    own = own_rows()
    objective = kind(segment_absence=segment_absence, **options)
    # u ~ N(0, I), a row for an image
    with patch("torch.randn", lambda shape, **_: noise[own, : shape[1], : shape[2], : shape[3]]):
        terms, grads = step(nets, objective, [used_terms(name, player) for player in players(nets)], whole)
    return {"gradients": grads, "segmentation": terms["generators/segmentation"]}


def own_rows():
    """The part of the batch that is this rank's."""
    share = COUNT // idist.get_world_size()
    return slice(idist.get_rank() * share, (idist.get_rank() + 1) * share)


def step(nets, objective, players, whole):
    """One iteration on this rank's part of the batch: terms as it sees them, and the gradients."""
    batch = {key: value[own_rows()] for key, value in whole.items()}
    trainer = AlternatingTrainer("cpu", 1, [batch], nets["generator"], objective, players, nets)
    trainer.run()
    grads = {f"{key}.{n}": p.grad for key, net in nets.items() for n, p in net.named_parameters() if p.grad is not None}
    return trainer.state.output["terms"], grads


def pathogan_gradients():
    """The same for PathoGAN, whose codes and noise have a row for each image, in calls of one batch or of two."""
    torch.manual_seed(0)
    size, own, calls = (32, 32), own_rows(), itertools.count()
    nets = {key: PatchGAN(2, 1, width=2, layers=2).double() for key in ("d_a", "d_b")}
    nets["generator"] = PathoGANNet(2, 1, size, width=2, blocks=1, code=4).double()
    whole = {key: torch.rand(COUNT, 1, *size, dtype=torch.float64) for key in ("image", "absence")}
    terms = {"discriminators": ["adversarial"], "generators": [*INPAINTING, "adversarial", "presence"]}
    trained = {"discriminators": [nets["d_a"], nets["d_b"]], "generators": [nets["generator"]]}
    parts = [
        Player(name, modules, SGD([p for m in modules for p in m.parameters()], 0.01), dict.fromkeys(terms[name], 1.0))
        for name, modules in trained.items()
    ]

    def draw(like):
        batches, generator = len(like) // (own.stop - own.start), torch.Generator().manual_seed(next(calls))
        rows = like.new_empty(batches, COUNT, *like.shape[1:]).normal_(generator=generator)
        return rows[:, own].flatten(0, 1)

    with patch("torch.randn_like", draw):
        return step(nets, PathoGANObjective(), parts, whole)[1]


def every_case():
    torch.set_num_threads(1)
    return {str(case): gradients(*case) for case in CASES} | {"PathoGAN": pathogan_gradients()}


if __name__ == "__main__":
    with idist.Parallel(backend="gloo"):
        torch.save(every_case(), f"{sys.argv[1]}/{idist.get_rank()}.pt")
