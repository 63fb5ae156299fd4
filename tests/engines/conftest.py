import sys
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).parent))  # for toy_engine, which also runs as a script


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
