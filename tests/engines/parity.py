"""One step of every objective on a batch of four: all of it in one process, or a half on either of two ranks.

Run by torchrun with a folder, it writes the gradients of each case and rank there.
"""

import sys

import ignite.distributed as idist
import torch
from torch.optim import SGD
from transeg.engines import AlternatingTrainer, Player
from transeg.networks import BaselineNet, GenSegNet, MultiScaleDiscriminator, MutualInformationNet, add_spectral_norm
from transeg.objectives import AutoencodingObjective, GenSegObjective, MeanTeacherObjective, SegmentationObjective

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
    rank, share = idist.get_rank(), COUNT // idist.get_world_size()
    own = slice(rank * share, (rank + 1) * share)
    objective = kind(segment_absence=segment_absence, **options)
    trainer = AlternatingTrainer(
        "cpu",
        1,
        [{key: value[own] for key, value in whole.items()}],
        nets["generator"],
        objective,
        [used_terms(name, player) for player in players(nets)],
        nets,
    )
    randn = torch.randn
    torch.randn = lambda shape, **_: noise[own, : shape[1], : shape[2], : shape[3]]  # u ~ N(0, I), a row for an image
    try:
        trainer.run()
    finally:
        torch.randn = randn
    grads = {f"{key}.{n}": p.grad for key, net in nets.items() for n, p in net.named_parameters() if p.grad is not None}
    return {"gradients": grads, "segmentation": trainer.state.output["terms"]["generators/segmentation"]}


def every_case():
    torch.set_num_threads(1)
    return {str(case): gradients(*case) for case in CASES}


if __name__ == "__main__":
    with idist.Parallel(backend="gloo"):
        torch.save(every_case(), f"{sys.argv[1]}/{idist.get_rank()}.pt")
