"""What is the user's, the machine's and the network's own doing when a run ends."""

import errno
import json
import os
import pickle
import posix
import signal
import sqlite3
import subprocess
import sys

import optuna
import pytest
import torch

from lcomp.cli import task
from lcomp.config.instantiation import find
from lcomp.errors import UserError
from lcomp.record.files import Damaged
from lcomp.record.interruption import (
    BY_MACHINE,
    BY_USER,
    Interrupted,
    announcing_exit,
    is_interruption,
    machine_interruption,
    watch_sigint,
)
from lcomp.record.result import Result
from lcomp.run import write_record
from lcomp.search.study import as_sweep_error
from lcomp.sweeps import worker_pool

NETWORK = """
import errno, os, pathlib, signal, sys
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes=10, point=0):
        super().__init__()
        self.point, self.layers = point, nn.Sequential(nn.Flatten(), nn.Linear(784, num_classes))

    def forward(self, x):
        fault = pathlib.Path("fault")
        if self.training and self.point == 1 and fault.exists():
            exec(fault.read_text())
        return self.layers(x)
"""
GRID = ["-m", "model._target_=faulty.Net", "+model.point=1,2", "launcher=serial", "baseline.cache=own", "reuse=false"]
SEARCH = [*GRID, "sweeper=optuna", "n_trials=2"]


@pytest.fixture
def faulty(lcomp, tmp_path):
    """A call of lcomp whose network, at its first point, does what is given to it."""

    def call(fault, *arguments):
        (tmp_path / "faulty.py").write_text(NETWORK)
        (tmp_path / "fault").write_text(fault)
        return lcomp(*arguments)

    return call


def records(tmp_path):
    paths = sorted(tmp_path.glob("multirun/*/*/result.json"), key=lambda path: int(path.parent.name))
    return [json.loads(path.read_text()) for path in paths]


EXIT, STOP = ("sys.exit(3)", "SystemExit: 3"), ("raise KeyboardInterrupt", "KeyboardInterrupt")


@pytest.mark.parametrize(
    ("arguments", "fault", "said"),
    [
        (GRID, *EXIT),
        (SEARCH, *STOP),
        pytest.param(GRID, *STOP, marks=pytest.mark.slow),
        pytest.param(SEARCH, *EXIT, marks=pytest.mark.slow),
    ],
)
def test_a_network_that_exits_is_a_failed_run_with_its_line(faulty, tmp_path, fault, said, arguments):
    done = faulty(fault, *arguments)
    assert done.returncode == (1 if arguments is GRID else 0), done.stderr
    first, second = records(tmp_path)
    assert (first["status"], second["status"]) == ("failed", "ok")
    assert first["error"].startswith(said) and "faulty.py:13: exec(fault.read_text())" in first["error"]
    assert is_interruption(first["error"]) is False


@pytest.mark.slow
@pytest.mark.parametrize("status", [0, 3])
@pytest.mark.parametrize("arguments", [GRID, SEARCH, ["model._target_=faulty.Net", "+model.point=1"]])
def test_a_network_that_ends_the_sweeps_own_process_is_told_and_recorded(faulty, tmp_path, status, arguments):
    done = faulty(f"os._exit({status})", *arguments)
    cause = f"the process ended in the middle of the run (os._exit({status}))"
    assert done.returncode == (status or 1) and done.stderr.count(f"lcomp: {cause}\n") == 1, done.stderr
    if "-m" not in arguments:
        [record] = [json.loads(path.read_text()) for path in tmp_path.rglob("result.json")]
        assert (record["status"], record["error"]) == ("failed", cause)
        return
    assert [(record["status"], record["error"]) for record in records(tmp_path)] == [("failed", cause)]
    assert "To go on: python -m lcomp -m" in done.stderr
    done = faulty("pass", *arguments, "resume=last")
    assert done.returncode == 0, done.stderr
    found = [record for record in records(tmp_path) if record["status"] == "ok"]
    assert sorted(record["overrides"][1].lstrip("+") for record in found) == ["model.point=1", "model.point=2"]


def test_a_child_that_is_forked_ends_as_it_likes():
    told = []
    with announcing_exit(told.append):
        child = os.fork()
        if child == 0:
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert told == [] and os._exit is posix._exit


