"""What an artifact does: accuracy, fidelity to its network, robustness, latency."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lcomp.data.perturbations import perturb
from lcomp.runtimes import Session

BATCH = 250
WARM_UP = 20


@dataclass(frozen=True)
class Split:
    """A whole split: pixels (N, C, H, W) float32 in [0, 1], labels (N,) int64."""

    pixels: NDArray[np.float32]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Splits:
    """What a run is measured on."""

    validation: Split
    test: Split


def splits_of(data: Any) -> Splits:
    """The validation and the test split of a DataModule."""
    return Splits(split_of(data.val_dataloader()), split_of(data.test_dataloader()))


def example_of(data: Any) -> Tensor:
    """A few pixels (N, C, H, W) of the validation split, to ask networks with."""
    pixels: Tensor = next(iter(data.val_dataloader()))[0][:8]
    return pixels


def split_of(loader: Iterable[Sequence[Tensor]]) -> Split:
    """Every batch of a loader, in its order."""
    batches = [(batch[0].numpy(), batch[1].numpy()) for batch in loader]
    return Split(np.concatenate([b[0] for b in batches]), np.concatenate([b[1] for b in batches]))


def logits(artifact: Session, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """The artifact's logits (N, classes) for every image."""
    return np.concatenate([artifact(batch) for batch in batches_of(pixels)])


def batches_of(pixels: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    return [pixels[start : start + BATCH] for start in range(0, len(pixels), BATCH)]


def accuracy_and_loss(values: NDArray[np.float32], labels: NDArray[np.int64]) -> tuple[float, float]:
    """Share of right answers (0 to 1) and mean cross-entropy (nats)."""
    wide = values.astype(np.float64)
    shifted = wide - wide.max(1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    loss = -log_probabilities[np.arange(len(labels)), labels].mean()
    return float((values.argmax(1) == labels).mean()), float(loss)


def latencies(artifacts: Sequence[Session], pixels: NDArray[np.float32], runs: int) -> list[dict[str, float]]:
    """Latency of each artifact, their calls interleaved: batch 1 (median and 90th percentile, microseconds) and the
    whole set in batches of 250 (median of three passes, seconds)."""
    one = pixels[:1]
    single: list[list[float]] = [[] for _ in artifacts]
    for turn in range(WARM_UP + runs):
        for artifact, seen in zip(artifacts, single, strict=True):
            start = time.perf_counter_ns()
            artifact(one)
            if turn >= WARM_UP:
                seen.append((time.perf_counter_ns() - start) / 1e3)
    batches = batches_of(pixels)
    whole: list[list[float]] = [[] for _ in artifacts]
    for _ in range(3):
        for artifact, seen in zip(artifacts, whole, strict=True):
            start = time.perf_counter_ns()
            for batch in batches:
                artifact(batch)
            seen.append((time.perf_counter_ns() - start) / 1e9)
    return [
        {
            "latency_us_p50": float(np.percentile(first, 50)),
            "latency_us_p90": float(np.percentile(first, 90)),
            "test_set_seconds": float(np.median(second)),
        }
        for first, second in zip(single, whole, strict=True)
    ]


@torch.no_grad()
def answers(network: nn.Module, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """The network's own logits (N, classes), in the batches in which the artifact is asked."""
    network.eval()
    return np.concatenate([network(torch.from_numpy(batch)).numpy() for batch in batches_of(pixels)])


def quality(
    artifact: Session, splits: Splits, own: NDArray[np.float32], expected: NDArray[np.float32]
) -> dict[str, float]:
    """Accuracy on both splits, loss on the test split, and how well the artifact's `own` logits there match the
    `expected` ones: share of equal predictions, largest difference of a logit."""
    val_accuracy, _ = accuracy_and_loss(logits(artifact, splits.validation.pixels), splits.validation.labels)
    test_accuracy, test_loss = accuracy_and_loss(own, splits.test.labels)
    return {
        "val_accuracy": val_accuracy,
        "test_accuracy": test_accuracy,
        "test_loss": test_loss,
        "agreement": float((own.argmax(1) == expected.argmax(1)).mean()),
        "logit_difference": float(np.abs(own - expected).max()),
    }


def robustness(artifact: Session, perturbed: Mapping[str, Split]) -> dict[str, float]:
    """Accuracy on each perturbed split, as `accuracy/<key>`."""
    return {
        f"accuracy/{key}": accuracy_and_loss(logits(artifact, split.pixels), split.labels)[0]
        for key, split in perturbed.items()
    }


def perturbed(test: Split, evaluated: Mapping[str, Mapping[str, int]]) -> dict[str, Split]:
    """The test split under what each key evaluates (perturbations to severities), the same draw for every run."""
    found = {}
    for key, severities in evaluated.items():
        batches = torch.from_numpy(test.pixels).split(1_000)
        changed = [perturb(batch, severities, number) for number, batch in enumerate(batches)]
        found[key] = Split(torch.cat(changed).numpy(), test.labels)
    return found
