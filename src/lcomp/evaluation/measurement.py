"""What an artifact does: its task's figures, fidelity to its network, robustness, latency."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lcomp.data.perturbations import perturb
from lcomp.data.protocol import Data
from lcomp.evaluation.figures import Latency
from lcomp.runtimes import Session
from lcomp.tasks import Task
from lcomp.tasks.split import Arrays, Split, Splits, joined, part
from lcomp.tasks.task import Inputs

BATCH = 250
WARM_UP = 20
LARGE = 2 * 2**30  # bytes of a split that are held in memory
Outputs = NDArray[np.float32]  # of every example, (N, output_size)


def splits_of(data: Data) -> Splits:
    """The validation and the test split of a DataModule."""
    return Splits(split_of(data.val_dataloader(), data.task), split_of(data.test_dataloader(), data.task))


def example_of(data: Data) -> Inputs:
    """A few examples of the validation split, to ask networks with."""
    batch = next(iter(data.val_dataloader()))
    return {name: values[:8] for name, values in data.task.inputs(batch).items()}


def split_of(loader: Iterable[Any], task: Task) -> Split:
    """Every batch of a loader, in its order; inputs of more than `LARGE` in all lie on the disk, not in memory."""
    kept: dict[str, list[NDArray[Any]]] = {}
    labels, on_disk = [], dict[str, IO[bytes]]()
    with ExitStack() as files:
        for batch in loader:
            labels.append(task.labels(batch).numpy())
            for name, values in task.inputs(batch).items():
                kept.setdefault(name, []).append(values.numpy())
                if name not in on_disk and sum(one.nbytes for one in kept[name]) > LARGE:
                    on_disk[name] = files.enter_context(tempfile.TemporaryFile())
                if name in on_disk:
                    spill(kept[name], on_disk[name])
        whole = np.concatenate(labels)
        inputs = {
            name: mapped(on_disk[name], parts[0], len(whole)) if name in on_disk else joined(parts)
            for name, parts in kept.items()
        }
    return Split(inputs, whole)


def spill(parts: list[NDArray[Any]], file: IO[bytes]) -> None:
    """Writes arrays to a file, and forgets all of them but an empty one."""
    for one in parts:
        file.write(np.ascontiguousarray(one).data)
    parts[:] = [parts[0][:0].copy()]


def mapped(file: IO[bytes], like: NDArray[Any], count: int) -> NDArray[Any]:
    """What `spill` wrote, of so many examples; the disk's room is free again when the array is gone."""
    file.flush()
    return np.memmap(file, like.dtype, "r+", shape=(count, *like.shape[1:]))


def artifact_outputs(artifact: Session, inputs: Arrays) -> Outputs:
    """What the artifact says of every example."""
    return np.concatenate([artifact(batch) for batch in batches_of(inputs)])


def batches_of(inputs: Arrays) -> list[Arrays]:
    count = len(next(iter(inputs.values())))
    return [part(inputs, slice(start, start + BATCH)) for start in range(0, count, BATCH)]


def single_latencies(artifacts: Sequence[Session], one: Arrays, runs: int) -> list[list[float]]:
    """Microseconds of each artifact's calls with one example, interleaved.

    Args:
        runs: calls of each.
    """
    single: list[list[float]] = [[] for _ in artifacts]
    for turn in range(WARM_UP + runs):
        for artifact, seen in zip(artifacts, single, strict=True):
            start = time.perf_counter_ns()
            artifact(one)
            if turn >= WARM_UP:
                seen.append((time.perf_counter_ns() - start) / 1e3)
    return single


def latencies(artifacts: Sequence[Session], inputs: Arrays, runs: int, one: Arrays | None = None) -> list[Latency]:
    """Latency of each artifact, their calls interleaved.

    Args:
        runs: calls at batch 1, of each.
        one: the example of these; None: the first.
    """
    single = single_latencies(artifacts, part(inputs, slice(1)) if one is None else one, runs)
    batches = batches_of(inputs)
    whole: list[list[float]] = [[] for _ in artifacts]
    for _ in range(3):
        for artifact, seen in zip(artifacts, whole, strict=True):
            start = time.perf_counter_ns()
            for batch in batches:
                artifact(batch)
            seen.append((time.perf_counter_ns() - start) / 1e9)
    return [
        Latency(float(np.percentile(first, 50)), float(np.percentile(first, 90)), float(np.median(second)))
        for first, second in zip(single, whole, strict=True)
    ]


@torch.no_grad()
def predict_outputs(network: nn.Module, inputs: Arrays) -> Outputs:
    """The network's own outputs, in the batches in which the artifact is asked."""
    network.eval()
    asked = [network(*map(torch.from_numpy, batch.values())) for batch in batches_of(inputs)]
    return np.concatenate([given.numpy() for given in asked])


def quality(task: Task, artifact: Session, splits: Splits, own: Outputs, expected: Outputs) -> dict[str, float]:
    """The task's figures on both splits, its loss on the test split alone, and how well the artifact's `own` outputs
    there match the `expected` ones."""
    validation = task.figures(artifact_outputs(artifact, splits.validation.inputs), splits.validation.labels, "val")
    del validation["val_loss"]
    return validation | task.figures(own, splits.test.labels, "test") | task.fidelity(own, expected)


def robustness(task: Task, artifact: Session, perturbed: Mapping[str, Split]) -> dict[str, float]:
    """The task's own metric on each perturbed split, as `accuracy/<key>`."""
    name = task.metric.name
    return {
        f"{name}/{key}": task.figures(artifact_outputs(artifact, split.inputs), split.labels, "test")[f"test_{name}"]
        for key, split in perturbed.items()
    }


def perturbed(test: Split, evaluated: Mapping[str, Mapping[str, int]]) -> dict[str, Split]:
    """The test split under what each key evaluates (perturbations to severities), the same draw for every run."""
    found = {}
    for key, severities in evaluated.items():
        [(name, values)] = test.inputs.items()
        batches = torch.from_numpy(values).split(1_000)
        changed = [perturb(batch, severities, number) for number, batch in enumerate(batches)]
        found[key] = Split({name: torch.cat(changed).numpy()}, test.labels)
    return found
