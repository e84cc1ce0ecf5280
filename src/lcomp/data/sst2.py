"""SST-2 (Socher et al. 2013): phrases and sentences of film reviews, negative or positive."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path

import numpy as np

from lcomp.data.datamodule import split_by_seed
from lcomp.data.downloads import download
from lcomp.data.text import MINILM, Labelled, TextDataModule
from lcomp.errors import UserError

FOLDER = Path("SST-2")
CONTENT: dict[
    str, tuple[int, *tuple[str, ...]]
] = {  # how many sentences each file has, and the SHA-256 of its labels and sentences in each form of it
    "train": (
        67_349,
        "641614d01a4fc1c70c42fe130201d900790b867de2148ed87e0bcfa098494ea6",  # GLUE's
        "450bb11fb5aae0de0c79bff8955b97bd3829df413fce7f67b1e65007f9830180",  # its phrase 48,105 read as a number: 10000
    ),
    "dev": (
        872,
        "4efcb2a0c17a1369b983f24133d88a6b424f40fde8dc9c294c931eac2db0dc5a",  # GLUE's
        "561e76772b191d2acb16901ef069479ca28df5bad4c8506531ce117be792887c",  # the treebank's, with -lrb- for brackets
    ),
    "test": (1_821, "830935e8d3ff9ce38775993d4365babf6ab3e5224e8b471c97be3c90fedd33f7"),
}
GLUE = "https://dl.fbaipublicfiles.com/glue/data/SST-2.zip", "9f81648d4199384278b86e315dac217c"  # and its MD5 sum
LABELLED = (  # the test split with the treebank's labels, which GLUE's file has not
    "https://huggingface.co/datasets/SetFit/sst2/resolve/main/test.jsonl",
    "100f9d0996ff70ae848be090ffd6daed",
)
FORM = (
    "a heading, then a label (0 or 1), a tab and a sentence on each line, in this order or the other; train and dev "
    "are GLUE's, test has the Sentiment Treebank's labels"
)
HELD_OUT = 3_000  # phrases of others may lie in train: what is chosen on them is no estimate of the test split


class SST2DataModule(TextDataModule):
    """SST-2: train less 3,000 phrases, drawn by seed, which validate; the test split with the treebank's labels; dev is
    measured beside it.

    Args:
        root: folder that holds `SST-2/train.tsv`, `dev.tsv` and `test.tsv`.
        download: fetch them when `root` has no `SST-2`.
        seed: decides the split and the order of the batches.
        tokenizer, max_length, cache, batch_size, epoch_examples: as `TextDataModule` has them.

    Raises:
        UserError: the files are not there and cannot be had, or are not these.
    """

    name = "sst2"
    num_classes = 2

    def __init__(
        self,
        root: str | Path = "data",
        download: bool = True,
        tokenizer: str = MINILM,
        max_length: int = 128,
        cache: str | Path = "multirun/.cache/text",
        batch_size: int = 32,
        epoch_examples: int | None = None,
        seed: int = 0,
    ):
        folder = find_files(Path(root), download)
        parts = {split: read_part(folder, split) for split in CONTENT}
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


def find_files(root: Path, may_download: bool) -> Path:
    """The folder of the files, downloaded where that is allowed and needed.

    Raises:
        UserError: there is none.
    """
    if (root / FOLDER).is_dir():
        return root / FOLDER
    if problem := download(root, FOLDER, fetch) if may_download else "data.download=false":
        raise UserError(
            f"data=sst2: {root} has no {FOLDER}, and it was not downloaded ({problem}). Set LCOMP_DATA or data.root to "
            f"a folder with {FOLDER}/train.tsv, dev.tsv and test.tsv: {FORM}"
        )
    return root / FOLDER


def fetch(folder: Path) -> Path:
    """Downloads GLUE's archive for train and dev, and the labelled test split, which becomes lines as theirs are."""
    from torchvision.datasets.utils import download_url

    (made := folder / FOLDER).mkdir()
    for (url, md5), name in ((GLUE, "glue.zip"), (LABELLED, "test.jsonl")):
        download_url(url, str(folder), name, md5)
    with zipfile.ZipFile(folder / "glue.zip") as archive:
        for split in ("train", "dev"):
            (made / f"{split}.tsv").write_bytes(archive.read(f"{FOLDER}/{split}.tsv"))
    rows = [json.loads(line) for line in (folder / "test.jsonl").read_text(encoding="utf-8").splitlines()]
    lines = ["sentence\tlabel", *(f"{row['text']}\t{row['label']}" for row in rows)]
    (made / "test.tsv").write_text("\n".join([*lines, ""]), encoding="utf-8")
    return made


def read_part(folder: Path, split: str) -> Labelled:
    """Sentences and labels of a file of lines `label<tab>sentence`, in either order, below a heading that says which.

    Raises:
        UserError: it is not there, or another than was published.
    """
    path = folder / f"{split}.tsv"
    count, *allowed = CONTENT[split]
    try:
        first, *lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise UserError(
            f"data=sst2: {path} cannot be read ({getattr(error, 'strerror', None) or error}). It must hold {FORM}; "
            f"remove {folder} to have its files downloaded"
        ) from error
    place = 0 if first.split("\t")[0].strip() == "label" else 1
    rows = [line.split("\t") for line in lines]
    whole = [(row[place].strip(), row[1 - place].strip()) for row in rows if len(row) == 2]
    seen = hashlib.sha256("\n".join("\t".join(row) for row in whole).encode()).hexdigest()
    if seen not in allowed:
        raise UserError(
            f"{path}: {len(whole):,} sentences with SHA-256 {seen[:16]}, expected {count:,} with {allowed[0][:16]}: "
            "the file is truncated, altered or another SST-2 (of whole sentences, without labels of test); restore it"
        )
    return [text for _, text in whole], np.array([int(label) for label, _ in whole], np.int64)
