import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from lcomp.data import MNISTDataModule
from lcomp.models import LeNet5
from lcomp.modules import BaselineModule
from lcomp.training import fit


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def digits() -> MNISTDataModule:
    return MNISTDataModule(dataset="mnist5k")


@pytest.fixture(scope="session")
def trained(digits) -> nn.Module:
    """LeNet-5 after two epochs on mnist5k; not to be changed."""
    torch.manual_seed(0)
    module = BaselineModule(LeNet5(), learning_rate=0.003, schedule="cosine")
    fit(module, digits, 2, seed=0, progress=False)
    return module.network.eval().requires_grad_(False)


@pytest.fixture(scope="session")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("baselines")


@pytest.fixture
def lcomp(tmp_path, cache):
    """Runs `python -m lcomp` in an empty folder, on mnist5k, with short trainings and the session's cache."""

    def call(*arguments: str, short: bool = True) -> subprocess.CompletedProcess[str]:
        settings = ["data=mnist5k", f"baseline.cache={cache}"]
        settings += (
            ["baseline.trainer.max_epochs=1", "trainer.max_epochs=1", "measure.latency_runs=20"] if short else []
        )
        environment = {k: v for k, v in os.environ.items() if k != "LCOMP_DATA"}
        return subprocess.run(
            [sys.executable, "-m", "lcomp", *arguments, *settings],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=500,
        )

    return call
