"""Whether training on a GPU is right, then how fast it is, beside a processor: one command, one table, under 8 minutes.

    LCOMP_DATA=... python benchmarks/gpu.py                 # on a machine with a GPU
    python benchmarks/gpu.py --device cpu --quick           # tries the script itself: the processor stands for the GPU

Right: LeNet-5's accuracy on digits within the spread of three seeds on the processor; masks exact to one weight; a
pruned, quantized student's artifact answers as the network did; a run that was interrupted goes on and ends as well;
bfloat16 as accurate as float32. Fast: seconds an epoch of LeNet-5, and of ResNet-20 on CIFAR-10 where it lies in
LCOMP_DATA, in float32, bfloat16 and as `speed=auto` chooses; a sweep of eight students in one, two and four workers.

Not run on a GPU yet.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path

from rich.console import Console
from rich.table import Table

import lcomp

SEEDS = (0, 1, 2)
SPREAD = 0.005  # least difference of accuracy that says something of so few seeds
Row = tuple[str, str, str]  # what was looked at, what was seen, the verdict
DIGITS = {"data": "mnist5k", "logger": "none", "report": False}


class Machine:
    """Runs commands on the device that is tried, in a folder that goes with it."""

    def __init__(self, device: str, folder: Path, quick: bool):
        self.device, self.folder, self.quick = device, folder, quick
        self.digits = DIGITS | {"data.epoch_examples": 1_350 if quick else 54_000}
        self.epochs = 1 if quick else 4

    def run(self, device: str | None = None, **keys: object) -> lcomp.Run:
        """A run of LeNet-5, or of what the keys say; two underscores stand for a dot."""
        mine = self.digits | {"baseline.trainer.max_epochs": self.epochs, "trainer.max_epochs": self.epochs}
        mine |= {"device": device or self.device, "baseline.cache": str(self.folder / "baselines")}
        given = {name.replace("__", "."): value for name, value in keys.items()}
        run: lcomp.Run = lcomp.run(mine | given, progress=False)
        return run


def verdict(right: bool) -> str:
    return "right" if right else "WRONG"


def accuracies(machine: Machine) -> Row:
    """Of the baseline, over the seeds, here and on the processor."""
    here, there = (
        [machine.run(device=device, seed=seed).metrics["test_accuracy"] for seed in SEEDS]
        for device in (machine.device, "cpu")
    )
    spread = max(SPREAD, *(2 * statistics.stdev(values) for values in (here, there)))
    means = statistics.mean(here), statistics.mean(there)
    seen = f"{100 * means[0]:.2f} % here, {100 * means[1]:.2f} % on the processor, may differ by {100 * spread:.2f}"
    return "accuracy of LeNet-5, mean of 3 seeds", seen, verdict(abs(means[0] - means[1]) <= spread)


def masks(machine: Machine) -> Row:
    """Zeros of a network that was pruned and quantized as it learned, and whether its file answers as it did."""
    run = machine.run(prune__sparsity=0.9, quant="qat")
    sparsity, agreement = run.metrics["sparsity"], run.metrics["agreement"]
    seen = f"sparsity {sparsity:.5f} of 0.9, the file answers {100 * agreement:.2f} % as the network"
    return "pruned to 90 %, 8 bits", seen, verdict(abs(sparsity - 0.9) < 5e-4 and agreement > 0.99)


def precision(machine: Machine) -> Row:
    """A distilled student in bfloat16 beside the one in float32."""
    exact = machine.run(kd="logit").metrics["test_accuracy"]
    half = machine.run(kd="logit", trainer__precision="bf16-mixed").metrics["test_accuracy"]
    seen = f"{100 * half:.2f} % in bfloat16, {100 * exact:.2f} % in float32"
    return "accuracy of a student", seen, verdict(abs(half - exact) <= 3 * SPREAD)


def resuming(machine: Machine) -> Row:
    """A run that is interrupted after its first checkpoint goes on, and is as good as one that nobody disturbed."""
    epochs = 3 if machine.quick else 8
    words = ["kd=logit", f"trainer.max_epochs={epochs}", "trainer.checkpoint_minutes=0.01"]
    words += [f"{key}={value}" for key, value in (machine.digits | {"baseline.trainer.max_epochs": 1}).items()]
    words += [f"device={machine.device}", f"baseline.cache={machine.folder / 'baselines'}"]
    folder = machine.folder / "interrupted"
    command = [sys.executable, "-m", "lcomp", *words, f"hydra.run.dir={folder}"]
    log = (machine.folder / "interrupted.log").open("wb")
    process = subprocess.Popen(command, stdout=log, stderr=log)
    while process.poll() is None and not list(folder.glob("checkpoints/*.ckpt")):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    interrupted = process.wait() != 0
    subprocess.run([*command[:-1], f"resume={folder}"], stdout=log, stderr=log, check=True)
    log.close()
    [resumed] = lcomp.results(folder)
    whole = machine.run(kd="logit", trainer__max_epochs=epochs, baseline__trainer__max_epochs=1)
    pair = resumed.metrics["test_accuracy"], whole.metrics["test_accuracy"]
    seen = f"{100 * pair[0]:.2f} % resumed, {100 * pair[1]:.2f} % undisturbed"
    return "interrupted and resumed", seen, verdict(interrupted and abs(pair[0] - pair[1]) <= 3 * SPREAD)


def seconds_per_epoch(run: lcomp.Run) -> float:
    """Of the last epochs, the first one left out."""
    at = run.result.epochs["seconds"]
    return float((at[-1] - at[0]) / (len(at) - 1)) if len(at) > 1 else float(at[0])


def epochs(machine: Machine) -> Iterator[Row]:
    """What an epoch takes, in each precision."""
    networks = {"LeNet-5": {"kd": "logit", "kd__student": "fresh"}}
    images = Path(os.environ.get("LCOMP_DATA", ".")) / "cifar-10-batches-py"
    if images.is_dir() and not machine.quick:
        networks["ResNet-20"] = networks["LeNet-5"] | {"data": "cifar10", "model": "resnet20", "perturb": "[crop,flip]"}
        networks["ResNet-20"] |= {"data__batch_size": 512, "baseline__trainer__max_epochs": 1}
    for name, keys in networks.items():
        for words in ({}, {"trainer__precision": "bf16-mixed"}, {"speed": "auto"}):
            examples = {} if name == "LeNet-5" else {"data__epoch_examples": 50_000}
            run = machine.run(**keys | examples | words, trainer__max_epochs=2 if machine.quick else 4)
            chosen = run.result.environment.get("precision", "32-true")
            what = ", ".join(f"{key.replace('__', '.')}={value}" for key, value in words.items()) or "as it comes"
            yield f"an epoch of {name}, {what}", f"{seconds_per_epoch(run):.2f} s ({chosen})", ""


def workers(machine: Machine) -> Iterator[Row]:
    """Eight students in several workers, which share the GPU."""
    temperatures = [1, 2] if machine.quick else [1, 2, 3, 4, 5, 6, 7, 8]
    for count in (1, 2) if machine.quick else (1, 2, 4):
        start = time.monotonic()
        keys = machine.digits | {"kd.temperature": temperatures, "launcher.workers": count, "reuse": False}
        keys |= {"trainer.max_epochs": machine.epochs, "device": machine.device}
        keys |= {"baseline.cache": str(machine.folder / "baselines"), "baseline.trainer.max_epochs": machine.epochs}
        sweep = lcomp.sweep(keys, progress=False)
        took = f"{time.monotonic() - start:.1f} s"
        yield f"{len(sweep)} students, {count} workers", took, verdict(not sweep.failed)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--device", choices=("gpu", "cpu"), default="gpu")
    parser.add_argument("--quick", action="store_true", help="the least that tries the script")
    asked = parser.parse_args(arguments)
    table = Table("what", "seen", "", title=f"device={asked.device}")
    console, wrong = Console(), False
    checks: list[Callable[[Machine], Row]] = [accuracies, masks, precision, resuming]
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        machine = Machine(asked.device, Path(name), asked.quick)
        for row in chain((check(machine) for check in checks), epochs(machine), workers(machine)):
            table.add_row(*row)
            wrong |= row[2] == "WRONG"
            console.print(*row)
    console.print(table)
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
