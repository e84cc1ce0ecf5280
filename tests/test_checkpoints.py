"""A fit that goes on from a checkpoint ends with the bits of one that nothing stopped."""

import errno
import random
import shutil
import signal

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from training import compose

from lcomp.config.run_spec import parse
from lcomp.modules import BaselineModule
from lcomp.record.files import write_atomically
from lcomp.record.interruption import Interrupted, Stopped, machine_interruption
from lcomp.techniques.pruning import Pruning
from lcomp.training import checkpoint_files, checkpoints, components, random_states
from lcomp.training.best_epoch import BestEpoch
from lcomp.training.checkpoint_files import CheckpointFiles
from lcomp.training.epochs import Epochs
from lcomp.training.fit import fit
from lcomp.training.optimization import fit_settings

ALWAYS = 1e-9  # minutes between checkpoints


class All(CheckpointFiles):
    """Keeps every checkpoint."""

    def keep(self, newest):
        pass


class Jitter:
    """Adds noise that it draws from each kind of generator."""

    def __init__(self):
        self.own, self.legacy, self.python = np.random.default_rng(3), np.random.RandomState(3), random.Random(3)

    def __call__(self, batch):
        images, labels = (torch.stack(one) for one in zip(*batch, strict=True))
        drawn = self.own.normal() + self.legacy.normal() + self.python.random() + np.random.normal() + random.random()
        return images + 0.1 * drawn + 0.1 * torch.rand(1), labels


class Shuffled:
    """A user's data: a loader that shuffles, with augmentation, from global generators and its own."""

    def __init__(self, digits, generator=None, workers=0):
        images, labels = digits.train.images[:150].float() / 255, digits.train.labels[:150]
        self.train, self.held_out, self.task = TensorDataset(images, labels), digits, digits.task
        self.generator, self.workers, self.jitter = generator, workers, Jitter()

    def train_dataloader(self):
        return DataLoader(
            self.train, 32, shuffle=True, generator=self.generator, collate_fn=self.jitter, num_workers=self.workers
        )

    def val_dataloader(self):
        return self.held_out.val_dataloader()


class Lazy(Shuffled):
    """One without a DataLoader, whose order is drawn when its first batch is asked for."""

    def train_dataloader(self):
        return self

    def __len__(self):
        return 5

    def __iter__(self):
        for places in np.array_split(self.jitter.own.permutation(150), 5):
            yield self.jitter([self.train[int(place)] for place in places])


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(784, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 10)
    )


def train(data, files=None, best=None, epochs=None, report=None, max_epochs=3):
    module = BaselineModule(network(), learning_rate=0.003, schedule="cosine", task=data.task)
    steps = fit(module, data, max_epochs, 0, False, epochs or Epochs(), checkpoints=files, best=best)
    return module, steps


def same(one, other):
    expected, seen = one.state_dict(), other.state_dict()
    return expected.keys() == seen.keys() and all(torch.equal(expected[key], seen[key]) for key in expected)


def without_seconds(epochs):
    return {name: values for name, values in epochs.curves.columns.items() if name != "seconds"}


@pytest.mark.parametrize(
    "make",
    [
        lambda digits: Shuffled(digits),
        lambda digits: Shuffled(digits, torch.Generator().manual_seed(5)),
        pytest.param(lambda digits: Shuffled(digits, workers=2), marks=pytest.mark.slow),
        lambda digits: Lazy(digits),
    ],
    ids=["global", "own", "workers", "lazy"],
)
def test_a_users_loader_goes_on_to_the_same_bits_from_every_checkpoint(digits, tmp_path, make):
    first = Epochs()
    expected, _ = train(make(digits), epochs=first)
    files = All(tmp_path / "all", "one", ALWAYS)
    whole, steps = train(make(digits), files)
    assert same(expected, whole), "writing checkpoints changes the weights"
    found = sorted(files.folder.iterdir())
    assert [path.name.split("-")[2] for path in found] == ["within"] * 4 + (["epoch"] + ["within"] * 4) * 2 + ["ended"]
    assert steps == 15
    for path in found:
        one = CheckpointFiles(tmp_path / path.stem, "one")
        one.folder.mkdir()
        shutil.copy(path, one.folder)
        epochs = Epochs()
        resumed, steps = train(make(digits), one, epochs=epochs)
        assert same(expected, resumed) and steps == 15, path.name
        assert without_seconds(epochs) == without_seconds(first), path.name


def checkpoints_of_each_step(digits, folder, **settings):
    """Every checkpoint of a fit, and the module that it came to."""
    files = All(folder, "one", ALWAYS)
    module, _ = train(Shuffled(digits), files, **settings)
    return files.found()[::-1], module


