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
    assert [p.read_bytes() for p in raw.iterdir()] == ([] if damage is None else [damage])
    shutil.rmtree(raw)


def test_unknown_data_set_is_refused():
    with pytest.raises(UserError, match="mnist, mnist5k"):
        MNISTDataModule(dataset="cifar")
