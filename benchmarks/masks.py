"""What an update of the masks of 25 million weights costs, as sparsity grows.

    python benchmarks/masks.py

Median of 5, seconds of one thread of an AMD EPYC (torch 2.14.1), the other core busy; "again" starts from those masks:

| sparsity | from dense | again, 5 points more |
|---:|---:|---:|
| 0.3 | 0.63 | 0.77 |
| 0.5 | 0.60 | 0.66 |
| 0.7 | 0.47 | 0.39 |
| 0.9 | 0.41 | 0.15 |
"""

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from lcomp.techniques.pruning.mask import prune_masks

LAYERS, SIZE, TIMES = 10, 2_500_000, 5


def timed(update: Callable[[], list[Tensor]]) -> tuple[float, list[Tensor]]:
    seconds = []
    masks: list[Tensor] = []
    for _ in range(TIMES):
        before = time.process_time()
        masks = update()
        seconds.append(time.process_time() - before)
    return statistics.median(seconds), masks


def main() -> None:
    torch.set_num_threads(1)
    random = torch.Generator().manual_seed(0)
    scores = [torch.randn(SIZE, generator=random).abs() for _ in range(LAYERS)]
    dense = [torch.ones(SIZE, dtype=torch.bool) for _ in range(LAYERS)]
    print("| sparsity | from dense | again, 5 points more |\n|---:|---:|---:|")
    for sparsity in (0.3, 0.5, 0.7, 0.9):
        first, masks = timed(lambda wanted=sparsity: prune_masks(dense, scores, wanted))
        again, _ = timed(lambda wanted=sparsity, before=masks: prune_masks(before, scores, wanted + 0.05))
        print(f"| {sparsity} | {first:.2f} | {again:.2f} |")


if __name__ == "__main__":
    main()
