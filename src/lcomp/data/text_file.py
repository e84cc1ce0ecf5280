"""A user's sentences in files: CSV, TSV, JSON lines or Parquet."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lcomp.data.datamodule import split_by_seed
from lcomp.data.text import MINILM, Labelled, TextDataModule
from lcomp.errors import UserError, needing, suggestion
from lcomp.record.plain import PlainValue

Row = Mapping[str, PlainValue]
DELIMITED = (".csv", ".tsv")
JSON_LINES = (".jsonl", ".ndjson", ".json")
KINDS = ", ".join((*DELIMITED, *JSON_LINES, ".parquet"))


class Tabs(csv.excel_tab):
    """Values between tabs; a quotation mark is a character like others."""

    quoting = csv.QUOTE_NONE


class TextFileDataModule(TextDataModule):
    """Sentences and labels of files; classes are numbered by the order of the training labels, numbers before texts.

    Args:
        train, validation, test: files; without a validation or a test file, `held_out` of train is drawn for it by
            seed.
        text, label: names of their columns, or keys of JSON.
        held_out: share of the training sentences for a split that has no file.
        tokenizer, max_length, cache, batch_size, epoch_examples, seed: as `TextDataModule` has them.

    Raises:
        UserError: a file, a column or a label that is not there, or cannot be.
    """

    name = "text_file"

    def __init__(
        self,
        train: str | Path | None = None,
        validation: str | Path | None = None,
        test: str | Path | None = None,
        text: str = "text",
        label: str = "label",
        held_out: float = 0.1,
        tokenizer: str = MINILM,
        max_length: int = 128,
        cache: str | Path = "multirun/.cache/text",
        batch_size: int = 32,
        epoch_examples: int | None = None,
        seed: int = 0,
    ):
        if train is None:
            raise UserError(f"data.train: name the file of the training sentences, one of {KINDS}")
        if not 0 < held_out < 0.5:
            raise UserError(f"data.held_out={held_out}: a share of the training sentences, above 0 and below 0.5")
        files = {"train": train, "validation": validation, "test": test}
        read = {split: read_file(Path(path), text, label) for split, path in files.items() if path is not None}
        self.classes = sorted({given for _, given in read["train"]}, key=lambda one: (isinstance(one, str), one))
        self.num_classes = len(self.classes)
        if self.num_classes < 2:
            raise UserError(f"data.train={train}: {label} has one value alone, {self.classes}; two classes are needed")
        parts = {split: self.numbered(rows, f"data.{split}={files[split]}", label) for split, rows in read.items()}
        for number, split in enumerate(split for split in files if split not in parts):
            texts, labels = parts["train"]
            kept, drawn = split_by_seed(len(texts), max(1, round(held_out * len(texts))), seed + number)
            parts[split] = [texts[row] for row in drawn.tolist()], labels[drawn.numpy()]
            parts["train"] = [texts[row] for row in kept.tolist()], labels[kept.numpy()]
        super().__init__(
            parts["train"],
            parts["validation"],
            parts["test"],
            None,
            tokenizer,
            max_length,
            cache,
            batch_size,
            epoch_examples,
            seed,
        )

    def numbered(self, rows: Sequence[tuple[str, int | str]], where: str, label: str) -> Labelled:
        """The labels as the numbers of their classes."""
        numbers = {given: number for number, given in enumerate(self.classes)}
        unknown = sorted({str(given) for _, given in rows if given not in numbers})
        if unknown:
            raise UserError(f"{where}: {label} is {', '.join(unknown[:5])}, which no training sentence has")
        return [one for one, _ in rows], np.array([numbers[given] for _, given in rows], np.int64)


def read_file(path: Path, text: str, label: str) -> list[tuple[str, int | str]]:
    """Sentences and labels of a file, labels as whole numbers where they are.

    Raises:
        UserError: it cannot be read, or lacks a column.
    """
    suffix = path.suffix.lower()
    if suffix not in (*DELIMITED, *JSON_LINES, ".parquet"):
        raise UserError(f"{path}: ends with '{suffix}'; sentences are read from {KINDS}")
    try:
        rows = read_parquet(path) if suffix == ".parquet" else read_lines(path, suffix)
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read ({' '.join(str(error).split())[:200]})") from error
    if not rows:
        raise UserError(f"{path}: has no sentence; add some")
    found = []
    for number, row in enumerate(rows, 1):
        for key, column in (("text", text), ("label", label)):
            if row.get(column) is None:
                has = [str(name) for name in row]
                raise UserError(
                    f"{path}: sentence {number:,} has no '{column}'; it has {', '.join(has)}"
                    f"{suggestion(column, has)}; data.{key} names the column"
                )
        found.append((str(row[text]), as_label(row[label], f"{path}: sentence {number:,}: {label}")))
    return found


def as_label(given: PlainValue, where: str) -> int | str:
    if isinstance(given, str):
        return int(given) if given.strip().isdecimal() else given.strip()
    if isinstance(given, int | float) and int(given) == given:
        return int(given)
    raise UserError(f"{where} is {given}; a label is a whole number or a text")


def read_lines(path: Path, suffix: str) -> list[Row]:
    """Rows of text: with a heading, or each an object of JSON."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        if suffix in DELIMITED:
            dialect = csv.excel if suffix == ".csv" else Tabs
            return [dict(row) for row in csv.DictReader(file, dialect=dialect, restkey="")]
        rows = [json.loads(line) for line in file if line.strip()]
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError('each line must be an object, such as {"text": ..., "label": 0}')
    return rows


def read_parquet(path: Path) -> list[Row]:
    with needing("text", str(path), instead="CSV and JSON lines do without"):
        from pyarrow import parquet
    rows: list[Row] = parquet.read_table(path).to_pylist()
    return rows
