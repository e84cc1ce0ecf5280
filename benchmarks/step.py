"""What an epoch of training is spent on, and how far that is from the arithmetic's floor; one thread.

    LCOMP_DATA=... python benchmarks/step.py

AMD EPYC (AVX2), LeNet-5 / student, seconds: Trainer.fit 4.60 / 2.25, a bare loop 4.13 / 1.92, of which convolution
2.59 / 0.82, max-pooling 0.68 / 0.44, linear layers 0.23 / 0.12, optimizer 0.19 / 0.19, the rest 0.57 / 0.50; the floor
0.95 / 0.11.
"""

import os
import time
from collections import defaultdict
from pathlib import Path

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch.profiler import profile

from lcomp.cli.network_summary import layer_rows
from lcomp.data import MNISTDataModule
from lcomp.models import LeNet5, SmallCNN
from lcomp.modules import BaselineModule
from lcomp.training.fit import fit

PARTS = {  # the profiler's operators, by what they do
    "convolution, forward": ("convolution",),
    "convolution, gradients": ("convolution_backward",),
    "max-pooling": ("max_pool2d",),
    "linear layers": ("addmm", "mm", "linear"),
    "optimizer": ("adam", "zero_grad", "foreach"),
}


def gemm_rate(size=1024, rounds=20):
    """Floating-point operations a second of a large matrix product: what this core's arithmetic can do."""
    a, b = torch.rand(size, size), torch.rand(size, size)
    a @ b
    start = time.perf_counter()
    for _ in range(rounds):
        a @ b
    return 2 * size**3 * rounds / (time.perf_counter() - start)


def operations(network):
    """Floating-point operations of one training step's image: a forward pass, and the gradients of weights and, but for
    the first layer, of inputs."""
    layers = [row.macs for row in layer_rows(network, (1, 28, 28)) if row.macs]
    return 2 * (3 * sum(layers) - layers[0])


def loop(network, data, steps=None):
    """Seconds of an epoch in a loop of five lines, the same mathematics."""
    network.train().to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    start = time.perf_counter()
    for _, (pixels, labels) in zip(range(steps or 10**9), data.train_dataloader(), strict=False):
        optimizer.zero_grad()
        F.cross_entropy(network(pixels), labels).backward()
        optimizer.step()
    return time.perf_counter() - start


def main():
    torch.set_num_threads(1)
    data = MNISTDataModule(root=Path(os.environ["LCOMP_DATA"]))
    table = Table(title="seconds of an epoch of 211 steps of 256 images, one thread")
    for column in ("", "LeNet-5", "student"):
        table.add_column(column, justify="right" if column else "left")
    found = defaultdict(list)
    for network in (LeNet5(), SmallCNN()):
        module = BaselineModule(network)
        fit(module, data, 1, 0, False)
        start = time.perf_counter()
        fit(module, data, 3, 0, False)
        found["Trainer.fit, validation included"].append((time.perf_counter() - start) / 3)
        found["a bare loop"].append(min(loop(network, data) for _ in range(3)))
        with profile() as profiled:
            loop(network, data, 40)
        spent = defaultdict(float)
        for event in profiled.key_averages():
            part = next((p for p, names in PARTS.items() if any(n in event.key.lower() for n in reversed(names))), "")
            if "convolution_backward" in event.key:
                part = "convolution, gradients"
            spent[part or "the rest (data, ReLU, loss, autograd)"] += event.self_cpu_time_total / 1e6 * 211 / 40
        for part in (*PARTS, "the rest (data, ReLU, loss, autograd)"):
            found[f"  {part}"].append(spent[part])
        found["the arithmetic's floor"].append(operations(network) * 54_000 / gemm_rate())
    for name, figures in found.items():
        table.add_row(name, *(f"{figure:.2f}" for figure in figures))
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
