"""Several processes compute what one does."""

import subprocess
import sys
from pathlib import Path

import parity
import pytest
import torch
import toy_engine as toy
from transeg.engines.trainer import RankLostError


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What two processes found, each on its half of the batch."""
    folder = tmp_path_factory.mktemp("ranks")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    script = str(Path(parity.__file__))
    done = subprocess.run([*command, script, str(folder)], capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.mark.parametrize("case", parity.CASES, ids=str)
def test_two_halves_give_the_gradients_of_the_whole_batch(case, ranks):
    whole = parity.gradients(*case)
    assert whole["gradients"] or case[0] == "segmentation"
    for rank in ranks:
        part = rank[str(case)]
        assert_same(part["gradients"], whole["gradients"])
        torch.testing.assert_close(part["segmentation"], whole["segmentation"])


def test_two_halves_give_the_gradients_of_the_whole_batch_also_with_residual_generators(ranks):
    whole = parity.pathogan_gradients()
    assert all(grad.abs().max() > 0 for name, grad in whole.items() if not name.endswith("bias"))
    for rank in ranks:
        assert_same(rank["PathoGAN"], whole)


def assert_same(part, whole):
    assert part.keys() == whole.keys()
    for name, grad in whole.items():
        torch.testing.assert_close(part[name], grad, rtol=1e-5, atol=1e-7, msg=lambda m, n=name: n + m)


@pytest.mark.parametrize(
    "fault",
    [
        RuntimeError("[/third_party/gloo/gloo/transport/tcp/pair.cc:537] Read error: Connection reset by peer."),
        torch.distributed.DistBackendError("NCCL communicator was aborted on rank 0."),
    ],
    ids=["gloo", "nccl"],
)
def test_a_lost_connection_is_told_in_plain_words(fault):
    """What gloo and NCCL raise on the processes that are left; tests/bundles kills one."""

    class Loses(toy.ToyObjective):
        def forward(self, nets, batch):
            raise fault

    with pytest.raises(RankLostError, match=r"has ended .*epoch 1, iteration 1 on rank 0.*--resume True") as error:
        toy.make_trainer(1, objective=Loses()).run()
    assert error.value.__cause__ is fault
