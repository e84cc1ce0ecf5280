"""`robustness=mnist_c`: the corruptions of MNIST-C, drawn or read from its published files."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lcomp.data.corrupted_images import MNIST_C, Bytes, HashedImages
from lcomp.data.mnist_c_files import load_corruption
from lcomp.errors import UserError
from lcomp.evaluation.corruptions import Labels
from lcomp.evaluation.image_corruptions import ImageCorruptions
from lcomp.record.plain import PlainValue


@dataclass(frozen=True)
class MNISTC(ImageCorruptions):
    """Fifteen corruptions of the test split at the severity of the published files, and of the validation split.

    Args:
        severities, attributions: as `ImageCorruptions` has them.
        files: the folder of the published MNIST-C, `data.mnist_c_root`, whose images are then the corrupted test split.

    Raises:
        UserError: a severity or a number that cannot be; severities that the files do not have.
    """

    files: Path | None = None
    corruptions = MNIST_C

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.files and self.severities:
            raise UserError(
                f"robustness.severities={self.severities}: the files in data.mnist_c_root have one severity each; "
                "leave out either"
            )

    def check(self, input_shape: Sequence[int]) -> None:
        """Raises UserError for images of a shape that a corruption cannot be drawn on, or files that cannot be read."""
        super().check(input_shape)
        _ = self.content

    @cached_property
    def content(self) -> str | None:
        """The SHA-256 of the published files' images and labels; None where the corruptions are computed."""
        if self.files is None:
            return None
        found = hashlib.sha256()
        for name in self.corruptions.functions:
            for array in load_corruption(self.files, name):
                found.update(array.numpy().tobytes())
        return found.hexdigest()

    @property
    def setting(self) -> dict[str, PlainValue]:
        return {"severities": [*sorted(self.severities)], "attributions": self.attributions, "files": self.content}

    def test_split(self, test: HashedImages, labels: Labels, name: str) -> tuple[Bytes, Labels]:
        """The published files of a corruption, or what is computed in their place from the clean images."""
        if self.files is None:
            return super().test_split(test, labels, name)
        found = load_corruption(self.files, name)
        return found[0].numpy(), found[1].numpy()
