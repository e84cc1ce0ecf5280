"""`predictions.npz` beside a record: what a network says of every test example, and how some of its mistakes look."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lcomp.record.limits import Refused
from lcomp.record.untrusted import read_arrays

FILE = "predictions.npz"
MISTAKES = 25  # whose pixels or texts are kept, the first
LOST = 100  # likewise of those that the baseline gets right
SIDE = 128  # of what is kept of them, pixels
LONGEST = 400  # likewise, bytes of a text


@dataclass(frozen=True)
class Predictions:
    """A network's answers on the test split.

    Attributes:
        predictions, labels: classes (N,).
        mistakes: ascending indices (M,) of the examples whose pixels or texts are kept, all of them got wrong.
        pixels: of these, (M, C, H, W) uint8, smaller where an example is larger than `SIDE`.
        texts: or theirs, (M, bytes) uint8: UTF-8, with zeros behind it.
    """

    predictions: NDArray[np.integer]
    labels: NDArray[np.integer]
    mistakes: NDArray[np.integer]
    pixels: NDArray[np.uint8]
    texts: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((0, 0), np.uint8))

    @property
    def is_consistent(self) -> bool:
        """Whether there is a class and a label for each example, and an index and pixels or a text for each mistake."""
        shape = self.labels.shape
        return (
            len(shape) == 1
            and shape == self.predictions.shape
            and min(self.labels.min(initial=0), self.predictions.min(initial=0)) >= 0
            and self.mistakes.ndim == 1
            and bool(((self.mistakes >= 0) & (self.mistakes < shape[0])).all())
            and self.pixels.ndim == 4
            and self.pixels.dtype == np.uint8
            and self.texts.ndim == 2
            and self.texts.dtype == np.uint8
            and len(self.texts if len(self.texts) else self.pixels) == len(self.mistakes)
        )

    @property
    def pictures(self) -> NDArray[np.uint8]:
        """The pixels as pictures (M, H, W, 1 or 3): grey of the first channel, or colours."""
        shown = self.pixels if self.pixels.shape[1] == 3 else self.pixels[:, :1]
        return shown.transpose(0, 2, 3, 1)

    @property
    def shown(self) -> Sequence[NDArray[np.uint8] | str]:
        """Of each mistake its text, or its picture."""
        texts = [row.tobytes().rstrip(b"\0").decode(errors="ignore") for row in self.texts]
        return texts or list(self.pictures)

    @property
    def correct(self) -> NDArray[np.bool_]:
        """For each example (N,), whether the network was right."""
        return np.asarray(self.predictions == self.labels)

    def paired_with(self, other: Predictions | None) -> tuple[Predictions, Predictions] | None:
        """This and another network's, if they are of the same test examples."""
        alike = other is not None and np.array_equal(self.labels, other.labels)
        return (self, other) if other is not None and alike else None

    def packed(self) -> bytes:
        """The .npz file."""
        stream = io.BytesIO()
        np.savez_compressed(stream, **{k: array for k, array in vars(self).items() if k != "texts" or len(array)})
        return stream.getvalue()


def predictions_of(
    logits: NDArray[np.float32],
    labels: NDArray[np.int64],
    pixels: NDArray[np.float32],
    baseline: Predictions | None = None,
) -> Predictions:
    """What is kept of a network's logits (N, classes) on examples (N, C, H, W) in [0, 1]: pixels of those of
    `kept_mistakes`."""
    classes, indices = kept_mistakes(logits, labels, baseline)
    pictures = (shrunk(pixels[indices]).clip(0, 1) * 255).round().astype(np.uint8)
    return Predictions(classes, labels.astype(np.int16), indices, pictures)


def predictions_of_texts(
    logits: NDArray[np.float32],
    labels: NDArray[np.int64],
    text: Callable[[int], str],
    baseline: Predictions | None = None,
) -> Predictions:
    """The same of texts, the first `LONGEST` bytes of each.

    Args:
        text: of an example, by its index.
    """
    classes, indices = kept_mistakes(logits, labels, baseline)
    written = [text(index).encode()[:LONGEST] for index in indices.tolist()]
    texts = np.zeros((len(written), max(map(len, written), default=0)), np.uint8)
    for row, one in zip(texts, written, strict=True):
        row[: len(one)] = np.frombuffer(one, np.uint8)
    return Predictions(classes, labels.astype(np.int16), indices, np.zeros((0, 1, 1, 1), np.uint8), texts)


def kept_mistakes(
    logits: NDArray[np.float32], labels: NDArray[np.int64], baseline: Predictions | None
) -> tuple[NDArray[np.int16], NDArray[np.int64]]:
    """The classes (N,) that logits name, and which examples are kept: the first `MISTAKES` mistakes, and the first
    `LOST` of those that the baseline gets right."""
    classes = logits.argmax(1).astype(np.int16)
    wrong = classes != labels
    lost = wrong & baseline.correct if baseline is not None else np.zeros_like(wrong)
    return classes, np.union1d(np.flatnonzero(wrong)[:MISTAKES], np.flatnonzero(lost)[:LOST])


def shrunk(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """The same (N, C, H, W), by means of squares of pixels where a side is longer than `SIDE`."""
    *_, height, width = pixels.shape
    step = -(-max(height, width) // SIDE)
    if step == 1:
        return pixels
    down, across = min(step, height), min(step, width)
    rows, columns = height // down, width // across
    squares = pixels[..., : rows * down, : columns * across].reshape(*pixels.shape[:2], rows, down, columns, across)
    return np.asarray(squares.mean((3, 5)), np.float32)


def read_predictions(folder: Path) -> Predictions | None:
    """The predictions in a run's folder; None where there are none, the file is damaged, or its arrays do not belong
    together."""
    try:
        arrays = read_arrays(folder / FILE)
    except (OSError, Refused):
        return None
    none = np.zeros(0, np.int64), np.zeros((0, 1, 1, 1), np.uint8)  # in a file of before pixels were kept
    mistakes, pixels = arrays.get("mistakes", none[0]), arrays.get("pixels", none[1])
    texts = arrays.get("texts", np.zeros((0, 0), np.uint8))
    if not {"predictions", "labels"} <= arrays.keys() or pixels.dtype != np.uint8 or texts.dtype != np.uint8:
        return None
    predictions = Predictions(
        arrays["predictions"], arrays["labels"], mistakes, pixels.astype(np.uint8), texts.astype(np.uint8)
    )
    return predictions if predictions.is_consistent else None
