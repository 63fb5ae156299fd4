"""Checks that tests of several folders share; how the tests are spread over the cores."""

import copy
import locale
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck
from transeg.bundle.memory import saved_storages
from transeg.networks.checkpointing import add_checkpointing

if "PYTEST_XDIST_WORKER" in os.environ:  # a thread for each of the processes, and for those that they start
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)

LONGEST = (  # files that begin first, so that none of them is left over at the end
    "benchmarks/test_gpu_queue.py",
    "test_demo.py",
    "test_documented_commands.py",
    "test_fifth_method.py",
    "bundles/test_ranks.py",
    "bundles/test_run_folders.py",
    "label/test_bundles.py",
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of the longest files first, in the order of their files."""
    folder = Path(__file__).parent
    ranks = {folder / name: rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path, len(ranks)))


@pytest.fixture(autouse=True)
def unchanged_locale() -> Iterator[None]:
    """GDCM sets the locale "C" when it writes DICOM; Python would then read text as ASCII."""
    before = locale.setlocale(locale.LC_ALL)
    yield
    locale.setlocale(locale.LC_ALL, before)


@pytest.fixture
def check_gradient() -> Callable[..., None]:
    """Compare the gradient of a loss of ``inputs`` vectors (6,) with finite differences."""

    def check(loss: Callable[..., Tensor], inputs: int) -> None:
        generator = torch.Generator().manual_seed(3)
        values = [torch.randn(6, generator=generator, dtype=torch.double, requires_grad=True) for _ in range(inputs)]
        assert gradcheck(loss, values)

    return check


@pytest.fixture
def check_checkpointing() -> Callable[[nn.Module], None]:
    """Compare values, gradients, state and memory of a network of one channel with and without checkpointing."""

    def kept(network: nn.Module, image: Tensor) -> tuple[int, Tensor]:
        """Bytes that a forward keeps for the backward, and its output."""
        with saved_storages(set()) as seen:
            out = network(image)
        return sum(seen.values()), out

    def check(network: nn.Module) -> None:
        torch.manual_seed(0)
        plain = network.double()
        lean = add_checkpointing(copy.deepcopy(plain))
        image = torch.randn(2, 1, 48, 48, dtype=torch.double)
        (much, expected), (little, out) = kept(plain, image), kept(lean, image)
        torch.testing.assert_close(out, expected)
        expected.square().sum().backward()
        out.square().sum().backward()
        for (name, a), b in zip(plain.named_parameters(), lean.parameters(), strict=True):
            assert (a.grad is None) == (b.grad is None), name
            if a.grad is not None:
                torch.testing.assert_close(b.grad, a.grad)
        assert little < 0.8 * much
        assert lean.state_dict().keys() == plain.state_dict().keys()

    return check
