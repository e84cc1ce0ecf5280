"""Sweeps in worker processes: the same artifacts, latencies measured at the end, killed workers replaced."""

import errno
import json
import math
import multiprocessing.forkserver
import os
import signal
import threading
import time
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from hydra_plugins.lcomp_local import local
from lcomp.cli import shorthand
from lcomp.config.typed_command import TypedCommand
from lcomp.errors import UserError
from lcomp.record.interruption import Interrupted
from lcomp.record.result import Result
from lcomp.sweeps import deferred_latency, worker_pool

FEW = ["trainer.max_epochs=1", "launcher.workers=2"]


def records(folder):
    return [json.loads(path.read_text()) for path in sorted(folder.glob("multirun/*/*/result.json"))]


def leaves(pid):
    """The process's descendants that have no children themselves: the workers, and a tracker that does nothing."""
    with open(f"/proc/{pid}/task/{pid}/children") as listed:
        found = [int(child) for child in listed.read().split()]
    return [leaf for child in found for leaf in leaves(child)] or [pid]


def seconds_of_processor(pid):
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_its_run_alone(lcomp_in, tmp_path):
    lcomp_in(tmp_path)("trainer.max_epochs=1")  # the baseline is cached
    process = lcomp_in(tmp_path, wait=False)("-m", "kd.temperature=1,2,3", *FEW)
    folder = next(iter(wait_for(lambda: [*tmp_path.glob("multirun/sweep-*/0")])))
    time.sleep(1)  # the first worker is in its run
    os.kill(max(leaves(process.pid), key=seconds_of_processor), signal.SIGKILL)
    out, err = process.communicate(timeout=300)
    found = {path.parent.name: json.loads(path.read_text()) for path in folder.parent.glob("*/result.json")}
    lost = [record for record in found.values() if record["status"] != "ok"]
    assert len(found) == 3 and len(lost) == 1, err
    assert "the worker was killed (SIGKILL)" in lost[0]["error"] and "kd=logit" in lost[0]["overrides"]
    assert process.returncode == 1 and "1 of 3 runs failed" in err
    assert out.count("test accuracy") == 2


@pytest.mark.slow
def test_workers_end_with_their_sweep(lcomp_in, tmp_path):
    """Else they would go on in a folder that a resumed sweep works in."""
    process = lcomp_in(tmp_path, wait=False)("-m", "kd.temperature=1,2", "trainer.max_epochs=50", FEW[1])
    wait_for(lambda: len([*tmp_path.glob("multirun/sweep-*/*/lcomp.log")]) >= 2)
    workers = [pid for pid in leaves(process.pid) if seconds_of_processor(pid) > 0]
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert len(workers) >= 2
    wait_for(lambda: not any(alive(pid) for pid in workers), seconds=5)


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
def test_an_interrupted_sweep_leaves_a_record_of_every_run_that_began(lcomp_in, tmp_path):
    process = lcomp_in(tmp_path, wait=False)("-m", "seed=0,1,2,3", "baseline.cache=own", *FEW)
    wait_for(lambda: len([*tmp_path.glob("multirun/sweep-*/*/lcomp.log")]) >= 2)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "lcomp: interrupted" in err and "Traceback" not in err
    folder = next(iter(tmp_path.glob("multirun/sweep-*")))
    begun = [path for path in folder.iterdir() if path.is_dir()]
    assert len(begun) == 2 and not list(tmp_path.glob("**/.result*"))
    assert [json.loads((path / "result.json").read_text())["error"] for path in begun] == ["KeyboardInterrupt"] * 2


def wait_for(look, seconds=120):
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end, "nothing came"
        time.sleep(0.05)
    return found


@pytest.mark.slow
def test_in_workers_and_in_turn_a_sweep_gives_the_same_artifacts_and_all_latencies(lcomp_in, tmp_path):
    sweep = ["-m", "prune.sparsity=0.5,0.7", "trainer.max_epochs=1"]
    for place, launcher in (("workers", "launcher.workers=2"), ("turns", "launcher=serial")):
        (tmp_path / place).mkdir()
        done = lcomp_in(tmp_path / place)(*sweep, launcher)
        assert done.returncode == 0, done.stderr
        for column in ("us/example", "x baseline"):
            assert column in done.stdout
    workers, turns = (records(tmp_path / place) for place in ("workers", "turns"))
    assert [r["artifact"]["sha256"] for r in workers] == [r["artifact"]["sha256"] for r in turns]
    for record in workers + turns:
        for metrics in (record["metrics"], record["baseline"]):
            assert metrics.get("latency_us_p50", 0) > 0 and metrics["test_set_seconds"] > 0
        own, base = record["metrics"]["latency_us_p50"], record["baseline"]["latency_us_p50"]
        assert record["metrics"]["latency_ratio"] == pytest.approx(own / base)
    assert [r["metrics"].keys() for r in workers] == [r["metrics"].keys() for r in turns]