def test_a_search_is_told_of_each_epoch_once_whoever_goes_on(digits, tmp_path):
    told = []
    found, _ = checkpoints_of_each_step(digits, tmp_path / "all", epochs=Epochs(lambda *one: told.append(one)))
    live = []
    for path in found:
        again, rows = [], []
        one = CheckpointFiles(tmp_path / path.stem, "one")
        one.folder.mkdir()
        shutil.copy(path, one.folder)
        epochs = Epochs(lambda *one, again=again: again.append(one), lambda *row, rows=rows: rows.append(row))
        train(Shuffled(digits), one, epochs=epochs)
        assert again == told and [epoch for epoch, _ in told] == [1, 2]
        assert [epoch for epoch, _ in rows] == [1, 2, 3]
        live.append([{k: v for k, v in row.items() if k != "seconds"} for _, row in rows])
    assert all(rows == live[0] for rows in live)


def test_the_best_epochs_weights_are_taken_and_outlive_a_stop(digits, tmp_path):
    best = BestEpoch()
    first = Epochs()
    found, module = checkpoints_of_each_step(digits, tmp_path / "all", best=best, epochs=first, max_epochs=6)
    accuracies = first.curves.columns["val_accuracy"]
    assert best.epoch == 1 + accuracies.index(max(accuracies)) and best.metric == max(accuracies)
    expected, _ = train(Shuffled(digits), max_epochs=6)
    assert same(expected, module) == (best.epoch == 6)
    batches = [digits.task.inputs(batch) | {"labels": batch[1]} for batch in digits.val_dataloader()]
    with torch.no_grad():
        right = sum(int((module.network.eval()(b["pixels"]).argmax(1) == b["labels"]).sum()) for b in batches)
    assert right / len(digits.validation) == pytest.approx(best.metric)
    for path in found[:: len(found) // 4]:
        one = CheckpointFiles(tmp_path / path.stem, "one")
        one.folder.mkdir()
        shutil.copy(path, one.folder)
        again = BestEpoch()
        resumed, _ = train(Shuffled(digits), one, best=again, max_epochs=6)
        assert again.epoch == best.epoch and same(module, resumed)


@pytest.mark.parametrize("damage", ["cut", "flipped", "emptied", "code"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_taken(digits, tmp_path, caplog, damage):
    files = CheckpointFiles(tmp_path / "two", "one", ALWAYS)
    expected, _ = train(Shuffled(digits), files)
    newest, before = files.found()
    assert "-ended-" in newest.name and "-epoch-" in before.name, "two are kept, one of them of an epoch's end"
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    changed = {"cut": content[: len(content) // 2], "flipped": content, "emptied": b"", "code": b"cos\nsystem\n."}
    newest.write_bytes(changed[damage])
    (files.folder / f".{newest.name}.tmp").write_bytes(b"torn as it was written")
    resumed, steps = train(Shuffled(digits), files)
    assert caplog.text.count("a damaged checkpoint, not taken") == 1 and newest.name in caplog.text
    assert same(expected, resumed) and steps == 15
    assert not list(files.folder.glob(".*"))


def test_a_checkpoint_of_another_identity_is_not_taken(digits, tmp_path, caplog):
    files = CheckpointFiles(tmp_path, "one", ALWAYS)
    expected, _ = train(Shuffled(digits), files)
    other = CheckpointFiles(tmp_path, "other")
    assert other.newest() is None and "another configuration, code or version; training begins anew" in caplog.text
    resumed, _ = train(Shuffled(digits), other)
    assert same(expected, resumed)
    other.clear()
    assert not tmp_path.exists()


def test_a_try_in_another_folder_of_the_sweep_is_found_and_cleared(digits, tmp_path):
    before = CheckpointFiles(tmp_path / "sweep" / "3" / "checkpoints", "one", ALWAYS)
    train(Shuffled(digits), before)
    stranger = CheckpointFiles(tmp_path / "sweep" / "4" / "checkpoints", "other", ALWAYS)
    train(Shuffled(digits), stranger)
    again = CheckpointFiles(tmp_path / "sweep" / "7" / "checkpoints", "one", beside=tmp_path / "sweep")
    assert again.found() == before.found() and again.newest() is not None
    again.clear()
    assert not before.folder.exists() and stranger.found()


def test_a_full_disk_loses_nothing_that_was_kept(digits, tmp_path, monkeypatch):
    files = CheckpointFiles(tmp_path / "kept", "one", ALWAYS)
    written = []

    def full(path, content):
        written.append(path)
        if len(written) == 8:
            raise OSError(errno.ENOSPC, "No space left on device")
        write_atomically(path, content)

    monkeypatch.setattr(checkpoint_files, "write_atomically", full)
    with pytest.raises(OSError, match="No space left") as caught:
        train(Shuffled(digits), files)
    assert isinstance(machine_interruption(caught.value), Interrupted)
    kept = files.found()
    assert len(kept) == 2 and {path.name.split("-")[2] for path in kept} == {"within", "epoch"}
    resumed, _ = train(Shuffled(digits), files)
    assert same(train(Shuffled(digits))[0], resumed)


class Strike(nn.Module):
    """Sends this process a signal in the forward pass of a training step."""

    def __init__(self, step, number):
        super().__init__()
        self.left, self.number = step, number

    def forward(self, x):
        if self.training:
            self.left -= 1
            if self.left == 0:
                signal.raise_signal(self.number)
        return x


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("step", [3, 5, 7, 15])  # within an epoch, its last step, the next one's, the very last
def test_a_signal_ends_after_the_step_with_a_checkpoint(digits, tmp_path, step, number):
    before = signal.getsignal(number)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    files = CheckpointFiles(tmp_path / "one", "one")

    def fitted(strike):
        torch.manual_seed(0)
        module = BaselineModule(nn.Sequential(Strike(strike, number), network()), task=digits.task)
        return module, fit(module, Shuffled(digits), 3, 0, False, checkpoints=files)

    try:
        with pytest.raises(Stopped):
            fitted(step)
        [path] = files.found()
        assert int(path.name.split("-")[1]) == step
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        resumed, steps = fitted(0)
    finally:
        signal.signal(number, before)
    files.clear()
    assert steps == 15 and same(fitted(0)[0], resumed)


def test_short_fits_write_nothing_and_longer_ones_at_epochs_ends(digits, tmp_path, monkeypatch):
    files = CheckpointFiles(tmp_path / "one", "one")
    train(Shuffled(digits), files)
    assert not files.folder.exists()
    monkeypatch.setattr(checkpoints, "LEAST", 0.0)
    files = All(tmp_path / "two", "one")
    train(Shuffled(digits), files)
    assert [path.name.split("-")[2] for path in files.found()] == ["ended", "epoch", "epoch"]


def test_what_could_not_be_read_again_is_said_and_not_written(tmp_path, caplog):
    files = CheckpointFiles(tmp_path / "one", "one")
    assert files.write({"state": Shuffled}, 3, "within") is None
    assert "no checkpoints" in caplog.text and not files.folder.exists()


LEARNING = [
    ["optimizer=muon", "scheduler=one_cycle"],
    ["optimizer=sgd", "scheduler=linear", "scheduler.warmup=0.2", "trainer.gradient_clip_val=0.5"],
    ["optimizer=adamw", "scheduler=step", "prune=lottery_ticket", "prune.rounds=2"],
    ["callbacks=[ema]", "quant=qat", "quant.begin=0.2"],
    ["callbacks=[swa]", "trainer.accumulate_grad_batches=2", "checkpoint=best"],
    ["callbacks=[early_stopping]", "callbacks.early_stopping.patience=1", "callbacks.early_stopping.min_delta=0.5"],
    ["trainer.precision=bf16-mixed", "trainer.schedule=cosine"],
]


@pytest.mark.parametrize("overrides", LEARNING, ids=lambda overrides: overrides[0])
def test_whatever_a_network_learns_by_goes_on_to_the_same_bits(digits, tmp_path, overrides):
    cfg, _ = compose(*overrides)
    spec = parse(cfg)

    def fitted(files=None):
        _, techniques = components.make_techniques(spec)
        data = Shuffled(digits)
        module = components.make_module(spec, data, network(), None, None, techniques)
        best = BestEpoch() if spec.checkpoint == "best" else None
        settings = fit_settings(spec, data.task.metric)
        steps = fit(module, data, 4, 0, False, checkpoints=files, best=best, **settings)
        return module, steps

    expected, steps = fitted()
    files = All(tmp_path / "all", "one", ALWAYS)
    whole, _ = fitted(files)
    assert same(expected, whole)
    found = files.found()
    assert {path.name.split("-")[2] for path in found} == {"within", "epoch", "ended"}
    for path in found[::3]:
        one = CheckpointFiles(tmp_path / path.stem, "one")
        one.folder.mkdir()
        shutil.copy(path, one.folder)
        resumed, seen = fitted(one)
        assert same(expected, resumed) and seen == steps, path.name


def test_no_epoch_is_the_best_before_the_schedules_have_ended(digits, caplog):
    def pruned(end):
        best = BestEpoch()
        module = BaselineModule(network(), [Pruning(0.9, end=end, interval=1)], task=digits.task)
        fit(module, Shuffled(digits), 4, 0, False, best=best)
        return best.epoch, module.techniques[0].scalars(module.network)["sparsity"]

    epoch, sparsity = pruned(0.5)
    assert epoch in (3, 4) and sparsity == pytest.approx(0.9, abs=1e-3) and "checkpoint=best" not in caplog.text
    assert pruned(1.0) == (None, pytest.approx(0.9, abs=1e-3))
    assert "checkpoint=best: no validation followed the end of the techniques' schedules" in caplog.text


def test_a_fit_does_not_depend_on_what_was_read_before_it(digits):
    def ready():
        data = Shuffled(digits, torch.Generator().manual_seed(5))
        random_states.remember(data)
        return data

    once, twice = ready(), ready()
    train(twice)
    assert same(train(once)[0], train(twice)[0])
