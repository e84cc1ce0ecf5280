"""Data sets in MNIST's form, on files that are generated: the published ones were never read here."""

import gzip
import hashlib
import shutil
import struct

import numpy as np
import pytest
import torch
import torchvision

from lcomp.config.composition import compose
from lcomp.config.run_spec import parse
from lcomp.data import FashionMNISTDataModule, KMNISTDataModule, like_mnist
from lcomp.errors import UserError
from lcomp.training import components

KINDS = [FashionMNISTDataModule, KMNISTDataModule]


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def kind(request):
    return request.param


@pytest.fixture
def root(tmp_path, monkeypatch, kind):
    """Files of the form, small, an image's first pixel its label, and the sums that are asked for."""
    raw, random, sums = tmp_path / kind.folder / "raw", np.random.default_rng(0), []
    raw.mkdir(parents=True)
    for part, count in (("train", 100), ("t10k", 20)):
        images, labels = random.integers(0, 256, (count, 28, 28), np.uint8), random.integers(0, 10, count, np.uint8)
        images[:, 0, 0] = labels
        for name, values in (("images-idx3", images), ("labels-idx1", labels)):
            header = struct.pack(f">I{values.ndim}I", 0x800 + values.ndim, *values.shape)
            packed = gzip.compress(header + values.tobytes(), mtime=0)
            (raw / f"{part}-{name}-ubyte.gz").write_bytes(packed)
            sums.append(hashlib.md5(packed).hexdigest())
    monkeypatch.setattr(kind, "md5", sums)
    monkeypatch.setattr(like_mnist, "HELD_OUT", 10)
    return tmp_path


def test_it_is_split_by_seed_with_its_labels(root, kind):
    one, same, other = (kind(root, seed=seed) for seed in (0, 0, 1))
    assert [len(part) for part in (one.train, one.validation, one.test)] == [90, 10, 20] and one.name == kind.name
    for part in (one.train, one.validation, one.test):
        assert part.images.shape[1:] == (1, 28, 28) and torch.equal(part.images[:, 0, 0, 0].long(), part.labels)
    assert torch.equal(one.train.images, same.train.images) and torch.equal(one.test.images, other.test.images)
    assert not torch.equal(one.validation.images, other.validation.images)


def test_the_choice_gives_networks_the_statistics_of_its_pixels(root, kind):
    data = components.make_data(parse(compose([f"data={kind.name}", f"data.root={root}"])))
    network = components.make_network({"_target_": "lcomp.models.LeNet5"}, data, 0)
    assert network.normalize.mean.item() == pytest.approx(kind.mean[0])
    assert data.epoch_examples == 54_000


def test_the_sums_are_those_that_torchvision_checks(kind):
    published = getattr(torchvision.datasets, kind.folder).resources
    assert [(f"{name}.gz", md5) for name, md5 in zip(like_mnist.FILES, kind.md5, strict=True)] == published


def test_an_altered_file_is_named_and_without_any_it_is_said_what_to_do(root, kind, monkeypatch):
    path = root / kind.folder / "raw" / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"t10k-labels-idx1-ubyte.gz: MD5 is .*, expected"):
        kind(root)

    def unreachable(*_, **__):
        raise RuntimeError("no network")

    monkeypatch.setattr(torchvision.datasets, kind.folder, unreachable)
    for allowed, why in ((True, "no network"), (False, "data.download=false")):
        with pytest.raises(UserError, match=rf"data={kind.name}: .*has no {kind.folder}/raw.*{why}.*LCOMP_DATA"):
            kind(root / "nowhere", download=allowed)


def test_a_download_lands_whole_where_the_next_run_looks(root, kind, monkeypatch):
    class Fetched:
        def __init__(self, folder, download):
            self.raw_folder = f"{folder}/{kind.folder}/raw"
            shutil.copytree(root / kind.folder / "raw", self.raw_folder)

    monkeypatch.setattr(torchvision.datasets, kind.folder, Fetched)
    target = root / "elsewhere"
    assert len(kind(target).train) == 90
    assert {path.name for path in target.iterdir()} == {".download.lock", kind.folder}
    assert len(kind(target, download=False).train) == 90
