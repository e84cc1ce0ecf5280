"""Pixels and labels of a user's batch, whatever it is made of; what cannot be told or used is refused by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lcomp.errors import UserError
from lcomp.tasks.batch_parts import Keys, choose, described, is_array, leaves, plain, say
from lcomp.tasks.task import Batch

PIXELS = ("pixels", "pixel_values", "image", "images", "img", "imgs", "x", "input", "inputs", "data")
LABELS = ("label", "labels", "target", "targets", "y", "class", "classes")


@dataclasses.dataclass(frozen=True)
class Form:
    """What batches must be: pixels (N, *shape), labels (N,) from 0 to below `classes`.

    Attributes:
        where: whose batches, for messages.
        mixed: whether labels may be shares of classes (N, classes), as of mixed examples.
    """

    where: str
    shape: tuple[int, ...]
    classes: int
    mixed: bool = False

    def read(self, batch: Any) -> Batch:
        """The batch itself where it is (float32 pixels, int64 labels, ...), else such a one made of it.

        Raises:
            UserError: no pixels or no labels can be told in it, or they are not what is allowed.
        """
        parts = {end: torch.tensor(leaf) if is_array(leaf) else leaf for end, leaf in leaves(batch).items()}
        tensors = {path: part for path, part in parts.items() if isinstance(part, Tensor)}
        images = {path: part for path, part in tensors.items() if part.shape[1:] == self.shape and part.dim()}
        first = (0,) if (0,) in images else choose(images, PIXELS)
        if first is None:
            raise UserError(f"{self.where} gives {described(parts)}: {self.hint(tensors, images)}")
        count = len(images[first])
        labels = {
            path: part
            for path, part in tensors.items()
            if path != first and part.shape in ((count,), (count, 1), (count, self.classes))
        }
        whole = {path: part for path, part in labels.items() if not part.is_floating_point()}  # no weights of images
        second = (1,) if first == (0,) and (1,) in labels else choose(labels, LABELS) or choose(whole, LABELS)
        if second is None or not count:
            raise UserError(
                f"{self.where} gives {described(parts)}: no one part of it is the labels of the images, ({count},); "
                "give (pixels, labels), or a dictionary with 'image' and 'label'"
            )
        x, y = self.pixels(images[first]), self.labels(labels[second])
        if (first, second) != ((0,), (1,)) or not isinstance(batch, list | tuple):
            return x, y
        return batch if x is batch[0] and y is batch[1] else (x, y, *batch[2:])

    def hint(self, tensors: Mapping[Keys, Tensor], images: Mapping[Keys, Tensor]) -> str:
        """What to do where no part, or more than one, is shaped as an image."""
        if images:
            return "more than one part may be the pixels; give (pixels, labels)"
        shapes = [tuple(part.shape[1:]) for part in tensors.values()]
        wanted = f"no part of it is pixels (N, {', '.join(map(str, self.shape))}), as input_shape says"
        if (*self.shape[1:], self.shape[0]) in shapes:
            return f"{wanted}; channels come first: pixels.permute(0, 3, 1, 2)"
        if self.shape[0] == 1 and self.shape[1:] in shapes:
            return f"{wanted}; the channel is missing: pixels.unsqueeze(1)"
        return f"{wanted}; change either"

    def pixels(self, found: Tensor) -> Tensor:
        """float32 pixels on the processor, without a gradient."""
        x = plain(found)
        if x.dtype == torch.uint8:
            say(f"{self.where}: bytes, read as pixels from 0 to 1 (divided by 255)")
            x = x.float().div_(255)
        elif x.is_floating_point() or x.dtype == torch.bool:
            x = x if x.dtype == torch.float32 else x.float()
        else:
            kind = str(x.dtype).removeprefix("torch.")
            raise UserError(f"{self.where}: pixels of {kind}; give float32 from 0 to 1, or uint8 from 0 to 255")
        if not x.sum().isfinite() and not x.isfinite().all():
            raise UserError(f"{self.where}: a pixel is not a finite number; mend the images")
        return x

    def labels(self, found: Tensor) -> Tensor:
        """int64 labels (N,); float32 (N, classes) where they are shares."""
        y = plain(found)
        if self.mixed and y.dim() == 2 and y.shape[1] > 1 and y.is_floating_point() and is_shares(y):
            return y.float()
        if y.dim() == 2 and y.shape[1] == 1:
            y = y.squeeze(1)
        elif y.dim() == 2:
            if not (((y == 0) | (y == 1)).all() and (y.sum(1) == 1).all()):
                raise UserError(f"{self.where}: rows of labels with other than a single 1; give a class for each image")
            y = y.long().argmax(1)
        if y.is_floating_point() and not (y == y.round()).all():
            raise UserError(
                f"{self.where}: labels such as {float(y[y != y.round()][0]):g}; give whole numbers, classes"
            )
        y = y if y.dtype == torch.int64 else y.long()
        least, most = int(y.min()), int(y.max())
        if least < 0 or most >= self.classes:
            outside = least if least < 0 else most
            raise UserError(
                f"{self.where}: a label is {outside}; num_classes={self.classes} allows 0 to {self.classes - 1}: "
                "count from 0, or raise num_classes"
            )
        return y


def is_shares(labels: Tensor) -> bool:
    """Whether rows (N, classes) sum to 1, none of their numbers below 0, and not all are a single 1."""
    right = bool((labels >= 0).all()) and bool(((labels.sum(1) - 1).abs() < 1e-3).all())
    return right and not bool(((labels == 0) | (labels == 1)).all())
