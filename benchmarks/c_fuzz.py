"""Random networks as C, each bit of their outputs held against the NumPy reference: 1,000 of them by default.

python benchmarks/c_fuzz.py [COUNT [FIRST_SEED]] [--journal FILE]

A journal keeps a line for each seed; with one of before, what is in there is not done again.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from c_networks import random_network

from lcomp.c import FORMS, reference
from lcomp.c.compiling import Library
from lcomp.c.model import CModel, integer_network
from lcomp.errors import UserError


def outcome(seed: int) -> str:
    """Whether a seed's network equals the reference in one of the forms of weights, and strip by strip if it can be."""
    network, random = random_network(seed), np.random.default_rng(seed)
    try:
        made = integer_network(network, random.random((20, *network.input_shape), dtype=np.float32))
    except UserError:
        return "refused"
    inputs = random.integers(0, 256, (10, *made.values[0].shape)).astype(np.uint8)
    form, expected = FORMS[seed % len(FORMS)], reference.answer(made, inputs)
    whole = CModel(made, form, "fuzz", inputs, expected)
    models = {"equal": whole}
    for share in (0.5, 0.7, 0.9):
        striped = CModel(made, form, "fuzz", inputs, expected, arena=int(share * whole.source.plan.size))
        try:
            if striped.source.plan.segments:
                models["equal, and strip by strip"] = striped
                break
        except UserError:
            continue
    for model in models.values():
        if not np.array_equal(Library(model.whole).answer(inputs), expected):
            return f"different, weights {form}, arena {model.arena}"
    return list(models)[-1]


def main() -> int:
    """How many differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int, nargs="?", default=1_000)
    parser.add_argument("first", type=int, nargs="?", default=0)
    parser.add_argument("--journal", type=Path)
    given = parser.parse_args()
    done: dict[int, str] = {}
    if given.journal and given.journal.exists():
        lines = (line.split(": ", 1) for line in given.journal.read_text().splitlines() if ": " in line)
        done = {int(seed): what for seed, what in lines}
    seen: Counter[str] = Counter()
    for number, seed in enumerate(range(given.first, given.first + given.count), 1):
        what = done.get(seed) or outcome(seed)
        if given.journal and seed not in done:
            with given.journal.open("a") as journal:
                journal.write(f"{seed}: {what}\n")
        seen[what] += 1
        if what.startswith("different"):
            print(f"{seed}: {what}")
        if number % 50 == 0:
            print(f"{number:,} of {given.count:,}: {dict(seen)}", flush=True)
    print(", ".join(f"{count:,} {what}" for what, count in sorted(seen.items())))
    return sum(count for what, count in seen.items() if what.startswith("different"))


if __name__ == "__main__":
    sys.exit(main() > 0)
