"""Nested values with tensors: batches, and the results of an objective's forward."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import torch
from monai.data import MetaTensor
from torch import Tensor


def map_tensors(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    """Copy of nested mappings, sequences, named tuples and dataclasses with ``function`` applied to each tensor.

    `torch.utils._pytree.tree_map` and `ignite.utils.apply_to_tensor` do not enter dataclasses.
    """
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, Mapping):
        return {key: map_tensors(function, item) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(map_tensors(function, item) for item in value))
    if isinstance(value, list | tuple):
        return type(value)(map_tensors(function, item) for item in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: map_tensors(function, getattr(value, f.name)) for f in dataclasses.fields(value) if f.init}
        return dataclasses.replace(value, **fields)
    return value


def to_device(batch: Any, device: torch.device | str | None, non_blocking: bool = False) -> Any:
    """The batch on ``device``, as plain tensors: the bookkeeping of `MetaTensor` slows down every operation."""

    def move(tensor: Tensor) -> Tensor:
        plain = tensor.as_tensor() if isinstance(tensor, MetaTensor) else tensor
        return plain.to(device, non_blocking=non_blocking)

    return map_tensors(move, batch)


def detach(value: Any) -> Any:
    """The same nested value without its graph."""
    return map_tensors(Tensor.detach, value)


def graph_nodes(value: Any) -> set[Any]:
    """The autograd nodes that computed the tensors of a nested value."""
    nodes = set()

    def add(tensor: Tensor) -> Tensor:
        if tensor.grad_fn is not None:
            nodes.add(tensor.grad_fn)
        return tensor

    map_tensors(add, value)
    return nodes


def reaches(loss: Tensor, nodes: set[Any]) -> bool:
    """Whether the graph of ``loss`` leads to any of ``nodes``."""
    seen: set[Any] = set()
    stack: list[Any] = [loss.grad_fn]
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        if node in nodes:
            return True
        seen.add(node)
        stack.extend(parent for parent, _ in node.next_functions)
    return False
