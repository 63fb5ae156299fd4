"""A network's answer that serves two players: one learns through the network, the other one trains it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class _HandedOn(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, leaf_and_loss: tuple[Tensor, Tensor]) -> Tensor:
        ctx.leaf, ctx.loss = leaf_and_loss
        return ctx.loss.detach().clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        ctx.loss.backward(grad, retain_graph=True, inputs=[ctx.leaf])  # counters of operations cannot follow grad()
        found, ctx.leaf.grad = ctx.leaf.grad, None
        return found, None


def leaf_of(x: Tensor) -> Tensor:
    """A copy of x without its graph, in which a loss can have a gradient; see `hand_on`."""
    return x.detach().requires_grad_()


def hand_on(loss: Tensor, leaf: Tensor, x: Tensor) -> Tensor:
    """Value of a loss that was computed on ``leaf``, as a function of the tensor x that `leaf_of` copied.

    Its backward passes the gradient in ``leaf`` on to x and keeps the graph between loss and leaf: a second backward
    from there trains the network in between, after the graph of x is gone. Differentiable once.

    Shapes: scalar, any, the same -> scalar.
    """
    return _HandedOn.apply(x, (leaf, loss))
