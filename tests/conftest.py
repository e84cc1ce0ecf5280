import os
import signal
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


SHORT = ["data=mnist5k", "baseline.trainer.max_epochs=1", "measure.latency_runs=20"]


@pytest.fixture(scope="session")
def lcomp_in(cache):
    """Runs `python -m lcomp` in a folder, on mnist5k, with one-epoch trainings and the session's cache of baselines."""

    def runner(folder, wait=True):
        def call(*arguments):
            epochs = [] if any(a.startswith("trainer.max_epochs") for a in arguments) else ["trainer.max_epochs=1"]
            command = [sys.executable, "-m", "lcomp", *arguments, *SHORT[bool(has_data(arguments)) :], *epochs]
            environment = {k: v for k, v in os.environ.items() if k != "LCOMP_DATA"}
            if not any(a.startswith("baseline.cache=") for a in arguments):
                command.append(f"baseline.cache={cache}")
            process = subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background shell ignores it
            )
            if not wait:
                return process
            out, err = process.communicate(timeout=500)
            return subprocess.CompletedProcess(command, process.returncode, out, err)

        return call

    return runner


def has_data(arguments):
    return any(a.startswith(("data=", "data._target_")) for a in arguments)


@pytest.fixture
def lcomp(tmp_path, lcomp_in):
    """`lcomp_in` the test's own folder."""
    return lcomp_in(tmp_path)
