"""A user's own copy of the published MNIST-C is what it should be, or it is said what is wrong."""

import os
import shutil

import numpy as np
import pytest
import torch

from lcomp.data import MNISTDataModule, mnist_c_files, sources
from lcomp.data.mnist_c import CORRUPTIONS
from lcomp.errors import UserError

LABELS = np.arange(10_000) % 10


@pytest.fixture
def root(tmp_path):
    """Fifteen folders with MNIST-C's shapes; the image of place n is n % 251 in its second row and third column."""
    for name in CORRUPTIONS:
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "test_labels.npy", LABELS)
    first = tmp_path / "shot_noise" / "test_images.npy"
    images = np.lib.format.open_memmap(first, "w+", np.uint8, (10_000, 28, 28, 1))
    images[:, 1, 2, 0] = np.arange(10_000) % 251
    images.flush()
    for name in list(CORRUPTIONS)[1:]:
        os.link(first, tmp_path / name / "test_images.npy")
    return tmp_path


@pytest.fixture
def mnist(monkeypatch):
    """Black images with MNIST's counts, and `LABELS` on the test split."""
    black = np.zeros((60_000, 1, 28, 28), np.uint8)
    digits = sources.Digits("mnist", "0", black, np.zeros(60_000, np.uint8), black[:10_000], LABELS.astype(np.uint8))
    monkeypatch.setattr(sources, "load_digits", lambda *_: digits)


def test_images_and_labels_come_in_their_order(root):
    images, labels = mnist_c_files.load_corruption(root, "fog")
    assert images.shape == (10_000, 1, 28, 28) and images.dtype == torch.uint8
    assert torch.equal(images[:, 0, 1, 2].long(), torch.arange(10_000) % 251) and images.count_nonzero() == 9_960
    assert labels.dtype == torch.int64 and torch.equal(labels, torch.from_numpy(LABELS))


def test_the_data_module_knows_the_folder(root, mnist):
    assert MNISTDataModule(mnist_c_root=str(root)).mnist_c_root == root
    assert MNISTDataModule().mnist_c_root is None


def test_a_test_split_of_another_data_set_is_refused(root):
    with pytest.raises(UserError, match=r"data.mnist_c_root=.*this test split has 1,000.*data=mnist"):
        MNISTDataModule(dataset="mnist5k", mnist_c_root=root)


def test_other_labels_are_refused(root, mnist):
    np.save(root / "zigzag" / "test_labels.npy", np.where(np.arange(10_000) < 3, 9, LABELS))
    with pytest.raises(UserError, match=r"zigzag/test_labels.npy: 3 of 10,000 labels are not the test split's"):
        MNISTDataModule(mnist_c_root=root)


@pytest.mark.parametrize("file", ["test_images.npy", "test_labels.npy"])
@pytest.mark.parametrize(
    "damage, said",
    [
        (lambda path: path.unlink(), "no such file"),
        (lambda path: path.write_bytes(path.read_bytes()[:5_000]), "not a readable .npy file"),
        (lambda path: path.write_bytes(b""), "not a readable .npy file"),
        (lambda path: np.save(path, np.array([None])), "not a readable .npy file"),
        (lambda path: np.save(path, np.zeros((10_000, 28, 28, 1), np.float32)), r"float32 \(10000, 28, 28, 1\)"),
        (lambda path: np.save(path, np.zeros((10_000, 28, 28), np.uint8)), r"uint8 \(10000, 28, 28\)"),
        (lambda path: np.save(path, np.zeros(9_999, np.int64)), r"int64 \(9999,\)"),
    ],
)
def test_what_is_not_the_published_file_is_named(root, file, damage, said):
    path = root / "fog" / file
    data = path.read_bytes()
    path.unlink()  # a link to the other fourteen
    path.write_bytes(data)
    damage(path)
    allowed = r"uint8 \(10000, 28, 28, 1\)" if "images" in file else r"int64 \(10000,\)"
    with pytest.raises(UserError, match=f"fog/test_.*.npy: {said}; allowed is an array of {allowed}.*zenodo"):
        mnist_c_files.check_files(root, torch.from_numpy(LABELS))
    with pytest.raises(UserError, match=said):
        mnist_c_files.load_corruption(root, "fog")


def test_all_fifteen_must_be_there(root):
    shutil.rmtree(root / "canny_edges")
    with pytest.raises(UserError, match=r"canny_edges/test_images.npy: no such file"):
        mnist_c_files.check_files(root, torch.from_numpy(LABELS))
