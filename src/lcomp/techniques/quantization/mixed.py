"""Mixed precision: bits per layer under a budget of bytes or operations, from the loss that rounding costs (after LeCun
et al. 1990; Dong et al. 2019, HAWQ)."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer

from lcomp.errors import UserError, validate_choice
from lcomp.techniques import layer_graph
from lcomp.techniques.example import Example
from lcomp.techniques.gradients import gradient
from lcomp.techniques.layer_kinds import looks_up
from lcomp.techniques.parametrizations import Parametrization, chain, parametrization
from lcomp.techniques.quantization.fake import WeightQuantizer
from lcomp.techniques.quantization.grids import Grid, Uniform
from lcomp.techniques.quantization.qat import MOVING_AVERAGE, QuantizationAwareTraining
from lcomp.techniques.quantization.quantization import INPUT_BITS, first_match
from lcomp.techniques.quantization.ranges import Estimator
from lcomp.techniques.schedule import Window, has_reached
from lcomp.techniques.technique import Batch, Layer, Technique, layers, network_of

Places = NDArray[np.intp]
MEAN_BITS = 4  # what a budget of null comes to
FLOAT_BITS = 32
COSTS = {"bytes": 8, "bit_operations": 1}  # what is counted, and how many bits, or operations with one, make one of it


class SelectableGrid(nn.Module):
    """A grid whose width is the buffer `bits`: one of several, to be chosen later, and kept in the checkpoint."""

    def __init__(self, grids: Mapping[int, Grid]):
        super().__init__()
        self.grids = dict(grids)
        self.register_buffer("bits", torch.tensor(max(grids)))
        self.bits: Tensor

    @property
    def grid(self) -> Grid:
        return self.grids[int(self.bits)]

    @property
    def largest(self) -> int:
        return self.grid.largest

    @property
    def clip_range(self) -> float:
        return self.grid.clip_range

    def scale(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        return self.grid.scale(weight)

    def nearest(self, x: Tensor, threshold: Tensor) -> Tensor:
        return self.grid.nearest(x, threshold)


class SelectableWeight(WeightQuantizer):
    """A weight quantizer whose width is to be chosen, and what that needs to know of gradients.

    Buffers: those of `WeightQuantizer`; `squares` (the weight's shape), the mean of squared gradients, over `steps`.
    """

    grid: SelectableGrid

    def __init__(self, weight: Tensor, grid: SelectableGrid, granularity: str, range: str):
        super().__init__(weight, grid, granularity, range)
        self.register_buffer("squares", torch.zeros_like(weight))
        self.register_buffer("steps", torch.tensor(0))
        self.squares: Tensor
        self.steps: Tensor


class QuantizedLayer(NamedTuple):
    """A layer, its name in the network and what rounds its weight."""

    name: str
    layer: Layer
    quantizer: SelectableWeight


class MixedPrecision(QuantizationAwareTraining):
    """Quantization-aware training with a width of its own for each layer's weights, chosen at `begin`.

    The widths are those with the least sum of sensitivities among all that keep the budget, exactly. What a width b
    costs a layer is sum E[g^2] (Q_b(w) - w)^2 over its weights: the second-order rise of the loss with the squared
    gradients, averaged over the steps before `begin`, in the place of the Hessian's diagonal.

    Args:
        budget: of the network's `cost`; null: what 4 bits for every weight come to.
        cost: `bytes` of the weights (each layer's number times its width / 8, zeros included; scales and biases are not
            counted), or `bit_operations` of an example: multiplications times the widths of weight and activation
            (after Baskin et al. 2021; van Baalen et al. 2020), where a float activation has 32 bits.
        widths: those allowed, in bits, that the grid has.
        bits_of: widths given by hand for layers by name, such as {"conv1": 8}; they count in the budget.
        begin: share of training after which widths are chosen and rounding starts, above 0.
        activation_bits, freeze, granularity, exclude, grid, weight_range, range: as in `QuantizationAwareTraining`.

    Raises:
        UserError: a value outside its range, or a budget below the least that the network can have.
    """

    def __init__(
        self,
        budget: float | None = None,
        widths: Sequence[int] = (2, 3, 4, 8),
        bits_of: Mapping[str, int] | None = None,
        activation_bits: int | None = 8,
        begin: float = 0.25,
        freeze: float = 2 / 3,
        granularity: str = "channel",
        exclude: Sequence[str] = (),
        grid: Callable[[int], Grid] = Uniform,
        weight_range: str = "grid",
        range: Estimator = MOVING_AVERAGE,
        cost: str = "bytes",
    ):
        validate_choice("quant.cost", cost, tuple(COSTS))
        if not widths:
            raise UserError("quant.widths=[]: name at least one width in bits, such as [2, 4, 8]")
        rounding = (granularity, exclude, grid, weight_range, range)
        super().__init__(max(widths), activation_bits, begin, freeze, *rounding, bits_of=bits_of)
        if begin <= 0:
            raise UserError(f"quant.begin={begin}: above 0; sensitivities are measured before it")
        self.cost, self.budget, self.widths = cost, budget, sorted(set(widths))
        self.read_input: set[str] = set()  # the layers that read the network's input, whose activations keep 8 bits
        self.grids = {bits: grid(bits) for bits in {*self.widths, *self.bits_of.values()}}

    def largest_levels(self) -> Collection[int]:
        return {grid.largest for grid in self.grids.values()}

    def allowed(self, name: str) -> list[int]:
        """The widths that the layer of that name can have."""
        fixed_width = first_match(self.bits_of, name, 0)
        return [fixed_width] if fixed_width else self.widths

    def grid_of(self, name: str) -> Grid:
        return SelectableGrid({bits: self.grids[bits] for bits in self.allowed(name)})

    def reason_against(self, name: str, layer: Layer) -> str | None:
        if any(not isinstance(entry, Parametrization) for entry in chain(layer)):
            return "something else is parametrized on its weight, and sensitivities need the gradient of a plain one"
        return super().reason_against(name, layer)

    def check(self, network: nn.Module, example: Example | None = None) -> None:
        super().check(network, example)
        selected, _ = self.acted_on(network)
        self.read_input = {*layer_graph.foldable(network)} | {
            name for name, source in layer_graph.input_sources(network).items() if source == layer_graph.INPUT
        }
        if self.budget is not None and (self.cost == "bytes" or self.calls is not None):
            least = sum(self.per_bit(name, layer) * min(self.allowed(name)) for name, layer in selected.items())
            self.check_budget(self.budget, least)

    def check_budget(self, budget: float, least: int) -> None:
        """Raises UserError for a budget below the least that the network can have, in bits or operations with one."""
        cost, unit = least / COSTS[self.cost], self.cost.replace("_", " ")
        if budget < cost:
            raise UserError(f"quant.budget={budget:g}: the least that these widths allow is {cost:g} {unit}")

    def per_bit(self, name: str, layer: Layer) -> int:
        """What each bit of the weights of the layer of that name costs, in bits or operations with one."""
        size = layer.weight.numel()
        if self.cost == "bytes":
            return size
        if looks_up(layer):
            return 0
        assert self.calls is not None
        places = sum(math.prod(output[1:]) // len(layer.weight) for _, output in self.calls.sizes.get(name, ()))
        read = self.activation_bits and (INPUT_BITS if name in self.read_input else self.activation_bits)
        return size * places * (read or FLOAT_BITS)

    def weight_quantizer(self, weight: Tensor, grid: Grid) -> WeightQuantizer:
        assert isinstance(grid, SelectableGrid)
        return SelectableWeight(weight, grid, self.granularity, self.weight_range)

    def quantized_layers(self, network: nn.Module) -> list[QuantizedLayer]:
        """Each layer that is quantized."""
        return [
            QuantizedLayer(name, layer, quantizer)
            for name, layer in layers(network, self.exclude)
            if (quantizer := parametrization(layer, SelectableWeight)) is not None
        ]

    @torch.no_grad()
    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        for _, layer, quantizer in self.quantized_layers(network_of(pl_module)):
            grad = gradient(layer, trainer, optimizer)
            if grad is not None and not quantizer.enabled:
                quantizer.steps.add_(1)
                quantizer.squares.lerp_(grad.square(), 1 / float(quantizer.steps))

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        network = network_of(pl_module)
        parts = self.quantized_layers(network)
        if self.calls is None:
            Technique.on_train_batch_start(self, trainer, pl_module, batch, batch_idx)
        if has_reached(trainer, self.begin) and not all(quantizer.enabled for _, _, quantizer in parts):
            self.choose(network)
        super().on_train_batch_start(trainer, pl_module, batch, batch_idx)

    def windows(self, trainer: pl.Trainer) -> Sequence[Window]:
        otherwise = "widths are chosen by the gradients of too few steps"
        return [Window(f"quant.begin={self.begin:.3g}", 0.0, self.begin, 2, otherwise), *super().windows(trainer)]

    @torch.no_grad()
    def choose(self, network: nn.Module) -> None:
        """Sets each layer's width."""
        parts = self.quantized_layers(network)
        each = [self.per_bit(name, layer) for name, layer, _ in parts]
        allowed = [self.allowed(name) for name, _, _ in parts]
        scores = [
            [rounding_sensitivity(quantizer, layer.weight, bits) for bits in widths]
            for (_, layer, quantizer), widths in zip(parts, allowed, strict=True)
        ]
        costs = [[one * bits for bits in widths] for one, widths in zip(each, allowed, strict=True)]
        budget = MEAN_BITS * sum(each) / COSTS[self.cost] if self.budget is None else self.budget
        self.check_budget(budget, sum(map(min, costs)))
        chosen = cheapest(costs, scores, int(budget * COSTS[self.cost]))
        assert chosen is not None
        for (_, _, quantizer), widths, index in zip(parts, allowed, chosen, strict=True):
            quantizer.grid.bits.fill_(widths[index])

    def scalars(self, network: nn.Module) -> dict[str, float]:
        parts = self.quantized_layers(network)
        known = super().scalars(network) | {f"bits/{name}": int(quantizer.grid.bits) for name, _, quantizer in parts}
        if self.cost == "bytes" or self.calls is not None:
            bits = sum(self.per_bit(name, layer) * int(quantizer.grid.bits) for name, layer, quantizer in parts)
            known[f"budget/{self.cost}"] = bits / COSTS[self.cost]
        return known


def rounding_sensitivity(quantizer: SelectableWeight, weight: Tensor, bits: int) -> float:
    """sum E[g^2] (Q_b(w) - w)^2, of a layer's weight at `bits` bits; leaves the quantizer at that width."""
    quantizer.grid.bits.fill_(bits)
    quantizer.observe(weight)
    error = quantizer.integers(weight).float() * quantizer.scale - weight
    return float((quantizer.squares.double() * error.double().square()).sum())


def cheapest(costs: Sequence[Sequence[int]], scores: Sequence[Sequence[float]], budget: int) -> list[int] | None:
    """The choice of one option per row with the least sum of scores among those whose costs sum to the budget or less.

    Exact, by dynamic programming over the rows: of the partial choices only those stay that no other beats in cost and
    score together. Of equal scores the cheaper one is taken; None where nothing fits.
    """
    cost, score = np.zeros(1, np.int64), np.zeros(1)
    steps: list[tuple[Places, Places]] = []  # for each row: which partial choice each one came from, and its option
    for own_costs, own_scores in zip(costs, scores, strict=True):
        all_costs = np.concatenate([cost + own for own in own_costs])
        all_scores = np.concatenate([score + own for own in own_scores])
        order = np.lexsort((all_scores, all_costs))
        order = order[all_costs[order] <= budget]
        if not len(order):
            return None
        before = np.concatenate([[np.inf], np.minimum.accumulate(all_scores[order])[:-1]])
        improving = order[all_scores[order] < before]
        steps.append((improving % len(cost), improving // len(cost)))
        cost, score = all_costs[improving], all_scores[improving]
    index, chosen = len(cost) - 1, []  # scores fall as costs rise
    for parents, options in reversed(steps):
        chosen.append(int(options[index]))
        index = int(parents[index])
    return chosen[::-1]
