"""Joining the processes that torchrun starts."""

from __future__ import annotations

import logging

import ignite.distributed as idist
import torch


def join_processes() -> None:
    """Connect to the other processes: NCCL on GPUs, Gloo on CPUs. The first alone tells how it is going."""
    idist.initialize("nccl" if torch.cuda.is_available() else "gloo")
    logging.disable(logging.INFO if idist.get_rank() > 0 else logging.NOTSET)
