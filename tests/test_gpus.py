"""How GPUs are shared out, with pretended ones: none was there to train on."""

import multiprocessing

import pytest

from lcomp.errors import UserError
from lcomp.training import devices


def worker(folder, available, answers, release):
    devices.count = lambda: available
    devices.take(folder)
    answers.put(devices.device("gpu"))
    release.wait()


@pytest.mark.parametrize(("workers", "available", "expected"), [(2, 2, [0, 1]), (3, 2, [0, 0, 1]), (2, 4, [0, 1])])
def test_workers_share_gpus_out(tmp_path, workers, available, expected):
    fork = multiprocessing.get_context("fork")
    answers, release = fork.Queue(), fork.Event()
    processes = [fork.Process(target=worker, args=(tmp_path, available, answers, release)) for _ in range(workers)]
    shared = []
    for process in processes:
        process.start()
        shared.append(answers.get(timeout=20))
    release.set()
    [process.join() for process in processes]
    assert sorted(shared) == [f"cuda:{number}" for number in expected]


def test_a_gpu_is_asked_for_where_there_is_none(lcomp):
    done = lcomp("device=gpu")
    assert done.returncode == 1 and "device=gpu: torch sees no GPU" in done.stdout + done.stderr


def test_the_processor_is_the_default():
    assert devices.device("cpu") == "cpu"
    with pytest.raises(UserError, match="device=gpu"):
        devices.device("gpu")
