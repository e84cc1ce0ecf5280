"""CIFAR-10 (Krizhevsky 2009): colour photographs of ten classes, 32 x 32."""

from __future__ import annotations

import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lcomp.data import array_pickles
from lcomp.data.augmentation import Augmentation, Settings
from lcomp.data.datamodule import ImageDataModule, check_counts, split_by_seed
from lcomp.data.downloads import check_md5, download
from lcomp.errors import UserError

FOLDER = Path("cifar-10-batches-py")
TRAIN = {  # MD5 sums as torchvision has them
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
}
TEST = {"test_batch": "40351d587109b95175f43aff81a1287e"}
HELD_OUT = 5_000


class CIFAR10DataModule(ImageDataModule):
    """CIFAR-10 split 45,000 / 5,000 / 10,000 by seed.

    Args:
        root: folder that holds `cifar-10-batches-py`.
        download: let torchvision fetch it when `root` has none.
        seed: decides the split and the order of the batches.
        batch_size, epoch_examples, perturb, eval_perturbations: as `ImageDataModule` has them.

    Raises:
        UserError: the files are not there and cannot be had, or are damaged; an unknown perturbation or setting of it.
    """

    name = "cifar10"
    num_classes = 10
    input_shape = (3, 32, 32)
    mean, std = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)

    def __init__(
        self,
        root: str | Path = "data",
        download: bool = True,
        batch_size: int = 128,
        epoch_examples: int | None = None,
        seed: int = 0,
        perturb: Mapping[str, Settings | Augmentation] | None = None,
        eval_perturbations: Sequence[str] = (),
    ):
        check_counts(batch_size, epoch_examples)
        folder = find_files(Path(root), download)
        self.sha256 = check_md5(folder, TRAIN | TEST)
        images, labels = read_batches([folder / name for name in TRAIN])
        train, validation = split_by_seed(len(labels), HELD_OUT, seed)
        super().__init__(
            (images[train], labels[train]),
            (images[validation], labels[validation]),
            read_batches([folder / name for name in TEST]),
            batch_size,
            epoch_examples,
            seed,
            perturb,
            eval_perturbations,
        )


def find_files(root: Path, may_download: bool) -> Path:
    """The folder of the pickles, downloaded where that is allowed and needed.

    Raises:
        UserError: there is none.
    """
    if (root / FOLDER).is_dir():
        return root / FOLDER
    problem = download(root, FOLDER, fetch) if may_download else "data.download=false"
    if problem:
        raise UserError(
            f"data=cifar10: {root} has no {FOLDER}, and it was not downloaded ({problem}). Set LCOMP_DATA or data.root "
            "to a folder that holds it, or unpack cifar-10-python.tar.gz of www.cs.toronto.edu/~kriz/cifar.html there."
        )
    return root / FOLDER


def fetch(folder: Path) -> Path:
    """Downloads the archive into `folder`, checks it and unpacks it."""
    from torchvision.datasets import CIFAR10
    from torchvision.datasets.utils import download_url

    download_url(CIFAR10.url, str(folder), CIFAR10.filename, CIFAR10.tgz_md5)
    with tarfile.open(folder / CIFAR10.filename) as archive:
        archive.extractall(folder, filter="data")
    return folder / FOLDER


def read_batches(paths: Sequence[Path]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images (N, 3, 32, 32) and labels (N,) of pickled batches, one after another."""
    batches = [array_pickles.load(path) for path in paths]
    images = np.concatenate([batch[b"data"] for batch in batches]).reshape(-1, 3, 32, 32)
    return images, np.concatenate([np.asarray(batch[b"labels"], np.int64) for batch in batches])
