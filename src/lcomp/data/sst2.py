"""SST-2 (Socher et al. 2013): phrases and sentences of film reviews, negative or positive."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from lcomp.data.datamodule import split_by_seed
from lcomp.data.text import MINILM, Labelled, TextDataModule
from lcomp.errors import UserError

FOLDER = Path("SST-2")
CONTENT = {  # how many sentences each file has, and the SHA-256 of its labels and sentences
    "train": (67_349, "450bb11fb5aae0de0c79bff8955b97bd3829df413fce7f67b1e65007f9830180"),
    "dev": (872, "561e76772b191d2acb16901ef069479ca28df5bad4c8506531ce117be792887c"),
    "test": (1_821, "830935e8d3ff9ce38775993d4365babf6ab3e5224e8b471c97be3c90fedd33f7"),
}
HELD_OUT = 3_000  # phrases of others may lie in train: what is chosen on them is no estimate of the test split


class SST2DataModule(TextDataModule):
    """SST-2: train less 3,000 phrases, drawn by seed, which validate; the test split with the treebank's labels; dev is
    measured beside it.

    Args:
        root: folder that holds `SST-2/train.tsv`, `dev.tsv` and `test.tsv`.
        seed: decides the split and the order of the batches.
        tokenizer, max_length, cache, batch_size, epoch_examples: as `TextDataModule` has them.

    Raises:
        UserError: the files are not there, or are not these.
    """

    name = "sst2"
    num_classes = 2

    def __init__(
        self,
        root: str | Path = "data",
        tokenizer: str = MINILM,
        max_length: int = 128,
        cache: str | Path = "multirun/.cache/text",
        batch_size: int = 32,
        epoch_examples: int | None = None,
        seed: int = 0,
    ):
        parts = {split: read_part(Path(root) / FOLDER, split) for split in CONTENT}
        texts, labels = parts["train"]
        train, held_out = (rows.numpy() for rows in split_by_seed(len(labels), HELD_OUT, seed))
        super().__init__(
            ([texts[row] for row in train], labels[train]),
            ([texts[row] for row in held_out], labels[held_out]),
            parts["test"],
            {"dev": parts["dev"]},
            tokenizer,
            max_length,
            cache,
            batch_size,
            epoch_examples,
            seed,
        )


def read_part(folder: Path, split: str) -> Labelled:
    """Sentences and labels of a file of lines `label<tab>sentence`, in either order, below a heading that says which.

    Raises:
        UserError: it is not there, or another than was published.
    """
    path = folder / f"{split}.tsv"
    count, expected = CONTENT[split]
    try:
        first, *lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise UserError(
            f"data=sst2: {path} cannot be read ({getattr(error, 'strerror', None) or error}). Set LCOMP_DATA or "
            f"data.root to a folder with {FOLDER}/train.tsv, dev.tsv and test.tsv: a heading, then a label (0 or 1), a "
            "tab and a sentence on each line; train and dev are GLUE's, test has the Sentiment Treebank's labels"
        ) from error
    place = 0 if first.split("\t")[0].strip() == "label" else 1
    rows = [line.split("\t") for line in lines]
    whole = [(row[place].strip(), row[1 - place].strip()) for row in rows if len(row) == 2]
    seen = hashlib.sha256("\n".join("\t".join(row) for row in whole).encode()).hexdigest()
    if seen != expected:
        raise UserError(
            f"{path}: {len(whole):,} sentences with SHA-256 {seen[:16]}, expected {count:,} with {expected[:16]}: the "
            "file is truncated, altered or another SST-2 (of whole sentences, without labels of test); restore it"
        )
    return [text for _, text in whole], np.array([int(label) for label, _ in whole], np.int64)
