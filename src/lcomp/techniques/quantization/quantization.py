"""What every quantization does to a network: quantizers on weights and inputs, integer layers at the end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from lcomp.errors import UserError, validate_choice
from lcomp.techniques import additions, inspection, layer_graph
from lcomp.techniques.example import Example
from lcomp.techniques.inspection import Calls
from lcomp.techniques.layer_kinds import ACTED_ON, looks_up
from lcomp.techniques.parametrizations import parametrization, weight_before
from lcomp.techniques.quantization.conversion import (
    deploy_between,
    fold_batch_norm,
    integer_layer,
    keep_biases_in_range,
    leave_float,
)
from lcomp.techniques.quantization.fake import ActivationQuantizer, RoundedBefore, WeightQuantizer
from lcomp.techniques.quantization.grids import Grid, Uniform
from lcomp.techniques.quantization.integer_layers import IntegerWeight
from lcomp.techniques.quantization.ranges import Estimator, MeanSquaredError, min_max
from lcomp.techniques.technique import (
    Layer,
    StoredWeight,
    Technique,
    acted_on,
    check_patterns,
    fits,
    layers,
    warn_of_others,
)

log = logging.getLogger(__name__)
V = TypeVar("V")
Q = TypeVar("Q", bound=nn.Module)
INPUT_BITS = 8  # a sensor gives bytes: eight bits lose nothing, fewer would blind the network


class Quantization(Technique):
    """Quantizes weights and the inputs of convolutions and linear layers per tensor.

    Where a `Normalize` feeds the first layer its input is quantized before the normalization, on the grid of the
    network's input itself, and the normalization is folded into the integer layer.

    In a network with additions (residual ones) what these add and their sums are rounded too, and what average pooling
    reads, so that both are carried out in integers, of 8 bits always; see `additions`.

    Args:
        bits: width of a weight, 2 to 8 on the uniform grid.
        activation_bits: width of an activation, 1 to 8, or None: activations stay float; the network's input keeps 8.
        grid: the weights' levels, made from the width, see `grids`.
        granularity: of the weights' scales, `channel` (one per output channel) or `tensor` (one per layer).
        exclude: names of layers (`fc3`, `conv*`) that stay float, and of additions or average pooling (`layer1.0.add`,
            `*.add`, `pool`).
        weight_range: of the weights' scales: `grid`, as the grid sets them, or `mse`, the share of that with the least
            squared error.
        range: what makes an activation's range of the batches that it sees, see `ranges`.
        bits_of: a width of their own for the weights of layers by name, such as {"fc1": 2, "conv*": 8}; the first
            pattern that fits counts.

    Raises:
        UserError: a width outside its range, a name that matches no layer, or a layer that cannot be quantized.
    """

    stage = 2
    learns_steps = False  # True: an activation's step is a parameter, and no range is estimated
    activation_widths: tuple[int | None, ...] = (1, 2, 3, 4, 5, 6, 7, 8, None)

    def __init__(
        self,
        bits: int = 8,
        activation_bits: int | None = 8,
        granularity: str = "channel",
        exclude: Sequence[str] = (),
        grid: Callable[[int], Grid] = Uniform,
        weight_range: str = "grid",
        range: Estimator = min_max,
        bits_of: Mapping[str, int] | None = None,
    ):
        whole = activation_bits is None or type(activation_bits) is int
        if not whole or activation_bits not in self.activation_widths:
            several = len(self.activation_widths) > 1
            allowed = "1 to 8, or null for floats" if several else "8 only here; quant=static has 1 to 8"
            raise UserError(f"quant.activation_bits={activation_bits}: a width in whole bits, {allowed}")
        if activation_bits == 1 and not self.learns_steps and not isinstance(range, MeanSquaredError):
            raise UserError(
                "quant.activation_bits=1: its two levels are 0 and a scale, which only quant/range=mse sets well; "
                "quant=lsq learns it"
            )
        self.grid, self.bits_of = grid(bits), dict(bits_of or {})
        self.grids_of = {pattern: layer_grid(grid, pattern, layer_bits) for pattern, layer_bits in self.bits_of.items()}
        validate_choice("quant.granularity", granularity, ("channel", "tensor"))
        validate_choice("quant.weight_range", weight_range, ("grid", "mse"))
        self.weight_range, self.range = weight_range, range
        self.bits, self.activation_bits, self.granularity = bits, activation_bits, granularity
        self.exclude = tuple(exclude)

    def broken_promise(self, before: nn.Module, after: nn.Module, weights: Sequence[StoredWeight]) -> str:
        integers, levels = [w for w in weights if w.dtype.itemsize == 1], self.largest_levels()
        largest = max((int(np.abs(w).max()) for w in integers), default=0)
        return "" if largest in levels else f"{largest} is the largest integer, not one of {[*levels]}"

    def largest_levels(self) -> Collection[int]:
        """What the largest integer of all weights may be: a layer's largest weight takes the largest level."""
        return {grid.largest for grid in (self.grid, *self.grids_of.values())}

    def check(self, network: nn.Module, example: Example | None = None) -> None:
        super().check(network, example)
        check_layers(network, self.exclude, self.bits_of)
        _, left_alone = self.acted_on(network)
        check_own_widths(self.bits_of, left_alone)

    def acted_on(self, network: nn.Module) -> tuple[dict[str, Layer], dict[str, str]]:
        """The layers to quantize, by name, and why others are left alone."""
        return acted_on(network, "quant", self.exclude, self.reason_against, self.calls)

    def reason_against(self, name: str, layer: Layer) -> str | None:
        """Why the layer cannot be quantized."""
        return reason_against(name, layer, self.calls)

    def prepare(self, network: nn.Module) -> None:
        self.check(network)
        selected, left_alone = self.acted_on(network)
        warn_of_others(network, "quant", left_alone)
        sources, foldable = layer_graph.input_sources(network), layer_graph.foldable(network)
        self.attach_between(network, selected)
        quantizers: dict[int, WeightQuantizer] = {}  # one for each weight, which layers may share
        for name, layer in selected.items():
            if parametrization(layer, WeightQuantizer) is not None:
                continue
            [*_, last] = inspection.stored_tensors(layer)
            if id(last) not in quantizers:
                quantizers[id(last)] = self.weight_quantizer(layer.weight, self.grid_of(name))
            parametrize.register_parametrization(layer, "weight", quantizers[id(last)], unsafe=True)
            if looks_up(layer):
                layer.input_quantizer = nn.Identity()
            elif not hasattr(layer, "input_quantizer"):
                is_first = name in sources
                self.attach_input(network.get_submodule(foldable.get(name, name)), is_first)

    def grid_of(self, name: str) -> Grid:
        """The grid of the layer of that name."""
        return first_match(self.grids_of, name, self.grid)

    def weight_quantizer(self, weight: Tensor, grid: Grid) -> WeightQuantizer:
        """What rounds `weight`, off until it is enabled."""
        return WeightQuantizer(weight, grid, self.granularity, self.weight_range)

    def activation_quantizer(self, bits: int) -> ActivationQuantizer:
        """What rounds an input that is not the network's, off until it is enabled."""
        return ActivationQuantizer(bits, self.range)

    def attach_input(self, module: nn.Module, is_first: bool) -> None:
        """Puts a quantizer in front of `module`, whose input may be the network's (`is_first`)."""
        if self.activation_bits is None:
            module.input_quantizer = nn.Identity()
            return
        bits = self.activation_bits
        quantizer = ActivationQuantizer(INPUT_BITS, self.range) if is_first else self.activation_quantizer(bits)
        layer_graph.attach_quantizer(module, "input", quantizer)

    def attach_between(self, network: nn.Module, selected: Mapping[str, Layer]) -> None:
        """Puts quantizers where additions and average pooling need them, and lets layers behind them do without."""
        if self.activation_bits is None or any(parametrization(layer, WeightQuantizer) for layer in selected.values()):
            return
        plan = additions.plan(network, set(selected), self.exclude)
        made = [self.activation_quantizer(INPUT_BITS) for _ in plan.boundaries]
        for boundary, quantizer in zip(plan.boundaries, made, strict=True):
            layer_graph.attach_quantizer(network.get_submodule(boundary.module), boundary.side, quantizer)
        for name, number in plan.readers.items() if self.activation_bits == INPUT_BITS else ():
            selected[name].input_quantizer = RoundedBefore(made[number])
        for name, reason in plan.left_float.items():
            log.warning("quant leaves %s as it is: %s", name, reason)

    @torch.no_grad()
    def finalize(self, network: nn.Module, calibration: Iterable[Example] = ()) -> nn.Module:
        foldable, batch_norms = layer_graph.foldable(network), layer_graph.batch_norms(network, self.calls)
        weights: dict[int, IntegerWeight] = {}  # of each quantizer, which layers may share
        for name, layer in list(layers(network)):
            quantizer = parametrization(layer, WeightQuantizer)
            if quantizer is None:
                continue
            owner = network.get_submodule(foldable.get(name, name))
            source = owner.input_quantizer
            if isinstance(source, RoundedBefore):
                source = source.quantizer
            if isinstance(source, ActivationQuantizer) and not source.seen:
                log.warning("quant leaves %s as it is: nothing passed it, so that its input has no range", name)
                leave_float(layer, owner)
                continue
            if id(quantizer) not in weights:
                integers = quantizer.integers(weight_before(layer, WeightQuantizer))
                weights[id(quantizer)] = IntegerWeight(integers, quantizer.scale)
            quantized = integer_layer(layer, weights[id(quantizer)], owner)
            layer_graph.replace_module(network, name, quantized)
            if name in batch_norms:
                fold_batch_norm(quantized, network.get_submodule(batch_norms[name]))
                layer_graph.replace_module(network, batch_norms[name], nn.Identity())
            if owner is not layer:
                layer_graph.replace_module(network, foldable[name], nn.Identity())
            if isinstance(source, ActivationQuantizer):
                keep_biases_in_range(quantized, source.scale)
        deploy_between(network)
        return network


