from collections import namedtuple
from dataclasses import dataclass

import torch
from monai.data import MetaTensor
from transeg.engines.tree import detach, graph_nodes, reaches, to_device

Pair = namedtuple("Pair", "left right")


@dataclass(frozen=True)
class Nest:
    values: list
    name: str


def test_every_kind_of_nest_is_copied_and_detached():
    x = torch.ones(2, requires_grad=True) * 2
    nest = {"a": Nest([x, None], "n"), "b": Pair(x, (x, "s")), "c": 3}
    free = detach(nest)
    assert not any(t.requires_grad for t in (free["a"].values[0], free["b"].left, free["b"].right[0]))
    assert (free["a"].name, free["b"].right[1], free["c"]) == ("n", "s", 3)
    assert nest["b"].left.requires_grad
    assert len(graph_nodes(nest)) == 1


def test_batches_become_plain_tensors():
    batch = to_device({"image": MetaTensor(torch.ones(1, 2)), "case": ["x"]}, "cpu")
    assert type(batch["image"]) is torch.Tensor
    assert batch["case"] == ["x"]


def test_reaches_stops_at_detached_tensors():
    weight = torch.ones(2, requires_grad=True)
    made = weight * 3
    nodes = graph_nodes([made])
    assert reaches((made + 1).sum(), nodes)
    assert not reaches((made.detach() * weight).sum(), nodes)
