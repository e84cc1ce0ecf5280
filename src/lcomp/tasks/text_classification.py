"""One label for each sentence."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lcomp.errors import UserError
from lcomp.record.plain import PlainValue
from lcomp.record.predictions import Predictions, predictions_of_texts
from lcomp.tasks.classification import Classification
from lcomp.tasks.split import MASK, Arrays, Split
from lcomp.tasks.task import Batch, Inputs

IDS = "input_ids"


class TextClassification(Classification):
    """Token ids (N, L) int64 and their mask (N, L) int64, 0 where a sentence has ended, to logits (N, classes).

    Batches are (ids, mask, labels, ...), as long as their longest sentence; whatever follows is teachers' outputs or
    the numbers of examples, which the data carry.

    Args:
        num_classes, label_smoothing: as in `Classification`.
        vocab_size: how many tokens there are.
        max_length: tokens of the longest sentence, those that begin and end it included.
        length: of the example that operations, memory and latency are stated for.
        further_lengths: at which latency is measured too, as `latency_us_p50/length_16`.
        decode: token ids of a sentence to its text, to show some; None: their numbers are shown.

    Raises:
        UserError: a length that no sentence has.
    """

    dimensions: ClassVar[tuple[str, ...]] = ("batch", "length")

    def __init__(
        self,
        num_classes: int = 2,
        vocab_size: int = 30_522,
        max_length: int = 128,
        length: int = 64,
        further_lengths: tuple[int, ...] = (16, 128),
        label_smoothing: float = 0.0,
        decode: Callable[[Sequence[int]], str] | None = None,
    ):
        super().__init__(num_classes, label_smoothing)
        self.vocab_size, self.max_length, self.length = vocab_size, max_length, min(length, max_length)
        if length < 1 or any(type(one) is not int or one < 1 for one in further_lengths):
            raise UserError(f"task.length={length}, task.further_lengths={further_lengths}: tokens, 1 or more")
        self.decode = decode
        self.further_lengths = tuple(one for one in further_lengths if one <= max_length and one != self.length)

    @property
    def arguments(self) -> dict[str, PlainValue]:
        return {"num_classes": self.num_classes, "vocab_size": self.vocab_size, "max_length": self.max_length}

    def inputs(self, batch: Batch) -> Inputs:
        return {IDS: batch[0], MASK: batch[1]}

    def labels(self, batch: Batch) -> Tensor:
        return batch[2]

    def example_inputs(self, n: int) -> Inputs:
        shape = (n, self.length)
        return {IDS: torch.zeros(shape, dtype=torch.int64), MASK: torch.ones(shape, dtype=torch.int64)}

    def predictions(
        self, outputs: NDArray[np.float32], split: Split, baseline: Predictions | None
    ) -> Predictions | None:
        def text(index: int) -> str:
            ids = split.inputs[IDS][index][split.inputs[MASK][index] != 0].tolist()
            return self.decode(ids) if self.decode else " ".join(map(str, ids))

        return predictions_of_texts(outputs, split.labels, text, baseline)

    def metadata(self) -> Mapping[str, str]:
        return {**super().metadata(), "length": str(self.length)}

    def timed_inputs(self, inputs: Arrays) -> dict[str, Arrays]:
        return {
            "": sentence(inputs, self.length),
            **{f"length_{length}": sentence(inputs, length) for length in self.further_lengths},
        }


def sentence(inputs: Arrays, length: int) -> Arrays:
    """One that is so long, of the tokens of others one after another."""
    tokens = inputs[IDS][inputs[MASK] != 0]
    repeated = np.resize(tokens, (1, length))
    return {IDS: repeated, MASK: np.ones_like(repeated)}
