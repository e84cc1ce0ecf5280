"""Random networks as C, each bit of their outputs held against the NumPy reference: 1,000 of them by default.

python benchmarks/c_fuzz.py [COUNT [FIRST_SEED]]
"""

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


def main(count: int = 1_000, first: int = 0) -> int:
    """How many differ."""
    seen: Counter[str] = Counter()
    for seed in range(first, first + count):
        network, random = random_network(seed), np.random.default_rng(seed)
        try:
            made = integer_network(network, random.random((20, *network.input_shape), dtype=np.float32))
        except UserError as error:
            seen["refused"] += 1
            print(f"{seed}: refused: {error}")
            continue
        inputs = random.integers(0, 256, (10, *made.values[0].shape)).astype(np.uint8)
        form = FORMS[seed % len(FORMS)]
        model = CModel(made, form, "fuzz", inputs, reference.answer(made, inputs))
        equal = np.array_equal(Library(model.whole).answer(inputs), model.expected)
        seen["equal" if equal else "different"] += 1
        if not equal:
            print(f"{seed}: different, weights {form}")
    print(", ".join(f"{number:,} {what}" for what, number in sorted(seen.items())))
    return seen["different"]


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])) > 0)
