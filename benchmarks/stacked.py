"""What an optimizer step of K networks costs: at once (`launcher=stacked`) against one after another.

    python benchmarks/stacked.py --points 8 --model lenet5

On a processor seconds are of the processor, one thread: other work beside changes little. On a GPU of the clock.

    python benchmarks/stacked.py --points 64 --model lenet5 --device gpu       # not run yet: no GPU was there
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch

from lcomp.data import MNISTDataModule
from lcomp.models import LeNet5
from lcomp.models.small_cnn import SmallCNN
from lcomp.modules import BaselineModule
from lcomp.training.checkpoint_files import CheckpointFiles
from lcomp.training.stacked_fit import Point, StackedFit

MODELS = {"lenet5": LeNet5, "small_cnn": SmallCNN}


def now(device):
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.monotonic()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=8)
    parser.add_argument("--model", choices=MODELS, default="lenet5")
    parser.add_argument("--device", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=5)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    device = "cpu" if asked.device == "cpu" else "cuda:0"
    data = MNISTDataModule(dataset="mnist5k")
    batch = [tensor.to(device) for tensor in next(iter(data.train_dataloader()))]
    files = CheckpointFiles(Path(tempfile.gettempdir()) / "lcomp-no-checkpoint", "")  # nothing is written
    modules = [
        BaselineModule(MODELS[asked.model](), task=data.task).to(device).train() for _ in range(2 * asked.points)
    ]
    together, apart = modules[: asked.points], modules[asked.points :]
    stacked = StackedFit([Point(module, 0, files, "") for module in together], [data], 10, device)
    for module in apart:
        module.to(memory_format=torch.channels_last)
    optimizers = [module.optimizer(module.parameters(), lr=1e-3) for module in apart]

    def at_once():
        stacked.step([batch], 0)

    def one_after_another():
        for module, optimizer in zip(apart, optimizers, strict=True):
            optimizer.zero_grad()
            module.loss(batch).backward()
            optimizer.step()

    ways = {"at once": at_once, "one after another": one_after_another}
    taken = {name: [] for name in ways}
    for number in range(asked.rounds + 1):  # the first is a warm-up
        for name, step in ways.items():
            start = now(device)
            for _ in range(asked.steps):
                step()
            if number:
                taken[name].append((now(device) - start) / asked.steps)
    medians = {name: 1000 * statistics.median(times) for name, times in taken.items()}
    for name, milliseconds in medians.items():
        print(f"{asked.points} x {asked.model}, {device}, {name}: {milliseconds:.1f} ms a step of all")
    print(f"at once takes {medians['at once'] / medians['one after another']:.2f} times as long")


if __name__ == "__main__":
    main()
