"""What compression breaks, in figures: pure functions of logits (N, classes), predictions (N,) and labels (N,)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

Errors = Mapping[str, Sequence[float]]  # shares of wrong answers, 0 to 1: of each corruption, one for each severity
Labels = NDArray[np.integer]
BINS = 15


def mean_corruption_error(errors: Errors, reference: Errors) -> float:
    """mCE: errors summed over severities, over the reference's, averaged over corruptions (Hendrycks & Dietterich 2019,
    eq. 1); 1 for the reference itself, less is more robust.

    A corruption under which the reference makes no error has no ratio and is left out; NaN when none is left.
    """
    ratios = [sum(errors[name]) / sum(base) for name, base in reference.items() if sum(base) > 0]
    return sum(ratios) / len(ratios) if ratios else float("nan")


def relative_mean_corruption_error(errors: Errors, clean: float, reference: Errors, reference_clean: float) -> float:
    """Relative mCE: the same of how far errors rise above the clean one (the paper's eq. 2).

    A corruption under which the reference's error does not rise is left out; NaN when none is left. Where it hardly
    rises the ratio is large and uncertain, and so is then the mean.

    Args:
        clean, reference_clean: the errors on clean examples.
    """
    return mean_corruption_error(rises(errors, clean), rises(reference, reference_clean))


def rises(errors: Errors, clean: float) -> dict[str, list[float]]:
    """How far each error lies above the clean one."""
    return {name: [error - clean for error in found] for name, found in errors.items()}


def calibration_error(logits: NDArray[np.float32], labels: Labels, bins: int = BINS) -> float:
    """Expected calibration error: |accuracy - confidence| of the examples in each of `bins` bins of equal width,
    weighted by how many these are (Guo et al. 2017, eq. 3); confidence is the largest softmax, and 0.2 lies in
    (0.133, 0.2]."""
    confidence, predicted = torch.from_numpy(logits).double().softmax(1).max(1)
    right = (predicted.numpy() == labels).astype(np.float64)
    place = np.ceil(confidence.numpy() * bins).astype(np.int64) - 1
    return float(np.abs(np.bincount(place, weights=right - confidence.numpy())).sum() / len(labels))


def class_drops(own: Labels, base: Labels, labels: Labels) -> dict[int, float]:
    """By how much accuracy (0 to 1) on the examples of each class that there are fell from `base` to `own`, both
    predictions."""
    lost = (base == labels).astype(np.float64) - (own == labels)
    return {int(label): float(lost[labels == label].mean()) for label in np.unique(labels)}


def differing(own: Labels, base: Labels) -> float:
    """Share of examples on which the predictions `own` and `base` differ."""
    return float((own != base).mean())


def exemplar_fraction(own: Labels, base: Labels, labels: Labels) -> float:
    """Share of examples that the predictions `base` get right and `own` wrong: the pruning-identified exemplars (PIEs)
    of one pair of networks; Hooker et al. 2019 compare the modal predictions of several of each."""
    return float(((base == labels) & (own != labels)).mean())
