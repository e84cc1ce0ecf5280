"""What a teacher's answers cost: weights as they are stored or channels last, pooled behind the ReLU or before it.

One thread, batches of 256; processor microseconds an image, the least of 20, in turns.

    python benchmarks/teacher.py

Intel Xeon (AVX-512), beside other work, as stored and ReLU first against channels last and pooled first: LeNet-5 38
against 26, conv_net of 16, 32 and 64 channels 159 against 75.
"""

import time

import torch
from rich.console import Console
from rich.table import Table

from lcomp.models import ConvNet, LeNet5
from lcomp.models.blocks import PooledReLU

ROUNDS, BATCH = 20, 256


class ReLUThenPool(PooledReLU):
    """As an artifact has it."""

    def forward(self, x):
        return self.pool(self.relu(x))


def variant(network, pool_first, memory_format):
    """The network of `network()`, laid out so."""
    made = network().eval().requires_grad_(False)
    for module in list(made.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, PooledReLU) and not pool_first:
                setattr(module, name, ReLUThenPool())
    return made.to(memory_format=memory_format)


def main():
    torch.set_num_threads(1)
    pixels = torch.rand(BATCH, 1, 28, 28)
    table = Table(title="microseconds an image")
    for column in ("teacher", "", "ReLU first", "pooled first"):
        table.add_column(column)
    networks = {"LeNet-5": LeNet5, "conv_net 16, 32, 64": lambda: ConvNet([16, 32, 64])}
    for name, network in networks.items():
        for label, layout in (("as stored", torch.contiguous_format), ("channels last", torch.channels_last)):
            pair = [variant(network, pool_first, layout) for pool_first in (False, True)]
            least = [float("inf")] * 2
            with torch.no_grad():
                for _ in range(ROUNDS):
                    for number, one in enumerate(pair):
                        start = time.process_time()
                        one(pixels)
                        least[number] = min(least[number], time.process_time() - start)
            table.add_row(name, label, *(f"{1e6 * seconds / BATCH:.1f}" for seconds in least))
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