@pytest.mark.parametrize("workers", [0, -1, 1.5, "two"])
def test_impossible_numbers_of_workers_are_refused(workers):
    with pytest.raises(UserError, match=f"launcher.workers={workers}: a whole number of processes, 1 or more"):
        local.LocalLauncher(workers)


def test_an_impossible_number_of_workers_ends_the_command_with_one_line(lcomp):
    done = lcomp("-m", "seed=0,1", "launcher.workers=0")
    assert done.returncode == 1 and done.stderr.startswith("lcomp: launcher.workers=0: a whole number of processes")
    assert len(done.stderr.splitlines()) == 1


def test_impossible_numbers_of_threads_are_failed_runs(lcomp, tmp_path):
    done = lcomp("-m", "threads=0,two", "launcher=serial")
    assert done.returncode == 1 and done.stderr.count("must be a whole number, 1 or more") == 2
    assert [record["status"] for record in records(tmp_path)] == ["failed"] * 2
    assert local.threads_of(OmegaConf.create({"threads": "two"})) == 1  # so that workers come to say the same


def test_short_names_of_the_launcher_become_hydras():
    said = shorthand.expand(["launcher=serial", "launcher.workers=3", "seed=1"])[0]
    assert said == ["hydra/launcher=serial", "hydra.launcher.workers=3", "seed=1"]


def test_a_worker_that_ended_is_named_by_its_signal_or_exit_code():
    assert (
        "(SIGKILL)" in worker_pool.exit_reason(-9)
        and "(exit code 3)" in worker_pool.exit_reason(3)
        and "(-45)" in worker_pool.exit_reason(-45)
    )


def end(how, folder):
    """A task that ends its worker, the first time; the second it is carried out."""
    (folder / "pids").open("a").write(f"{os.getpid()}\n")
    if (folder / how).exists():
        return os.getpid()
    (folder / how).touch()
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "sys.exit":
        raise SystemExit(4)
    if how == "unreadable":
        raise Unreadable(1, 2)
    os.write(2, b"the network's last words\n")
    os._exit(int(how))


class Unreadable(Exception):
    """Pickle writes it, and cannot read it."""

    def __init__(self, one, two):
        super().__init__(one)


@pytest.mark.parametrize("how", ["0", "3", "255", "killed"])
def test_whatever_ends_a_worker_without_its_tasks_result_is_a_death(tmp_path, how):
    said = []
    with worker_pool.open_pool(1) as workers:
        workers.schedule(7, end, how, tmp_path)
        for number, outcome in workers.outcomes():
            said.append(outcome)
            assert number == 7
            if isinstance(outcome, worker_pool.WorkerExit):
                workers.schedule(7, end, how, tmp_path)
    assert len(said) == 2
    first, second = said
    assert ("SIGKILL" if how == "killed" else f"(exit code {how}): the network's last words") in str(first)
    assert [str(second)] == (tmp_path / "pids").read_text().split()[1:]


@pytest.mark.parametrize(("how", "kind"), [("sys.exit", SystemExit), ("unreadable", RuntimeError)])
def test_what_a_task_raises_is_its_outcome_and_costs_no_worker(tmp_path, how, kind):
    with worker_pool.open_pool(1) as workers:
        workers.schedule(0, end, how, tmp_path)
        workers.schedule(1, end, how, tmp_path)
        outcomes = dict(workers.outcomes())
    assert isinstance(outcomes[0], kind) and [str(outcomes[1])] * 2 == (tmp_path / "pids").read_text().split()


def wait_in(folder, number):
    (folder / f"began-{number}").touch()
    wait_for((folder / "go on").exists)
    return os.getppid()


def test_a_killed_fork_server_costs_nothing(tmp_path):
    """Its workers go on, and a new one begins those that come later."""
    with worker_pool.open_pool(2) as workers:
        [workers.schedule(number, wait_in, tmp_path, number) for number in range(2)]

        def strike():
            wait_for(lambda: len([*tmp_path.glob("began-*")]) == 2)
            os.kill(multiprocessing.forkserver._forkserver._forkserver_pid, signal.SIGKILL)
            time.sleep(0.5)
            (tmp_path / "go on").touch()

        thread = threading.Thread(target=strike)
        thread.start()
        outcomes = dict(workers.outcomes())
        thread.join()
        assert outcomes.keys() == {0, 1} and not any(isinstance(one, BaseException) for one in outcomes.values())
        workers.schedule(2, end, "0", tmp_path)
        [(_, dead)] = workers.outcomes()
        workers.schedule(3, wait_in, tmp_path, 3)
        [(_, parent)] = workers.outcomes()
    assert isinstance(dead, worker_pool.WorkerExit) and isinstance(parent, int)


