"""Sentences become numbers of tokens, once: what a fast tokenizer makes of them is kept in a file."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lcomp.config.pretrained import pretrained_folder
from lcomp.errors import UserError, needing
from lcomp.record.files import write_atomically

if TYPE_CHECKING:
    from tokenizers import Tokenizer

log = logging.getLogger(__name__)
AT_ONCE = 10_000  # sentences
FILES = ("tokenizer.json", "vocab.txt")


class Tokens(NamedTuple):
    """Sentences, one after another: the numbers of all tokens (T,) int32, and how many each has (N,) int64."""

    ids: NDArray[np.int32]
    lengths: NDArray[np.int64]


def load_tokenizer(name: str, max_length: int) -> Tokenizer:
    """A fast tokenizer.

    Args:
        name: a `tokenizer.json` or a `vocab.txt` of WordPieces, or what `pretrained_folder` finds one in.
        max_length: tokens that it keeps of a sentence, those that begin and end it included.

    Raises:
        UserError: there is none, or it cannot be read, or the package is missing.
    """
    with needing("text", "data.tokenizer"):
        from tokenizers import Tokenizer
        from tokenizers.implementations.bert_wordpiece import BertWordPieceTokenizer
    path = Path(name)
    if not path.is_file():
        within = path if path.is_dir() else pretrained_folder(name, "data.tokenizer")
        found = [within / file for file in FILES if (within / file).is_file()]
        if not found:
            raise UserError(f"data.tokenizer={name}: {within} has neither {' nor '.join(FILES)}")
        path = found[0]
    try:
        if path.suffix == ".txt":
            made = Tokenizer.from_str(BertWordPieceTokenizer(str(path)).to_str())
        else:
            made = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises no narrower one
        raise UserError(f"data.tokenizer={path}: cannot be read ({error})") from error
    made.no_padding()
    made.enable_truncation(max_length)
    return made


def content_of(tokenizer: Tokenizer) -> str:
    """A hash of all that decides what it gives."""
    return hashlib.sha256(tokenizer.to_str().encode()).hexdigest()


def tokenized(sentences: Mapping[str, Sequence[str]], tokenizer: Tokenizer, cache: Path) -> dict[str, Tokens]:
    """The tokens of every split, from the cache where they are there.

    Args:
        cache: a folder; what is there may be deleted.
    """
    given = json.dumps([{split: list(texts) for split, texts in sentences.items()}, content_of(tokenizer)])
    path = cache / f"{hashlib.sha256(given.encode()).hexdigest()[:24]}.npz"
    found = read(path, sentences)
    if found is None:
        log.info("tokenizing %s sentences, once", f"{sum(map(len, sentences.values())):,}")
        found = {split: tokens_of(texts, tokenizer) for split, texts in sentences.items()}
        stream = io.BytesIO()
        arrays = {f"{split}.{name}": array for split, one in found.items() for name, array in one._asdict().items()}
        np.savez(stream, **arrays)
        write_atomically(path, stream.getbuffer())
    return found


def read(path: Path, splits: Mapping[str, Sequence[str]]) -> dict[str, Tokens] | None:
    """What was kept, if it is there and whole."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {split: Tokens(arrays[f"{split}.ids"], arrays[f"{split}.lengths"]) for split in splits}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None


def tokens_of(texts: Sequence[str], tokenizer: Tokenizer) -> Tokens:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # else it warns of processes that are forked later
    ids: list[NDArray[np.int32]] = []
    for start in range(0, len(texts), AT_ONCE):
        some = tokenizer.encode_batch(list(texts[start : start + AT_ONCE]))
        ids += [np.array(one.ids, np.int32) for one in some]
    return Tokens(np.concatenate(ids), np.array([len(one) for one in ids], np.int64))
