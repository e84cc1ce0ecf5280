"""The cache of baselines: trained once, checked, trained again when damaged, safe among processes."""

import json
import multiprocessing
import time

import forked
import pytest
import torch
from torch import nn

from lcomp.record.files import write_atomically
from lcomp.training import baseline_cache


class Counting:
    """Stands in for training and export, and counts."""

    def __init__(self):
        self.trainings = 0

    def train(self, network):
        self.trainings += 1
        nn.init.constant_(network.weight, 7)
        return {}

    def export(self, network, path):
        write_atomically(path, b"artifact")


def cached(folder, counting, identity="one"):
    return baseline_cache.cached(folder, identity, nn.Linear(2, 2), counting.train, counting.export)


def test_trained_once_and_read_back(tmp_path):
    counting = Counting()
    first, again = cached(tmp_path, counting), cached(tmp_path, counting)
    assert counting.trainings == 1 and again.seconds == first.seconds
    assert again.network.weight.eq(7).all() and again.artifact.read_bytes() == b"artifact"


def test_another_identity_is_another_baseline(tmp_path):
    counting = Counting()
    cached(tmp_path, counting), cached(tmp_path, counting, "two")
    assert counting.trainings == 2


@pytest.mark.parametrize("name", ["weights.pt", "artifact.onnx", "entry.json"])
@pytest.mark.parametrize("damage", [b"", b"other bytes", b"[]", None])
def test_a_damaged_entry_is_noticed_and_trained_again(tmp_path, caplog, name, damage):
    counting = Counting()
    path = cached(tmp_path, counting).folder / name
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage)
    again = cached(tmp_path, counting)
    assert counting.trainings == 2 and again.network.weight.eq(7).all()
    assert again.artifact.read_bytes() == b"artifact"
    assert ("damaged" in caplog.text) == (damage is not None or name != "entry.json")


def test_every_flipped_bit_of_an_entry_is_noticed(tmp_path):
    counting = Counting()
    path = cached(tmp_path, counting).folder / "entry.json"
    before = path.read_bytes()
    for bit in range(8 * len(before)):
        content = bytearray(before)
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        assert not baseline_cache.intact(path.parent), content
    assert cached(tmp_path, counting).network.weight.eq(7).all() and counting.trainings == 2


def test_an_entry_of_before_checksums_is_read_unless_something_lacks(tmp_path):
    counting = Counting()
    path = cached(tmp_path, counting).folder / "entry.json"
    old = {key: value for key, value in json.loads(path.read_text()).items() if key != "checksum"}
    path.write_text(json.dumps(old))
    assert cached(tmp_path, counting).seconds == old["seconds"] and counting.trainings == 1
    for broken in ({**old, "seconds": "1"}, {"seconds": 1, "sha256": old["sha256"]}, {**old, "sha256": {}}, [old]):
        path.write_text(json.dumps(broken))
        cached(tmp_path, counting)
    assert counting.trainings == 5


def test_a_training_that_fails_leaves_no_entry(tmp_path):
    counting = Counting()

    def fail(network):
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError):
        baseline_cache.cached(tmp_path, "one", nn.Linear(2, 2), fail, counting.export)
    cached(tmp_path, counting)
    assert counting.trainings == 1


def test_figures_are_measured_once_per_setting_and_artifact(tmp_path):
    entry, measured = cached(tmp_path, Counting()), []

    def measure():
        measured.append(1)
        return {"test_accuracy": 0.5}

    assert entry.figures(["rotation"], measure) == entry.figures(["rotation"], measure) == {"test_accuracy": 0.5}
    assert len(measured) == 1
    entry.figures([], measure)
    assert len(measured) == 2
    for path in entry.folder.glob("metrics-*"):
        path.write_text(path.read_text().replace("0.5", "0.9"))
    assert entry.figures([], measure) == {"test_accuracy": 0.5} and len(measured) == 3
    write_atomically(entry.artifact, b"another artifact")
    entry.figures(["rotation"], measure), entry.figures([], measure)
    assert len(measured) == 5


def need_it(folder, number):
    """One of three processes that begin together."""

    def train(network):
        with open(folder / "trainings", "a") as log:
            log.write("x")
        time.sleep(1.5)
        return {}

    (folder / f"ready-{number}").touch()
    while len(list(folder.glob("ready-*"))) < 3:
        time.sleep(0.01)
    baseline_cache.cached(folder, "one", nn.Linear(2, 2), train, lambda network, path: write_atomically(path, b"a"))


@pytest.mark.slow
def test_processes_that_need_it_at_once_train_it_once(tmp_path):
    forked.start()
    context = multiprocessing.get_context("forkserver")
    running = [context.Process(target=need_it, args=(tmp_path, number)) for number in range(3)]
    [process.start() for process in running]
    [process.join(120) for process in running]
    assert [process.exitcode for process in running] == [0, 0, 0]
    assert (tmp_path / "trainings").read_text() == "x"


def test_entry_names_the_hashes_of_its_files(tmp_path):
    folder = cached(tmp_path, Counting()).folder
    entry = json.loads((folder / "entry.json").read_text())
    assert set(entry["sha256"]) == {"weights.pt", "artifact.onnx"}
    assert torch.load(folder / "weights.pt", weights_only=True)["weight"].eq(7).all()
