"""Faults of the machine and of a network, in a grid and a search, in workers and in turn; each then resumed.

    python benchmarks/faults.py                          # the matrix, the better part of an hour on two cores
    python benchmarks/faults.py --fault full exit0 --sweep search --launcher local

Of four points two meet the fault. The sweep must end by itself, say what ended it, leave a record of every run that
began, and, with the fault mended, finish by `resume=` what it did not: nothing lost, nothing twice.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from processes import family

NETWORK = '''
import os, signal, sys
import torch
from torch import nn

class Net(nn.Module):
    """Meets the fault that the environment names, at points 1 and 2, in its fourth training step."""

    def __init__(self, num_classes=10, point=0):
        super().__init__()
        self.point, self.steps = point, 0
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(784, num_classes))

    def forward(self, x):
        self.steps += self.training
        if self.steps == 4 and self.training and int(self.point) in (1, 2):
            fault = os.environ.get("FAULT")
            if fault == "exit0": os._exit(0)
            if fault == "exit3": os._exit(3)
            if fault == "sys.exit": sys.exit(3)
            if fault == "raised": raise KeyboardInterrupt
            if fault == "killed": os.kill(os.getpid(), signal.SIGKILL)
            if fault == "memory": raise MemoryError("no memory for a tensor")
            if fault == "files": self.open = [open(os.devnull) for _ in range(10**6)]
        return self.layers(x)
'''
DEATHS = ("exit0", "exit3", "killed")  # of the whole process, where it carries runs out itself
FAILURES = ("sys.exit", "raised")  # of a run, which a search does not try again
MACHINE = ("memory", "files", "full", "limit")
DAMAGED = ("records", "baseline")  # what an earlier sweep left, and the sweep would take
FAULTS = (*DEATHS, *FAILURES, *MACHINE, "fork server", *DAMAGED)
SAYS = {  # by fault, a pattern
    "exit0": r"exit code 0|os\._exit\(0\)",
    "exit3": r"exit code 3|os\._exit\(3\)",
    "killed": "SIGKILL",
    "sys.exit": "SystemExit: 3",
    "raised": "KeyboardInterrupt",
    "memory": "MemoryError",
    "files": "Too many open files",
    "full": "No space left on device|database or disk is full",
    "limit": "interrupted by the machine",
    "fork server": "",
    "records": "a damaged record; its run is not taken",
    "baseline": "the cached baseline is damaged; it is trained again",
}
SAYS_ON_RAY = dict.fromkeys(DEATHS, "The worker died")  # Ray knows no more
SAYS_ON_RAY["limit"] = f"{SAYS['limit']}|timed out during startup"  # of Ray's own daemon
LAUNCHERS = ("local", "serial", "ray")
SECONDS = 240


def command(sweep: str, launcher: str, folder: Path, *more: str) -> list[str]:
    settings = ["data=mnist5k", "data.epoch_examples=2000", "trainer.max_epochs=1", "baseline.trainer.max_epochs=1"]
    settings += [
        "logger=none",
        "report=false",
        "measure.latency_runs=20",
        "max_retries=1",
        f"baseline.cache={folder}/base",
    ]
    settings += {
        "serial": ["launcher=serial"],
        "local": ["launcher.workers=2"],
        "ray": ["launcher=ray", "launcher.ray.init.num_cpus=2"],
    }[launcher]
    settings += ["n_jobs=2"] if (sweep, launcher) == ("search", "ray") else []
    settings += ["sweeper=optuna", "n_trials=4"] if sweep == "search" else []
    settings += ["model._target_=faulty.Net", "+model.point=0,1,2,3", f"hydra.sweep.dir={folder}/sweep"]
    return [sys.executable, "-m", "lcomp", "-m", *settings, *more]


def carry_out(arguments: list[str], folder: Path, fault: str | None) -> tuple[int, str]:
    """Exit code and output of a sweep that is to end by itself."""
    (folder / "faulty.py").write_text(NETWORK)
    meet = {"limit": limit_memory, "files": limit_files}.get(fault or "")
    process = subprocess.Popen(
        arguments,
        cwd=folder,
        env=os.environ | {"FAULT": fault or ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=meet,
    )
    if fault == "fork server":
        threading.Thread(target=strike_server, args=(process,), daemon=True).start()
    try:
        said, _ = process.communicate(timeout=SECONDS)
        return process.returncode, said
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise AssertionError(f"it did not end in {SECONDS} s") from None


def limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31))


def limit_files() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))


def strike_server(process: subprocess.Popen[str]) -> None:
    """Kills the fork server when its workers are in their runs."""
    while process.poll() is None:
        time.sleep(1)
        for pid in family(process.pid)[1:]:
            with contextlib.suppress(OSError):
                if b"forkserver" in Path(f"/proc/{pid}/cmdline").read_bytes() and len(family(pid)) > 2:
                    os.kill(pid, signal.SIGKILL)
                    return


@contextlib.contextmanager
def place(fault: str) -> Iterator[tuple[Path, Callable[[], None]]]:
    """A folder, and what mends the fault in it: one that fills its own small disk, where that can be mounted."""
    with tempfile.TemporaryDirectory() as name:
        folder, ballast = Path(name), Path(name) / "ballast"
        if fault != "full":
            yield folder, lambda: None
            return
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", name], check=True)
        try:
            yield folder, lambda: ballast.unlink()
        finally:
            subprocess.run(["umount", "-l", name], check=True)


def fill(folder: Path, left: int) -> None:
    """Leaves that many bytes of the folder's disk."""
    free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
    with (folder / "ballast").open("wb") as ballast:
        os.posix_fallocate(ballast.fileno(), 0, free - left)


