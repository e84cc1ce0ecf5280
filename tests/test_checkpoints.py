"""A fit that goes on from a checkpoint ends with the bits of one that nothing stopped."""

import random
import shutil

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lcomp.modules import BaselineModule
from lcomp.training.checkpoint_files import CheckpointFiles
from lcomp.training.epochs import Epochs
from lcomp.training.fit import fit

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
        lambda digits: Shuffled(digits, workers=2),
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