def test_workers_that_cannot_begin_end_the_pool_with_their_cause(monkeypatch):
    def fail():
        os.write(2, b"no memory\n")
        os._exit(9)

    monkeypatch.setattr(worker_pool, "initialize_worker", fail)
    monkeypatch.setattr(worker_pool.multiprocessing, "get_all_start_methods", lambda: [])
    monkeypatch.setattr(worker_pool.multiprocessing, "get_context", lambda _: context_of_forks())
    with (
        pytest.raises(Interrupted, match=r"no worker can begin \(4 in a row: .*exit code 9\): no memory"),
        worker_pool.open_pool(2) as workers,
    ):
        workers.schedule(0, end, "0", None)
        list(workers.outcomes())


def context_of_forks():
    """So that workers know what a test has replaced."""
    return multiprocessing.context.ForkContext()


@pytest.fixture
def composed(tmp_path):
    """A job of a sweep in `tmp_path`, as the launcher hands it on."""
    hydra = {"sweep": {"dir": str(tmp_path), "subdir": "0"}, "overrides": {"task": ["x=rotation\\:5"]}}
    hydra["runtime"] = {"choices": {"kd": "none"}}
    return OmegaConf.create({"seed": 3, "hydra": hydra})


class Given:
    """A pool whose outcomes are given, a list for each task."""

    def __init__(self, *outcomes):
        self.left, self.asked = [list(those) for those in outcomes], []

    def schedule(self, number, *task):
        self.asked.append(number)

    def outcomes(self):
        for number in self.asked:
            yield number, self.left[number].pop(0)


@pytest.fixture
def launcher(composed, monkeypatch):
    """A grid's; its jobs are composed to `composed`."""
    made = local.LocalLauncher()
    made.context = made.config = None
    made.function = lambda cfg: 0.0
    monkeypatch.setattr(made, "composed", lambda job: composed)
    return made


def test_a_job_that_could_not_begin_leaves_a_record(launcher, tmp_path):
    [returned] = launcher.run(Given([RuntimeError("no such module")]), [([], 0)])
    assert math.isnan(returned.return_value)
    record = json.loads((tmp_path / "0" / "result.json").read_text())
    assert record["status"] == "failed" and record["error"] == "RuntimeError: no such module"
    assert record["overrides"] == ["x=rotation:5"] and record["seed"] == 3


def test_a_job_that_met_a_full_disk_ends_the_sweep_without_a_record(launcher, tmp_path):
    with pytest.raises(Interrupted, match=r"interrupted by the machine: OSError: .*No space left"):
        launcher.run(Given([OSError(errno.ENOSPC, "No space left on device")]), [([], 0)])
    assert not (tmp_path / "0").exists()


def test_a_death_before_a_run_begins_costs_no_run_and_many_end_the_sweep(launcher, tmp_path):
    dead, fine = worker_pool.WorkerExit("the worker was killed"), local.completed_job(0.5)
    assert launcher.run(Given([dead] * 3 + [fine]), [([], 0)])[0].return_value == 0.5
    assert not (tmp_path / "0").exists()
    with pytest.raises(Interrupted, match="4 workers in a row ended before they began a run: the worker was killed"):
        launcher.run(Given([dead] * 4), [([], 0)])
    (tmp_path / "0").mkdir()
    assert math.isnan(launcher.run(Given([dead]), [([], 0)])[0].return_value)
    assert (tmp_path / "0" / "result.json").exists()
    assert json.loads((tmp_path / "0" / "result.json").read_text())["error"] == "the worker was killed"


def test_workers_of_a_search_that_die_without_a_trial_end_it(launcher):
    """A trial that was lost with its worker counts in the study, and ends the search there when there are too many."""
    lost = iter([False] * 3 + [True] + [False] * 4)
    launcher.function = type("Search", (), {"on_worker_exit": lambda self, job, cause: next(lost)})()
    with pytest.raises(Interrupted, match="4 workers in a row"):
        launcher.run(Given([worker_pool.WorkerExit("gone")] * 9), [([], 0)])
    assert list(lost) == []


def test_a_latency_that_cannot_be_measured_costs_itself_alone(tmp_path, caplog):
    Result("ok", metrics={"val_accuracy": 0.9}).write(tmp_path / "0")
    deferred_latency.measure_deferred(tmp_path, TypedCommand(None, None, lambda result: None))
    assert "no latency could be measured (Refused" in caplog.text
    assert json.loads((tmp_path / "0" / "result.json").read_text())["status"] == "ok"