def reason_against(name: str, layer: Layer, calls: Calls | None) -> str | None:
    """Why integers cannot take the place of the layer's weight."""
    if inspection.has_other_hooks(layer, expected=[layer_graph.quantize_input]):
        return "it has hooks of its own"
    if not inspection.computes_as_its_kind(layer):
        kind = next(kind for kind in ACTED_ON if isinstance(layer, kind))
        return f"it does not compute as {'an' if kind is nn.Embedding else 'a'} {kind.__name__} does"
    if calls is not None and name not in calls.ranks:
        return "its weight is read, but the layer itself is not called"
    return None


def check_own_widths(widths: Mapping[str, int], left_alone: Mapping[str, str]) -> None:
    """Raises UserError where a width is asked for a layer that stays float."""
    for pattern in widths:
        for name, reason in left_alone.items():
            if fits(name, pattern):
                raise UserError(f"quant.bits_of.{pattern}: {name} cannot be quantized ({reason})")


def layer_grid(grid: Callable[[int], Grid], pattern: str, bits: int) -> Grid:
    """The grid of the layers that `pattern` fits; an impossible width is named by that key."""
    try:
        return grid(bits)
    except UserError as error:
        raise UserError(str(error).replace("quant.bits=", f"quant.bits_of.{pattern}=", 1)) from None


def check_layers(network: nn.Module, exclude: Sequence[str], bits_of: Mapping[str, int]) -> None:
    """Raises UserError for a pattern that matches no layer, or a layer that cannot be quantized."""
    of_layers = [pattern for pattern in exclude if not additions.fits(network, pattern)]
    check_patterns(network, of_layers, "quant.exclude")
    check_patterns(network, list(bits_of), "quant.bits_of")
    for name, layer in layers(network, exclude):
        if getattr(layer, "padding_mode", "zeros") != "zeros":
            raise UserError(f"quant: {name} pads with '{layer.padding_mode}'; only zeros can be quantized")


def first_match(patterns: Mapping[str, V], name: str, otherwise: V) -> V:
    """The value of the first pattern that fits the layer's name."""
    return next((value for pattern, value in patterns.items() if fits(name, pattern)), otherwise)


def quantizers(network: nn.Module, kind: type[Q]) -> list[Q]:
    """Every quantizer of that kind in the network."""
    return [module for module in network.modules() if isinstance(module, kind)]
