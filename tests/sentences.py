"""Generated sentences for the tests: of a tiny vocabulary, about films that are good or bad."""

import json
import random

import numpy as np

from lcomp.data import TextDataModule

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
GOOD, BAD = ["good", "great", "moving", "funny"], ["bad", "dull", "weak", "sad"]
OTHER = ["the", "film", "is", "a", "and", "plot", "very", "with", "##s", "un"]
WORDS = [*SPECIAL, *GOOD, *BAD, *OTHER]


def vocabulary(folder):
    """A file of WordPieces."""
    path = folder / "vocab.txt"
    path.write_text("\n".join(WORDS) + "\n")
    return path


def drawn(count, seed=0, longest=12):
    """Sentences of 1 to `longest` words, and their labels (N,): 1 where the words of praise are more."""
    draw, texts, labels = random.Random(seed), [], []
    for _ in range(count):
        label = draw.randrange(2)
        words = [*draw.choices(OTHER[:8], k=draw.randrange(longest)), draw.choice((BAD, GOOD)[label])]
        draw.shuffle(words)
        texts.append(" ".join(words))
        labels.append(label)
    return texts, np.array(labels, np.int64)


def data(folder, train=600, **settings):
    """A DataModule of them."""
    given = {"tokenizer": str(vocabulary(folder)), "max_length": 16, "cache": folder / "cache", "batch_size": 16}
    return TextDataModule(drawn(train), drawn(200, 1), drawn(200, 2), {"dev": drawn(50, 3)}, **given | settings)


def files(folder, train=600):
    """Overrides of a run on them, in files of JSON lines."""
    overrides = ["data=text_file", f"data.tokenizer={vocabulary(folder)}", "data.max_length=16"]
    for number, (name, count) in enumerate((("train", train), ("validation", 200), ("test", 200))):
        rows = zip(*drawn(count, number), strict=True)
        lines = [json.dumps({"text": text, "label": int(label)}) for text, label in rows]
        (folder / f"{name}.jsonl").write_text("\n".join(lines))
        overrides.append(f"data.{name}={folder / name}.jsonl")
    return [*overrides, f"data.cache={folder / 'cache'}"]