@pytest.mark.slow
@pytest.mark.parametrize("code", ["ENOSPC", "EMFILE"])
def test_a_fault_of_the_machine_ends_the_grid_and_is_no_try(faulty, tmp_path, code):
    fault = f"raise OSError(errno.{code}, os.strerror(errno.{code}))"
    for _ in range(2):
        resume = ["resume=last"] if records(tmp_path) else []
        done = faulty(fault, *GRID, "max_retries=0", *resume)
        words = os.strerror(getattr(errno, code))
        assert done.returncode == 1 and done.stderr.count(words) == 1 and "Traceback" not in done.stderr
        assert "To go on: python -m lcomp -m" in done.stderr and f"lcomp: {BY_MACHINE}: OSError: " in done.stderr
    assert [record["status"] for record in records(tmp_path)] == ["failed", "ok", "failed"]  # the other came first
    done = faulty("pass", *GRID, "max_retries=0", "resume=last")
    assert done.returncode == 0, done.stderr
    assert [record["status"] for record in records(tmp_path)] == ["failed", "ok", "failed", "ok"]


@pytest.mark.slow
def test_a_search_outlives_a_full_disk(faulty, tmp_path):
    fault = "raise MemoryError('no memory left')"
    for _ in range(3):
        done = faulty(fault, *SEARCH, "max_retries=1", *(["resume=last"] if records(tmp_path) else []))
        assert done.returncode == 1 and f"{BY_MACHINE}: MemoryError: no memory left" in done.stderr, done.stderr
    done = faulty("pass", *SEARCH, "max_retries=1", "resume=last")
    assert done.returncode == 0, done.stderr
    found = [record for record in records(tmp_path) if record["status"] == "ok"]
    assert sorted(record["overrides"][1].lstrip("+") for record in found) == ["model.point=1", "model.point=2"]


FULL = """
import optuna
def full(*_, **__):
    import optuna, sqlite3
    try:
        raise sqlite3.OperationalError("database or disk is full")
    except sqlite3.Error as error:
        raise optuna.exceptions.StorageInternalError("raised during the commit") from error
optuna.storages.RDBStorage.set_trial_user_attr = full
"""
GONE = FULL.replace("database or disk is full", "server closed the connection")


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["launcher=serial", "launcher=local"])
@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (FULL, f"lcomp: {BY_MACHINE}: OperationalError: database or disk is full"),
        (GONE, "lcomp: the sweep stopped (OperationalError: server closed the connection)"),
    ],
    ids=["full", "gone"],
)
def test_a_study_that_cannot_be_written_is_one_line_and_resumed(faulty, tmp_path, launcher, fault, said):
    search = [argument for argument in SEARCH if not argument.startswith("launcher=")] + [launcher]
    done = faulty(fault, *search)
    assert done.returncode == 1 and done.stderr.count(said) == 1 and "Traceback" not in done.stderr, done.stderr
    assert "resume=" in done.stderr
    before = {record["artifact"]["sha256"] for record in records(tmp_path) if record["status"] == "ok"}
    done = faulty("pass", *search, "resume=last")
    assert done.returncode == 0, done.stderr
    found = [record for record in records(tmp_path) if record["status"] == "ok"]
    assert sorted(record["overrides"][1].lstrip("+") for record in found) == ["model.point=1", "model.point=2"]
    assert before <= {record["artifact"]["sha256"] for record in found}


def test_whatever_a_study_fails_at_ends_the_search_in_a_line(tmp_path):
    """Also before its runs begin and after they have ended."""
    for inner, kind, said in (
        (
            sqlite3.OperationalError("database or disk is full"),
            Interrupted,
            f"{BY_MACHINE}: OperationalError: database",
        ),
        (
            sqlite3.OperationalError("server closed"),
            UserError,
            r"the sweep stopped \(OperationalError: server closed\); resume=",
        ),
    ):
        with pytest.raises(kind, match=said), as_sweep_error(tmp_path):
            raise optuna.exceptions.StorageInternalError("raised during the commit") from inner
    for own in (UserError("a plan that differs"), KeyError("a defect")):
        with pytest.raises(type(own)) as caught, as_sweep_error(tmp_path):
            raise own
        assert caught.value is own


