import hashlib
import io
import os
import pickle
import shutil
import tarfile
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from lcomp.config.composition import compose
from lcomp.config.run_spec import parse
from lcomp.data import CIFAR10DataModule, ImageDataModule, array_pickles, cifar10, content_hash
from lcomp.errors import UserError
from lcomp.training import components


class Writer(pickle._Pickler):
    """Writes arrays as NumPy 1 on Python 2 did: the published files."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_bytes(self, value):
        self.write(b"T" + len(value).to_bytes(4, "little") + value)
        self.memoize(value)

    dispatch[bytes] = save_bytes


def pickled(value):
    file = io.BytesIO()
    Writer(file, 2).dump(value)
    return file.getvalue().replace(b"numpy._core", b"numpy.core")


def write(folder, monkeypatch):
    """Files of CIFAR-10's form, small, an image's first pixel its label in red, and the sums that are asked for."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for name in cifar10.TRAIN | cifar10.TEST:
        images, labels = random.integers(0, 256, (20, 3072), np.uint8), random.integers(0, 10, 20)
        images[:, 0] = labels
        (folder / name).write_bytes(pickled({b"data": images, b"labels": labels.tolist(), b"batch_label": b"one"}))
    for part in ("TRAIN", "TEST"):
        sums = {name: hashlib.md5((folder / name).read_bytes()).hexdigest() for name in getattr(cifar10, part)}
        monkeypatch.setattr(cifar10, part, sums)
    monkeypatch.setattr(cifar10, "HELD_OUT", 10)


@pytest.fixture
def root(tmp_path, monkeypatch):
    write(tmp_path / cifar10.FOLDER, monkeypatch)
    return tmp_path


def test_it_is_split_by_seed_in_colour_with_its_labels(root):
    one, same, other = (CIFAR10DataModule(root, seed=seed) for seed in (0, 0, 1))
    assert [len(part) for part in (one.train, one.validation, one.test)] == [90, 10, 20]
    for part in (one.train, one.validation, one.test):
        assert part.images.shape[1:] == (3, 32, 32) and part.images.dtype == torch.uint8
        assert torch.equal(part.images[:, 0, 0, 0].long(), part.labels)
    assert torch.equal(one.train.images, same.train.images)
    assert not torch.equal(one.validation.labels, other.validation.labels)
    assert torch.equal(one.test.images, other.test.images)
    everything = torch.cat([one.train.images, one.validation.images]).flatten(1)
    assert len(np.unique(everything.numpy(), axis=0)) == 100
    assert len(one.train_dataloader()) == 1 and one.epoch_examples == 90


@pytest.mark.parametrize("damage", [b"", b"short", None])
def test_an_altered_or_missing_file_is_named_with_its_sum_before_it_is_unpickled(root, damage, monkeypatch):
    monkeypatch.setattr(array_pickles, "load", None)
    path = root / cifar10.FOLDER / "data_batch_3"
    path.unlink() if damage is None else path.write_bytes(damage)
    seen = "seen none" if damage is None else hashlib.md5(damage).hexdigest()
    with pytest.raises(UserError, match=f"data_batch_3: .*{cifar10.TRAIN['data_batch_3']}.*") as error:
        CIFAR10DataModule(root)
    assert seen in str(error.value) and path.exists() == (damage is not None)


class Command:
    def __reduce__(self):
        return os.mkdir, ("harm",)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (Command(), "mkdir, which no array needs"),
        ({"data": np.zeros(3)}, "not of bytes"),
        ({"data": np.array([Command()], object)}, "not of bytes"),
        (np.random.default_rng, "which no array needs"),
    ],
)
def test_a_pickle_that_would_call_something_is_refused(tmp_path, monkeypatch, value, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "batch").write_bytes(pickle.dumps(value, 3))
    with pytest.raises(UserError, match=f"batch: not a pickle of arrays .*{words}"):
        array_pickles.load(tmp_path / "batch")
    assert not (tmp_path / "harm").exists()


def test_without_files_and_download_it_is_said_what_to_do_and_nothing_else_stands_in(tmp_path, monkeypatch):
    def unreachable(*_):
        raise RuntimeError("no network")

    monkeypatch.setattr("torchvision.datasets.utils.download_url", unreachable)
    for allowed, why in ((True, "no network"), (False, "data.download=false")):
        with pytest.raises(UserError, match=rf"data=cifar10: .*has no cifar-10-batches-py.*{why}.*LCOMP_DATA"):
            CIFAR10DataModule(tmp_path, download=allowed)
    assert {path.name for path in tmp_path.iterdir()} <= {".download.lock"}


def test_a_download_lands_whole_where_the_next_run_looks(root, tmp_path, monkeypatch):
    target = tmp_path / "elsewhere"

    def download(url, folder, filename, md5):
        with tarfile.open(Path(folder) / filename, "w:gz") as archive:
            archive.add(root / cifar10.FOLDER, cifar10.FOLDER)

    monkeypatch.setattr("torchvision.datasets.utils.download_url", download)
    assert len(CIFAR10DataModule(target).train) == 90
    assert {path.name for path in target.iterdir()} == {".download.lock", "cifar-10-batches-py"}
    shutil.rmtree(root / cifar10.FOLDER)
    assert len(CIFAR10DataModule(target, download=False).train) == 90


