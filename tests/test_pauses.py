"""Workers that pause while one of them measures: processes that do nothing but count their steps in a file."""

import signal
import subprocess
import sys
import time

import pytest
from test_launcher import wait_for

from lcomp.sweeps import pauses
from lcomp.sweeps.pauses import Pauses, StillBusy

COUNTS = """
import os, signal, sys, threading, time
from pathlib import Path
from lcomp.sweeps import pauses
from lcomp.sweeps.pauses import Pauses

pauses.SETTLED = 0.02
folder, steps, beats, own = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[2] + ".beats"), Pauses()

def count(file):
    with file.open("ab", buffering=0) as to:
        while True:
            to.write(b".")
            time.sleep(0.002)

signal.signal(signal.SIGTERM, lambda *_: os._exit(7))
"""
WORKS = f"""{COUNTS}
threading.Thread(target=count, args=[beats], daemon=True).start()
with own.among(folder), own.pausing(allowed=True):
    count(steps)
"""
SPEAKS = f"""{COUNTS}
with own.among(folder), own.pausing(allowed=True):
    with own.pausing(allowed=False):
        steps.touch()
        time.sleep(0.5)
        beats.touch()
    count(steps)
"""
STAYS = f"""{COUNTS}
with own.among(folder):
    count(steps)
"""
LEAVES = f"""{COUNTS}
with own.among(folder):
    if not os.fork():
        while not steps.exists():
            time.sleep(0.01)
        while steps.exists():
            with steps.open("a") as to:
                to.write(".")
            time.sleep(0.01)
        os._exit(0)
    steps.touch()
    time.sleep(600)
"""
MEASURES = f"""{COUNTS}
with own.among(folder), own.pausing(allowed=True):
    for _ in range(int(sys.argv[3])):
        with own.alone(), steps.open("a", buffering=1) as to:
            print("begin", os.getpid(), file=to)
            time.sleep(float(sys.argv[4]))
            print("end", os.getpid(), file=to)
"""


@pytest.fixture
def start(tmp_path):
    """Starts a process of a script with a file of its own, whose path it returns beside it."""
    processes = []

    def call(script, *arguments, file=None):
        file = file or tmp_path / f"file-{len(processes)}"
        command = [sys.executable, "-c", script, str(tmp_path / "locks"), str(file), *map(str, arguments)]
        processes.append(subprocess.Popen(command))
        return processes[-1], file

    yield call
    for process in processes:
        process.kill()
        process.wait()


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The test's own process as one of the workers."""
    monkeypatch.setattr(pauses, "SETTLED", 0.02)
    made = Pauses()
    with made.among(tmp_path / "locks"):
        yield made


def size(file):
    return file.stat().st_size if file.exists() else 0


def beats(steps):
    return steps.with_name(f"{steps.name}.beats")


def goes_on(file):
    before = size(file)
    return wait_for(lambda: size(file) > before)


def stands_still(file):
    before = size(file)
    time.sleep(0.2)  # in which one that goes on takes 50 steps or more
    return size(file) == before


def test_a_worker_stands_still_while_another_measures_and_then_goes_on_with_its_threads_alive_throughout(start, own):
    (_, first), (_, second) = start(WORKS), start(WORKS)
    assert goes_on(first) and goes_on(second)
    for _ in range(2):
        with own.alone():
            assert stands_still(first) and stands_still(second)
            assert goes_on(beats(first)) and goes_on(beats(second))
        assert goes_on(first) and goes_on(second)


def test_a_worker_that_begins_while_another_measures_waits(start, own):
    with own.alone():
        _, steps = start(WORKS)
        assert goes_on(beats(steps))  # it has come as far as the wait
        assert stands_still(steps) and size(steps) == 0
    assert goes_on(steps)


def test_a_killed_measurer_leaves_nobody_waiting(start):
    _, steps = start(WORKS)
    assert goes_on(steps)
    measurer, begun = start(MEASURES, 1, 600)
    wait_for(lambda: size(begun))
    assert stands_still(steps)
    measurer.kill()
    assert goes_on(steps)


def test_a_paused_worker_ends_by_a_signal_and_a_killed_one_is_not_waited_for(start, own):
    (worker, steps), (killed, others) = start(WORKS), start(WORKS)
    assert goes_on(steps) and goes_on(others)
    with own.alone():
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(10) == 7  # by its own handler, within the other
        killed.kill()
    with own.alone():
        pass


def test_a_child_that_outlives_a_killed_worker_is_not_waited_for(start, own):
    worker, steps = start(LEAVES)
    assert goes_on(steps)
    worker.kill()
    worker.wait()
    with own.alone():
        assert goes_on(steps)  # the child's, which holds what the worker held
    steps.unlink()


def test_who_measures_waits_until_a_worker_has_done_what_must_not_be_interrupted(start, own):
    _, steps = start(SPEAKS)
    wait_for(steps.exists)
    with own.alone():
        assert beats(steps).exists()


def test_one_that_does_not_pause_is_named_and_no_latency_is_measured(start, own, monkeypatch):
    worker, steps = start(STAYS)
    assert goes_on(steps)
    monkeypatch.setattr(pauses, "PATIENCE", 0.3)
    with pytest.raises(StillBusy, match=f"worker {worker.pid} did not pause"), own.alone():
        raise AssertionError("measured beside another")
    worker.kill()
    worker.wait()
    with own.alone():  # nor does it stand in the way afterwards
        pass


def test_of_several_that_measure_one_waits_for_another(start, tmp_path):
    said = tmp_path / "said"
    running = [start(MEASURES, 3, 0.02, file=said)[0] for _ in range(3)]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    lines = said.read_text().split()
    assert len(lines) == 2 * 2 * 9
    for place in range(0, len(lines), 4):
        first, of, second, same = lines[place : place + 4]
        assert (first, second) == ("begin", "end") and of == same


def test_a_process_that_is_no_worker_measures_at_once(start, tmp_path):
    _, steps = start(WORKS)
    assert goes_on(steps)
    with Pauses().alone():
        assert goes_on(steps)


def test_a_signal_that_nobody_asked_for_pauses_nothing(start, own):
    worker, steps = start(WORKS)
    assert goes_on(steps)
    worker.send_signal(signal.SIGURG)
    assert goes_on(steps)
