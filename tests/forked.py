"""The command in a process that is forked from one which has imported everything: half a second instead of six."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing.forkserver import ensure_running
from pathlib import Path

import onnxscript.function_libs.torch_lib.ops  # noqa: F401  what the first export imports
import torch.export._trace  # noqa: F401

import lcomp.run  # noqa: F401
from lcomp.__main__ import main

SECONDS = 500


def start() -> None:
    """Starts the process that others are forked from; it finds the modules that this one finds."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    multiprocessing.get_context("forkserver").set_forkserver_preload([__name__])
    ensure_running()
    os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)


def run(folder: Path, arguments: Sequence[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """`python -m lcomp` with `arguments` in `folder`; what it printed and its exit code."""
    context = multiprocessing.get_context("forkserver")
    with tempfile.TemporaryDirectory() as said:
        out, err = Path(said) / "out", Path(said) / "err"
        process = context.Process(target=carry_out, args=(folder, list(arguments), dict(environment), out, err))
        process.start()
        process.join(SECONDS)
        if process.exitcode is None:
            process.kill()
            process.join()
        return subprocess.CompletedProcess(arguments, process.exitcode, out.read_text(), err.read_text())


def carry_out(folder: Path, arguments: list[str], environment: dict[str, str], out: Path, err: Path) -> None:
    """What a fresh process would be given: streams, environment, folder, arguments, the default answer to signals."""
    for number, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.path[:0] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    gc.freeze()  # what was imported is no garbage
    sys.argv = ["lcomp", *arguments]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    main()
