"""Joining the processes started by torchrun."""

from __future__ import annotations

import logging

import ignite.distributed as idist
import torch


def join_processes() -> None:
    """Connect to the other processes, by NCCL on GPUs and Gloo on CPUs; only the first one logs progress."""
    idist.initialize("nccl" if torch.cuda.is_available() else "gloo")
    logging.disable(logging.INFO if idist.get_rank() > 0 else logging.NOTSET)