def damage(fault: str, sweep: str, launcher: str, folder: Path) -> None:
    """Carries the sweep out once, and cuts or edits what it left: its records, or the cached baseline's entry."""
    code, said = carry_out(command(sweep, launcher, folder), folder, None)
    assert code == 0, f"the sweep before fails:\n{said[-3000:]}"
    if fault == "records":
        (folder / "sweep").rename(folder / "before")
    else:  # nothing may be taken, so that the baseline is needed
        shutil.rmtree(folder / "sweep")
    for number, path in enumerate(
        sorted(folder.glob("b*/*/result.json" if fault == "records" else "base/*/entry.json"))
    ):
        content = path.read_bytes()
        middle = len(content) // 2
        flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        path.write_bytes(content[:middle] if number % 2 else flipped)


def records(folder: Path) -> dict[str, dict]:
    return {path.parent.name: json.loads(path.read_text()) for path in folder.glob("sweep/*/result.json")}


def check(fault: str, sweep: str, launcher: str) -> str:
    """Meets the fault, then resumes without it; what was seen.

    Raises:
        AssertionError: what must hold does not.
    """
    with place(fault) as (folder, mend):
        if fault == "full":
            fill(folder, 900_000)
        if fault in DAMAGED:
            damage(fault, sweep, launcher, folder)
        start = time.monotonic()
        code, said = carry_out(command(sweep, launcher, folder), folder, fault)
        seconds, before = time.monotonic() - start, records(folder)
        alone = launcher == "serial" and fault in DEATHS  # one process carries out all of it
        dies = alone and fault == "killed"  # which its shell says
        says = SAYS_ON_RAY.get(fault, SAYS[fault]) if launcher == "ray" else SAYS[fault]
        told = said + " ".join(str(record["error"]) for record in before.values())
        told += "".join(path.read_text() for path in folder.glob("sweep/*/lcomp.log"))  # where a cluster's runs say it
        assert dies or re.search(says, told), f"no cause is said:\n{said[-3000:]}"
        assert "Traceback" not in said, f"a traceback:\n{said[-3000:]}"
        ends_well = fault in DAMAGED or (sweep == "search" and fault not in MACHINE and not alone)
        expected = 3 if alone and fault == "exit3" else 0 if ends_well else 1
        assert dies or fault == "fork server" or code == expected, f"exit code {code}"
        began = {path.name for path in folder.glob("sweep/[0-9]*")}
        assert dies or fault == "full" or began == set(before), f"no record of {began - set(before)}:\n{said[-3000:]}"
        assert all(record["status"] == "ok" or record["error"] for record in before.values()), "a record has no cause"
        mend()
        resumed = [f"resume={folder}/sweep"] if (folder / "sweep/sweep.json").exists() else []
        _, again = carry_out(command(sweep, launcher, folder, *resumed), folder, None)
        after = records(folder)
        for number, record in before.items():
            assert record["status"] != "ok" or after[number]["artifact"] == record["artifact"], "a finished run changed"
        done = [next(o for o in r["overrides"] if "point" in o) for r in after.values() if r["status"] == "ok"]
        assert len(done) == len(set(done)), "a point ran twice"
        failed = 2 if sweep == "search" and fault in (*FAILURES, *(() if launcher == "serial" else DEATHS)) else 0
        assert len(done) == 4 - failed, f"{len(done)} of 4 finished:\n{again[-3000:]}"
        counts = f"{sum(record['status'] == 'ok' for record in before.values())} of 4, resumed {len(done)} of 4"
        return f"exit {code} after {seconds:.0f} s, {counts}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fault", choices=FAULTS, nargs="*", default=FAULTS)
    parser.add_argument("--sweep", choices=("grid", "search"), nargs="*", default=("grid", "search"))
    parser.add_argument("--launcher", choices=LAUNCHERS, nargs="*", default=LAUNCHERS)
    given = parser.parse_args()
    bad = 0
    for fault in given.fault:
        for sweep in given.sweep:
            for launcher in given.launcher:
                if fault == "fork server" and launcher != "local":
                    continue
                try:
                    seen = check(fault, sweep, launcher)
                except AssertionError as error:
                    seen, bad = f"BAD: {error}", bad + 1
                print(f"{fault}, {sweep}, {launcher}: {seen}", flush=True)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