def test_a_command_whose_folder_cannot_be_written_says_so(lcomp, tmp_path, monkeypatch):
    """A file no longer than a few bytes: the disk's quota of the process."""
    code = (
        "import resource, signal, runpy, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "import pathlib, os, errno; from lcomp.sweeps import sweep\n"
        "def full(*_): raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), 'sweep.json')\n"
        "sweep.write_atomically = full\n"
        "sys.argv[1:] = ['-m', 'seed=0,1', 'launcher=serial']; runpy.run_module('lcomp', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == f"lcomp: {BY_MACHINE}: OSError: [Errno 28] No space left on device: 'sweep.json'\n"


@pytest.mark.parametrize(
    ("said", "kind"), [("libtorch.so: failed to map segment", Interrupted), ("no module named net", ImportError)]
)
def test_what_a_job_meets_before_its_run_begins(monkeypatch, said, kind):
    def fail(*given):
        raise ImportError(said)

    monkeypatch.setattr(task, "execute", fail)
    with pytest.raises(kind, match=said):
        task.job(None)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("ImportError('libtorch.so: failed to map segment from shared object')", Interrupted),
        ("OSError(24, 'Too many open files')", Interrupted),
        ("ValueError('a fault of its own')", UserError),
    ],
)
def test_a_module_that_the_machine_cannot_import_is_no_mistake_of_the_users(tmp_path, monkeypatch, said, kind):
    (tmp_path / "heavy.py").write_text(f"raise {said}")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(kind, match=r"failed to map segment|Too many open files|heavy raises ValueError"):
        find("heavy.Net", "model._target_")


def chained(inner):
    try:
        try:
            raise inner
        except Exception as error:
            raise RuntimeError("could not write") from error
    except RuntimeError as error:
        return error


def fail_on_a_full_disk():
    raise chained(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))


def test_a_fault_of_the_machine_is_still_known_as_one_behind_another_process():
    error = pickle.loads(worker_pool.run_task(pickle.dumps(fail_on_a_full_disk)))
    assert isinstance(error, Interrupted) and str(error) == f"{BY_MACHINE}: OSError: [Errno 28] No space left on device"


def torch_error():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    return caught.value


OF_MACHINE = [
    *(OSError(code, os.strerror(code)) for code in (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.EROFS, errno.EIO)),
    MemoryError(),
    MemoryError("Unable to allocate 7.28 MiB for an array"),
    RuntimeError(
        "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 64 bytes. Error code 12"
    ),
    RuntimeError("can't start new thread"),
    sqlite3.OperationalError("database or disk is full"),
    ImportError("libtorch.so: failed to map segment from shared object"),
]
OF_RUN = [
    OSError("disk full"),
    OSError(errno.ENOENT, "No such file or directory"),
    ValueError("shapes"),
    MemoryError("Unable to allocate 7.28 TiB for an array"),
    torch.OutOfMemoryError("CUDA out of memory"),
    Damaged("checksum"),
    SystemExit(1),
    KeyboardInterrupt(),
]


@pytest.mark.parametrize("error", OF_MACHINE, ids=repr)
def test_faults_of_the_machine_are_known_behind_other_errors_too(error):
    for one in (error, chained(error)):
        found = machine_interruption(one)
        assert isinstance(found, Interrupted) and str(found).startswith(f"{BY_MACHINE}: {type(error).__name__}")
        assert is_interruption(str(found))


@pytest.mark.parametrize("error", OF_RUN, ids=repr)
def test_faults_of_a_run_are_none_of_the_machines(error):
    assert machine_interruption(error) is None and not is_interruption(str(error)) and is_interruption(BY_USER)


def test_memory_that_no_machine_has_is_the_runs_own_fault():
    assert machine_interruption(torch_error()) is None


def test_a_record_that_finds_no_room_takes_that_of_what_the_run_left(tmp_path, monkeypatch):
    (tmp_path / "checkpoint.ckpt").write_bytes(b"large")
    write = Result.write

    def once_there_is_room(result, folder):
        if (folder / "checkpoint.ckpt").exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(result, folder)

    monkeypatch.setattr(Result, "write", once_there_is_room)
    with pytest.raises(Interrupted):
        write_record(Result("ok", metrics={"val_accuracy": 0.9}), tmp_path)
    record = json.loads((tmp_path / "result.json").read_text())
    assert record["status"] == "failed" and record["error"].startswith(BY_MACHINE) and record["files"] == {}


def test_only_a_signal_makes_an_interruption_the_users():
    def ignored(*_):
        pass

    before = signal.signal(signal.SIGINT, ignored)
    try:
        with watch_sigint() as signals:
            assert not signals.received
            signal.raise_signal(signal.SIGINT)
            assert signals.received
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # as Lightning does
        assert signal.getsignal(signal.SIGINT) is ignored
    finally:
        signal.signal(signal.SIGINT, before)
