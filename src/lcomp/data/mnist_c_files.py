"""A user's own copy of the published MNIST-C: `root/<corruption>/test_images.npy` and `test_labels.npy`."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lcomp.data.mnist_c import CORRUPTIONS
from lcomp.errors import UserError

D = TypeVar("D", bound=np.generic)
IMAGES, LABELS = (10_000, 28, 28, 1), (10_000,)


def load_corruption(root: Path, name: str) -> tuple[Tensor, Tensor]:
    """The published images (10000, 1, 28, 28) uint8 and labels (10000,) int64 of the corruption `name`.

    Raises:
        UserError: a file is missing, cannot be read or has another shape or type.
    """
    images, labels = images_file(root, name), labels_file(root, name)
    return torch.from_numpy(np.array(images)).movedim(3, 1), torch.from_numpy(np.array(labels))


def check_files(root: Path, labels: Tensor) -> None:
    """Sees to it, without reading images, that all fifteen corruptions are under `root` and have the test split's
    `labels`.

    Raises:
        UserError: as `load_corruption`, or other labels.
    """
    if labels.shape != LABELS:
        raise UserError(
            f"data.mnist_c_root={root}: the published files are MNIST's 10,000 test images, and this test split has "
            f"{len(labels):,}. Use data=mnist with its files under data.root, or data.mnist_c_root=null."
        )
    for name in CORRUPTIONS:
        images_file(root, name)
        published = torch.from_numpy(np.array(labels_file(root, name)))
        if differing := int((published != labels).sum()):
            raise UserError(
                f"{root / name / 'test_labels.npy'}: {differing:,} of 10,000 labels are not the test split's; allowed "
                "are MNIST's test labels in their order. Take the published file, or data.mnist_c_root=null."
            )


def images_file(root: Path, name: str) -> NDArray[np.uint8]:
    """The images (10000, 28, 28, 1) of a corruption, read when they are used."""
    return map_array(root / name / "test_images.npy", np.uint8, IMAGES)


def labels_file(root: Path, name: str) -> NDArray[np.int64]:
    """The labels (10000,) of a corruption."""
    return map_array(root / name / "test_labels.npy", np.int64, LABELS)


def map_array(path: Path, dtype: type[D], shape: tuple[int, ...]) -> NDArray[D]:
    """The array in `path`, of that type and shape, mapped into memory."""
    allowed = f"allowed is an array of {np.dtype(dtype)} {shape}"
    mend = "Unpack mnist_c.zip of zenodo.org/record/3239543 there, or set data.mnist_c_root=null."
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError, EOFError) as error:
        problem = "no such file" if isinstance(error, FileNotFoundError) else "not a readable .npy file"
        raise UserError(f"{path}: {problem}; {allowed}. {mend}") from error
    if array.dtype != dtype or array.shape != shape:
        raise UserError(f"{path}: {array.dtype} {array.shape}; {allowed}. {mend}")
    return array
