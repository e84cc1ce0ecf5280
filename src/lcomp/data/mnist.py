"""MNIST, and the 5,000 digits of it that need no download."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lcomp.data import mnist_c_files, sources
from lcomp.data.augmentation import Augmentation, Settings
from lcomp.data.datamodule import ImageDataModule, check_counts, split_by_seed

EPOCH = 54_000  # an epoch is as many examples on both, so that optimizer steps agree


class MNISTDataModule(ImageDataModule):
    """MNIST split 54,000 / 6,000 / 10,000 by seed, or mnist5k split 3,500 / 500 / 1,000.

    Args:
        dataset: `mnist` (falls back to mnist5k where it cannot be had, and says so) or `mnist5k`.
        root: folder that holds `MNIST/raw`.
        download: let torchvision fetch MNIST when `root` has none.
        batch_size: training examples per optimizer step.
        epoch_examples: training examples per epoch, each drawn as often as that takes.
        seed: decides the split and the order of the batches.
        perturb: what changes the training images, name to settings: {"rotation": {"severity": 3}, "augmix": {}}.
        eval_perturbations: what the artifact is tested on besides: `rotation` (severity 3), `rotation:5`, or several at
            once, `rotation:1+scale:1`.
        mnist_c_root: folder of the published MNIST-C, a folder for each corruption; None draws the corruptions anew.

    Raises:
        UserError: a damaged file, an unknown data set, perturbation or setting of it, MNIST-C files that do not fit.
    """

    num_classes = 10
    input_shape = (1, 28, 28)

    def __init__(
        self,
        dataset: str = "mnist",
        root: str | Path = "data",
        download: bool = True,
        batch_size: int = 256,
        epoch_examples: int = EPOCH,
        seed: int = 0,
        perturb: Mapping[str, Settings | Augmentation] | None = None,
        eval_perturbations: Sequence[str] = (),
        mnist_c_root: str | Path | None = None,
    ):
        check_counts(batch_size, epoch_examples)
        digits = sources.load_digits(dataset, Path(root), download)
        self.name, self.sha256 = digits.name, digits.sha256
        images, labels = np.array(digits.images), np.array(digits.labels)
        if digits.test_images is not None and digits.test_labels is not None:
            test = np.array(digits.test_images), np.array(digits.test_labels)
            train, validation = split_by_seed(len(labels), 6_000, seed)
        else:
            train, rest = split_by_seed(len(labels), 1_500, seed)
            validation, held_out = rest.split([500, 1_000])
            test = images[held_out], labels[held_out]
        parts = (images[train], labels[train]), (images[validation], labels[validation]), test
        super().__init__(*parts, batch_size, epoch_examples, seed, perturb, eval_perturbations)
        self.mnist_c_root = None if mnist_c_root is None else Path(mnist_c_root)
        if self.mnist_c_root is not None:
            mnist_c_files.check_files(self.mnist_c_root, self.test.labels)