def test_networks_that_take_them_are_given_the_statistics_of_its_channels_and_a_value_of_the_model_goes_first(root):
    data = components.make_data(parse(compose(["data=cifar10", f"data.root={root}"])))
    assert data.task.arguments["mean"] == [0.4914, 0.4822, 0.4465]
    assert components.make_network({"_target_": f"{__name__}.Stated"}, data, 0).std == [0.247, 0.2435, 0.2616]
    assert components.make_network({"_target_": f"{__name__}.Stated", "std": 1.0}, data, 0).std == 1.0
    assert "mean" not in components.make_data(parse(compose(["data=mnist5k"]))).task.arguments


class Stated(torch.nn.Linear):
    def __init__(self, num_classes, mean=0.0, std=0.0):
        super().__init__(32, num_classes)
        self.mean, self.std = mean, std

    def forward(self, x):
        return super().forward(x[:, 0, 0])


@pytest.mark.parametrize("statistics", [{"mean": (0.5,)}, {"mean": 0.5}, {"std": (0.2, 0.0, 0.2)}, {"std": "abc"}])
def test_statistics_that_are_not_one_for_each_channel_are_refused(statistics):
    [key] = statistics
    with pytest.raises(UserError, match=f"own: {key}=.*a number for each of the 3 channels"):
        components.loaders.statistics(statistics, (3, 32, 32), "own")


def labelled(count, channels=3):
    return np.full((count, channels, 4, 4), count, np.uint8), np.arange(count) % 4


class Mine(ImageDataModule):
    def __init__(self, first=0, **settings):
        images, labels = labelled(8)
        images[0] = first
        super().__init__((images, labels), labelled(5), labelled(6), **settings)


def test_arrays_that_cannot_be_written_to_are_read():
    images, labels = labelled(8)
    images.flags.writeable = labels.flags.writeable = False
    data = ImageDataModule((images, labels), (torch.from_numpy(labelled(5)[0]), [0] * 5), labelled(6))
    assert len(data.train) == 8 and data.validation.labels.tolist() == [0] * 5


def test_a_data_set_of_ones_own_is_its_arrays():
    data = Mine(batch_size=3, epoch_examples=20)
    assert data.num_classes == 4 and data.input_shape == (3, 4, 4) and len(data.train_dataloader()) == 7
    images, labels = next(iter(data.test_dataloader()))
    assert images.eq(6 / 255).all() and labels.tolist() == [0, 1, 2, 3, 0, 1]
    assert content_hash.dataset_record(Mine(1))["sha256"] != content_hash.dataset_record(Mine(0))["sha256"]
    assert content_hash.dataset_record(data) == content_hash.dataset_record(Mine()) | {"train": 8, "val": 5, "test": 6}


class Read:
    """Images that are made when they are asked for."""

    shape = (300, 3, 4, 4)

    def __init__(self, last=0):
        self.last = last

    def __len__(self):
        return 300

    def __getitem__(self, rows):
        images = rows.view(-1, 1, 1, 1).expand(-1, 3, 4, 4).clamp_max(255).byte().clone()
        images[rows == 299] = self.last
        return images


def test_images_may_be_read_when_they_are_asked_for():
    class Mine(ImageDataModule):
        def __init__(self, last):
            super().__init__((Read(last), np.arange(300) % 2), labelled(5), labelled(6), batch_size=7)

    data = Mine(0)
    images, labels = next(iter(data.train_dataloader()))
    rows = next(iter(data.train_dataloader().sampler))
    assert torch.equal((images[:, 0, 0, 0] * 255).round().long(), torch.where(rows == 299, 0, rows.clamp_max(255)))
    assert torch.equal(labels, rows % 2)
    same, other = (content_hash.dataset_record(Mine(last)) for last in (0, 1))
    assert content_hash.dataset_record(data) == same and same["sha256"] != other["sha256"] and same["train"] == 300


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (
            (np.zeros((4, 3, 4, 4), np.float32), np.zeros(4, int)),
            r"train images are float32 \(4, 3, 4, 4\); give uint8",
        ),
        ((np.zeros((4, 4, 4), np.uint8), np.zeros(4, int)), r"train images are uint8 \(4, 4, 4\)"),
        ((np.zeros((4, 3, 4, 4), np.uint8), np.zeros(3, int)), r"train labels are \(3,\)"),
        ((np.zeros((0, 3, 4, 4), np.uint8), np.zeros(0, int)), r"train labels are \(0,\)"),
    ],
)
def test_arrays_that_are_no_images_of_classes_are_refused(part, words):
    with pytest.raises(UserError, match=words):
        ImageDataModule(part, labelled(5), labelled(6))


def test_the_published_files():
    root = Path(os.environ.get("LCOMP_DATA", "data"))
    if not (root / cifar10.FOLDER).is_dir():
        pytest.skip(f"CIFAR-10 is not under {root}; set LCOMP_DATA to test with it")
    data = CIFAR10DataModule(root, download=False)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [45_000, 5_000, 10_000]
    assert data.test.labels[:10].tolist() == [3, 8, 8, 0, 6, 6, 1, 6, 3, 1]
    pixels = data.train.images[::10].float() / 255
    assert torch.allclose(pixels.mean((0, 2, 3)), torch.tensor(data.mean), atol=0.003)
    assert torch.allclose(pixels.std((0, 2, 3)), torch.tensor(data.std), atol=0.003)
