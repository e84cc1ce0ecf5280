"""What a network loses when one of its layers is pruned or quantized and nothing is trained after it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from lcomp.config.run_spec import RunSpec
from lcomp.errors import UserError
from lcomp.evaluation.measurement import predict_outputs, split_of
from lcomp.tasks.split import Split
from lcomp.techniques.pruning.criteria import magnitude
from lcomp.techniques.pruning.mask import prune_masks
from lcomp.techniques.quantization.grids import Uniform
from lcomp.techniques.technique import Layer, check_patterns, layers
from lcomp.training import components

ALL = "all layers"
SPARSITIES = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98)
BITS = tuple(Uniform.widths)
Change = Callable[[Tensor], Tensor]  # a layer's weight to what it becomes


@dataclass(frozen=True)
class Score:
    """What one choice for one layer does.

    Args:
        layer: its name, or `ALL` where every layer has the choice at once.
        share: of the weights of all layers, 0 to 1.
        kind: `sparsity` or `bits`.
        value: the choice.
        accuracy: share of right answers, 0 to 1.
        change: accuracy less that of the unchanged network.
        kl: KL(unchanged || changed) of the softened logits at T = 1, mean over examples, in nats.
    """

    layer: str
    share: float
    kind: str
    value: float
    accuracy: float
    change: float
    kl: float


def baseline_sensitivities(spec: RunSpec, sparsities: Sequence[float], bits: Sequence[int]) -> tuple[str, list[Score]]:
    """The data and the network of a run's baseline in words, and its scores on the validation examples.

    Raises:
        UserError: the task's outputs are no logits of classes.
    """
    torch.set_num_threads(spec.threads)
    pl.seed_everything(spec.seed, verbose=False)
    data = components.make_data(spec)
    if data.task.output != "logits":
        task = spec.task["_target_"]
        raise UserError(f"sensitivity: compares logits of classes; task._target_={task} has other outputs")
    network = components.make_baseline(spec, data).network
    check_patterns(network, (), "sensitivity")
    console = Console(stderr=True)
    columns = (BarColumn(20), TextColumn("{task.completed} of {task.total}"), TimeRemainingColumn())
    hidden = spec.progress is False or (spec.progress == "auto" and not console.is_terminal)
    with Progress(*columns, console=console, disable=hidden, transient=True) as bar:
        task = bar.add_task("", total=(len(list(layers(network))) + 1) * (len(sparsities) + len(bits)))
        split = split_of(data.val_dataloader(), data.task)
        scores = layer_sensitivities(network, split, sparsities, bits, lambda: bar.advance(task))
    return f"{getattr(data, 'name', type(data).__name__)} {type(network).__name__}", scores


def pruned(weight: Tensor, sparsity: float) -> Tensor:
    """The weight with exactly round(sparsity x weights) zeros, the smallest magnitudes (Han et al. 2015)."""
    [mask] = prune_masks([torch.ones_like(weight, dtype=torch.bool)], [magnitude(weight)], sparsity)
    return torch.where(mask, weight, 0.0)


def quantized(weight: Tensor, bits: int) -> Tensor:
    """The weight rounded to whole numbers of `bits` bits, one symmetric scale per output channel."""
    grid = Uniform(bits)
    scale, threshold = (
        per_channel.view(-1, *[1] * (weight.dim() - 1)) for per_channel in grid.scale(weight.flatten(1))
    )
    scale = torch.where(scale > 0, scale, 1.0)
    return grid.nearest(weight / scale, threshold) * scale


def weight_changes(sparsities: Sequence[float], bits: Sequence[int]) -> list[tuple[str, float, Change]]:
    """Kind, value and change of the weight for each choice."""
    return [
        *(("sparsity", value, partial(pruned, sparsity=value)) for value in sparsities),
        *(("bits", width, partial(quantized, bits=width)) for width in bits),
    ]


def layer_sensitivities(
    network: nn.Module,
    split: Split,
    sparsities: Sequence[float] = SPARSITIES,
    bits: Sequence[int] = BITS,
    advance: Callable[[], object] = lambda: None,
) -> list[Score]:
    """A score for each layer (then for all together) and each choice. `network` is left as it is, to the bit.

    Args:
        network: to logits of classes, with plain layers: nothing registered on their weights.
        split: the examples that are asked; the validation split, so that whoever chooses by the scores has not seen the
            test split.
        sparsities: 0 to below 1 each.
        bits: 2 to 8 each.
        advance: called after each score, for a progress bar.
    """
    network = copy.deepcopy(network)
    named_layers, unchanged = dict(layers(network)), predict_outputs(network, split.inputs)
    base, total = accuracy_of(unchanged, split.labels), sum(layer.weight.numel() for layer in named_layers.values())
    groups: Mapping[str, list[Layer]] = {name: [layer] for name, layer in named_layers.items()} | {
        ALL: list(named_layers.values())
    }
    scores = []
    for name, group in groups.items():
        fraction = sum(layer.weight.numel() for layer in group) / total
        for kind, value, change in weight_changes(sparsities, bits):
            with changed(group, change):
                changed_logits = predict_outputs(network, split.inputs)
            changed_accuracy = accuracy_of(changed_logits, split.labels)
            scores.append(
                Score(
                    name,
                    fraction,
                    kind,
                    value,
                    changed_accuracy,
                    changed_accuracy - base,
                    divergence(unchanged, changed_logits),
                )
            )
            advance()
    return scores


@contextmanager
def changed(group: Sequence[Layer], change: Change) -> Iterator[None]:
    """Within it, the layers' weights are what `change` makes of them."""
    originals = [layer.weight.detach().clone() for layer in group]
    try:
        with torch.no_grad():
            for layer, weight in zip(group, originals, strict=True):
                layer.weight.copy_(change(weight))
        yield
    finally:
        with torch.no_grad():
            for layer, weight in zip(group, originals, strict=True):
                layer.weight.copy_(weight)


def accuracy_of(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    return float((logits.argmax(1) == labels).mean())


def divergence(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """KL(softmax(first) || softmax(second)), the mean over rows, in nats."""
    p, q = (torch.from_numpy(values).double().log_softmax(1) for values in (first, second))
    return float((p.exp() * (p - q)).sum(1).mean())
