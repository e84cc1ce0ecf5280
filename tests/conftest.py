import gc
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import forked
import pytest
import torch
from torch import nn

from lcomp.data import MNISTDataModule
from lcomp.models import LeNet5
from lcomp.modules import BaselineModule
from lcomp.training.fit import fit

LONG = (
    "sweeps",
    "clusters",
    "end_to_end",
    "kill_storm",
    "launcher",
    "postgresql",
    "user_code",
    "contract",
    "experiments",
)


# `make test` hands these down: a `make` that a test calls would print the folders that it enters.
for inherited in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES"):
    os.environ.pop(inherited, None)


def pytest_collection_modifyitems(items):
    """The files that take longest first, so that of two workers neither is left with one of them alone."""
    items.sort(key=lambda item: LONG.index(name) if (name := item.path.stem[5:]) in LONG else len(LONG))


def pytest_sessionstart():
    torch.set_num_threads(
        1
    )  # of fixtures too: threads that wait for a core that another process has spin ten times as long


def pytest_collection_finish():
    gc.collect()
    gc.freeze()  # what was imported is no garbage, and takes a third of a second to look at


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def digits() -> MNISTDataModule:
    return MNISTDataModule(dataset="mnist5k")


@pytest.fixture(scope="session")
def mnist_root() -> Path:
    """The folder that holds all of MNIST."""
    root = Path(os.environ.get("LCOMP_DATA", "data"))
    if not (root / "MNIST" / "raw").is_dir():
        pytest.skip(f"MNIST is not under {root}; set LCOMP_DATA to test with all of it")
    return root


@pytest.fixture(scope="session")
def mnist(mnist_root) -> MNISTDataModule:
    return MNISTDataModule(root=mnist_root, download=False)


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


CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
ARGUMENTS = [
    "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
]  # fmt: skip
DIGITS = ["data=mnist5k", "data.epoch_examples=10800"]  # a fifth of an epoch
SHORT = ["baseline.trainer.max_epochs=1", "measure.latency_runs=20"]
QUIET = ["logger=none", "report=false"]


@pytest.fixture(scope="session")
def lcomp_in(cache):
    """Runs `python -m lcomp` in a folder, on a few digits of mnist5k, with one-epoch trainings, the session's cache of
    baselines, no mirror and no report, unless the arguments say otherwise.

    What starts no process of its own, a run or a serial sweep, is forked from a process that has imported everything,
    unless it is to be `fresh`; without `wait`, the fresh process is returned.
    """

    forked.start()

    def runner(folder, wait=True, fresh=False):
        def call(*arguments):
            given = [*([] if has_data(arguments) else DIGITS), *SHORT, *QUIET, "trainer.max_epochs=1"]
            kept = [a for a in given if not any(own.startswith(a.partition("=")[0]) for own in arguments)]
            if not any(a.startswith("baseline.cache=") for a in arguments):
                kept.append(f"baseline.cache={cache}")
            environment = {k: v for k, v in os.environ.items() if k != "LCOMP_DATA"}
            if wait and not fresh and ("-m" not in arguments or "launcher=serial" in arguments):
                return forked.run(folder, [*arguments, *kept], environment)
            process = subprocess.Popen(
                [sys.executable, "-m", "lcomp", *arguments, *kept],
                cwd=folder,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background shell ignores it
            )
            if not wait:
                return process
            out, err = process.communicate(timeout=forked.SECONDS)
            return subprocess.CompletedProcess(process.args, process.returncode, out, err)

        return call

    return runner


def has_data(arguments):
    return any(a.startswith(("data=", "data._target_")) for a in arguments)


@pytest.fixture
def lcomp(tmp_path, lcomp_in):
    """`lcomp_in` the test's own folder."""
    return lcomp_in(tmp_path)


@pytest.fixture(scope="session")
def browser():
    from playwright.sync_api import sync_playwright

    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def complaints():
    """What pages complained of, and what they asked for; emptied by each test that they fail."""
    return []


@pytest.fixture
def opened(browser, request, complaints):
    """Opens a report at a width, that of the module's `folder` unless another is named, `whole` with all its charts,
    which take seconds to draw; every complaint of the page and every request to anywhere fails the test."""
    pages = []

    def call(width=1280, path=None, whole=False):
        path = path or request.getfixturevalue("folder") / "report.html"
        pages.append(page_of(browser, path, complaints, width))
        if whole:
            pages[-1].evaluate("drawEverything()")
        return pages[-1]

    yield call
    for seen in pages:
        seen.close()
    said, complaints[:] = list(complaints), []
    assert said == []


@pytest.fixture(scope="module")
def left_alone(browser, request, complaints):
    """The report of the module's `folder` with all its charts, for tests that change nothing in it."""
    seen = page_of(browser, request.getfixturevalue("folder") / "report.html", complaints)
    seen.evaluate("drawEverything()")
    yield seen
    seen.close()
    assert complaints == []


def page_of(browser, path, complaints, width=1280):
    seen = browser.new_page(viewport={"width": width, "height": 900})
    serious = ("error", "warning")
    seen.on("console", lambda message: complaints.append(message.text) if message.type in serious else None)
    seen.on("pageerror", lambda error: complaints.append(str(error)))
    local = ("data:", "blob:", f"file://{path}")
    seen.on("request", lambda request: request.url.startswith(local) or complaints.append(request.url))
    seen.goto(f"file://{path}")
    seen.wait_for_selector("body[data-drawn=true]")
    return seen
