"""`robustness=cifar10_c`: the corruptions of CIFAR-10-C, drawn on images of any data set, in colours or grey."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lcomp.data.corrupted_images import CIFAR10_C
from lcomp.errors import UserError
from lcomp.evaluation.image_corruptions import ImageCorruptions


@dataclass(frozen=True)
class CIFAR10C(ImageCorruptions):
    """Thirteen of the fifteen corruptions of CIFAR-10-C at severity 3, and at those of `severities`, of which the paper
    has all five. As `ImageCorruptions`."""

    corruptions = CIFAR10_C

    def check(self, input_shape: Sequence[int]) -> None:
        """Raises UserError for images that are neither grey nor in colours, or too small for one of them."""
        if len(input_shape) != 3 or input_shape[0] not in (1, 3):
            raise UserError(
                f"robustness=cifar10_c: corrupts images of 1 or 3 channels, height and width; these are of shape "
                f"{tuple(input_shape)}: choose robustness=none"
            )
        super().check(input_shape)
