"""Data sets in MNIST's form: 70,000 grey images of ten classes, 28 x 28, in four IDX files."""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from lcomp.data import downloads
from lcomp.data.augmentation import Augmentation, Settings
from lcomp.data.datamodule import ImageDataModule, check_counts, split_by_seed
from lcomp.errors import UserError

HELD_OUT = 6_000
FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
MAGIC = {3: 0x803, 1: 0x801}  # of bytes, in so many dimensions


class LikeMNISTDataModule(ImageDataModule):
    """Split 54,000 / 6,000 / 10,000 by seed. A subclass names the files' folder and their MD5 sums.

    Args:
        root: folder that holds `FOLDER/raw`.
        download: let torchvision fetch the files when `root` has none.
        seed: decides the split and the order of the batches.
        batch_size, epoch_examples, perturb, eval_perturbations: as `ImageDataModule` has them.

    Raises:
        UserError: the files are not there and cannot be had, or are damaged; an unknown perturbation or setting of it.
    """

    num_classes = 10
    input_shape = (1, 28, 28)
    folder: ClassVar[str]  # as torchvision calls it
    md5: ClassVar[Sequence[str]]  # of `FILES`, packed, as torchvision has them
    name: str

    def __init__(
        self,
        root: str | Path = "data",
        download: bool = True,
        batch_size: int = 256,
        epoch_examples: int | None = None,
        seed: int = 0,
        perturb: Mapping[str, Settings | Augmentation] | None = None,
        eval_perturbations: Sequence[str] = (),
    ):
        check_counts(batch_size, epoch_examples)
        raw = self.find_files(Path(root), download)
        packed = [f"{name}.gz" for name in FILES]
        self.sha256 = downloads.check_md5(raw, dict(zip(packed, self.md5, strict=True)))
        images, labels, *test = (read_idx(raw / name) for name in packed)
        train, validation = split_by_seed(len(labels), HELD_OUT, seed)
        super().__init__(
            (images[train, None], labels[train]),
            (images[validation, None], labels[validation]),
            (test[0][:, None], test[1]),
            batch_size,
            epoch_examples,
            seed,
            perturb,
            eval_perturbations,
        )

    @classmethod
    def find_files(cls, root: Path, may_download: bool) -> Path:
        """The folder of the files, downloaded where that is allowed and needed.

        Raises:
            UserError: there is none.
        """
        place = Path(cls.folder) / "raw"
        if (root / place).is_dir():
            return root / place
        problem = downloads.download(root, place, cls.fetch) if may_download else "data.download=false"
        if problem:
            raise UserError(
                f"data={cls.name}: {root} has no {place}, and it was not downloaded ({problem}). Set LCOMP_DATA or "
                f"data.root to a folder that holds it, or put {', '.join(FILES)} there, each with .gz."
            )
        return root / place

    @classmethod
    def fetch(cls, folder: Path) -> Path:
        """Downloads the files into a folder within `folder`."""
        import torchvision

        return Path(getattr(torchvision.datasets, cls.folder)(str(folder), download=True).raw_folder)


class FashionMNISTDataModule(LikeMNISTDataModule):
    """Fashion-MNIST (Xiao et al. 2017): clothes. As `LikeMNISTDataModule`."""

    name, folder = "fashion_mnist", "FashionMNIST"
    mean, std = (0.2860,), (0.3530,)
    md5 = (
        "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "25c81989df183df01b3e8a0aad5dffbe",
        "bef4ecab320f06d8554ea6380940ec79",
        "bb300cfdad3c16e7a12a480ee83cd310",
    )


class KMNISTDataModule(LikeMNISTDataModule):
    """Kuzushiji-MNIST (Clanuwat et al. 2018): cursive Japanese characters. As `LikeMNISTDataModule`."""

    name, folder = "kmnist", "KMNIST"
    mean, std = (0.1918,), (0.3483,)
    md5 = (
        "bdb82020997e1d708af4cf47b453dcf7",
        "e144d726b3acfaa3e44228e80efcd344",
        "5c965bf0a639b31b8f53240b1b52f4d7",
        "7320c461ea6c1c855c0b718fb2a4b134",
    )


def read_idx(path: Path) -> NDArray[np.uint8]:
    """The bytes of a packed IDX file, (N, H, W) or (N,)."""
    content = gzip.decompress(path.read_bytes())
    dimensions = content[3]
    header = np.frombuffer(content, ">u4", 1 + dimensions).tolist()
    assert header[0] == MAGIC[dimensions]
    return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(header[1:])
