"""Which of its inputs a network's answer rests on, and whether two networks rest on the same ones."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lcomp.errors import needing

STEPS = 32
BATCH = 8  # examples, each of them STEPS times


def integrated_gradients(network: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    """Each value's part in the label's logit: the value times its mean gradient on the way from zeros
    (Sundararajan et al. 2017, eq. 1), at 32 Gauss-Legendre points; over an example the parts sum to the logit's rise.

    Rounding has no gradient: through a quantized network's activations passes the straight-through one, as when it
    learned. So the network is the one that is deployed, and the sum holds but for what rounding does to the logit.

    Args:
        inputs: (N, C, H, W) in [0, 1]; labels: (N,).

    Returns:
        (N, C, H, W).
    """
    with needing("robustness", "attributions"):
        from captum.attr import IntegratedGradients  # takes a second to import, most of it matplotlib

    method, pairs = IntegratedGradients(network.eval()), zip(inputs.split(BATCH), labels.split(BATCH), strict=True)
    return torch.cat([method.attribute(some, 0, target, n_steps=STEPS).detach() for some, target in pairs])


def correlation(one: Tensor, other: Tensor, inputs: Tensor) -> float:
    """Mean over examples of the rank correlation of their attributions (N, C, H, W) by two networks: 1 is the same
    order of values, 0 none in common.

    Only values above 0 count: of a zero every network's attribution is zero, and with those among them
    any two networks seem alike (0.99 for an untrained one). Signs count as well, for the same reason: any network gives
    a stroke's grey edge less than its middle (absolute attributions of an untrained LeNet-5 still correlate at 0.44).
    An example without two such values is left out; NaN when none is left.
    """
    pairs = zip(one.numpy(), other.numpy(), (inputs > 0).numpy(), strict=True)
    found = [rank_correlation(first[seen], second[seen]) for first, second, seen in pairs if seen.sum() > 1]
    return float(np.mean(found)) if found else float("nan")


def rank_correlation(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Spearman's: the correlation of the ranks of two vectors (n,); 0 where one is constant, as of a dead network."""
    from scipy.stats import rankdata  # takes a second to import

    ranked = np.stack([rankdata(one), rankdata(other)])
    ranked -= ranked.mean(1, keepdims=True)
    scale = np.sqrt((ranked**2).sum(1).prod())
    return float(ranked.prod(0).sum() / scale) if scale > 0 else 0.0
