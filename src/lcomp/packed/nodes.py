"""Operators of an artifact that become steps with what stands around them: constants, quantizers, other nodes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from onnx import NodeProto
from torch import Tensor, nn

from lcomp.errors import UserError
from lcomp.packed.layer_codec import as_pair, make_convolution, make_linear
from lcomp.packed.network import Blocks, Clip, Constant, GroupMaximum, Join, Mean, Zeros
from lcomp.packed.operations import as_typed, batch_norm
from lcomp.packed.stateless_operators import Settings, pool, symmetric_padding
from lcomp.packed.translation import Arrays, Translation
from lcomp.techniques.quantization.integer_layers import DynamicInput, Input, IntegerWeight, SharedWeight

JOINS = {"Add": "add", "Mul": "mul", "Sub": "sub", "Div": "div", "Concat": "concat"}


def conv(to: Translation, node: NodeProto, settings: Settings) -> None:
    stride, dilation = settings["strides"], settings["dilations"]
    if len(stride) != 2:
        raise UserError("a convolution that is not two-dimensional")
    layer = make_convolution(
        *to.parameters(node), as_pair(stride), symmetric_padding(settings), as_pair(dilation), settings["group"]
    )
    to.add(node, layer)


def gemm(to: Translation, node: NodeProto, settings: Settings) -> None:
    if [settings.get(key, 1) for key in ("alpha", "beta", "transB")] != [1, 1, 1] or settings.get("transA", 0):
        raise UserError(f"a Gemm of settings {settings}")
    to.add(node, make_linear(*to.parameters(node)))


def join(to: Translation, node: NodeProto, settings: Settings) -> None:
    operator, names = JOINS[node.op_type], list(node.input)
    if len(names) != 2 or settings.get("axis", 1) != 1:
        raise UserError(f"a {node.op_type} of {len(names)} values along axis {settings.get('axis')}")
    if operator in ("add", "mul") and names[0] in to.constants:
        names.reverse()
    if names[1] in to.constants:
        to.add(node, Constant(operator, per_channel(to, *names)), reads=names[0])
        return
    first, second = (to.value(name) for name in names)
    if len(to.steps) not in (first, second):
        to.go_to(first)
        first = len(to.steps)
    to.append(Join(operator), first, second)
    to.values[node.output[0]] = len(to.steps)


def per_channel(to: Translation, value: str, name: str) -> Tensor:
    """A constant beside a value, as one number or one for each channel."""
    array, dimensions = to.constant(name), len(to.shapes[to.value(value)])
    if array.size > 1 and array.shape[-dimensions:] != (array.size, *[1] * (dimensions - 1)):
        raise UserError(f"a constant of shape {array.shape} beside a value of {dimensions} dimensions")
    return torch.from_numpy(array.astype(np.float32).reshape(-1))


def decoded_integers(to: Translation, node: NodeProto, settings: Settings) -> None:
    """DequantizeLinear: of a constant a weight, else the end of what quantizes a layer's input."""
    stored, scale, zero_point = node.input
    if stored in to.constants:
        axis = settings.get("axis", 1)
        if to.constant(zero_point).any() or (axis != 0 and not (axis == 1 and to.is_turned(node.output[0]))):
            raise UserError("integer weights whose zero is not 0, or whose scales are not of output channels")
        if axis == 1:
            to.weights[node.output[0]] = IntegerWeight(to.tensor(stored).T.contiguous(), to.tensor(scale))
            return
        if to.constant(scale).size not in (1, *to.constant(stored).shape[:1]):
            raise UserError(f"{to.constant(scale).size} scales beside {to.constant(stored).shape} integer weights")
        to.weights[node.output[0]] = IntegerWeight(to.tensor(stored), to.tensor(scale))
        return
    moves: list[nn.Module] = []
    while stored in to.moves:
        stored, step = to.moves[stored]
        moves.insert(0, step)
    quantize = to.producers[stored]
    if quantize.op_type == "DynamicQuantizeLinear":
        make: Callable[[], nn.Module] = DynamicInput
    else:
        make = partial(Input, to.tensor(scale), to.tensor(zero_point), to.levels.get(quantize.input[0], 255))
    again = [make()] if moves else []  # of the same integers, which a runtime that sees both never decodes between
    to.add(node, make(), *moves, *again, reads=quantize.input[0])


def gather(to: Translation, node: NodeProto, settings: Settings) -> None:
    """A weight of shared values; those that it does not use are left out."""
    codebook, indices = to.tensor(node.input[0]), to.tensor(to.producers[node.input[1]].input[0])
    used, places = torch.cat([torch.zeros(1, dtype=torch.uint8), indices.flatten()]).unique(return_inverse=True)
    to.weights[node.output[0]] = SharedWeight(places[1:].to(torch.uint8).view(indices.shape), codebook[used.int()])


def clip(to: Translation, node: NodeProto, settings: Settings) -> None:
    low, high = bounds(node, to.constants)
    if node.output[0] not in to.levels:
        to.add(node, Clip(as_typed(low), as_typed(high)))
    elif low == 0:
        to.add(node, nn.ReLU())
    else:
        alias(to, node, settings)


def alias(to: Translation, node: NodeProto, settings: Settings) -> None:
    """The node's output is what it reads."""
    to.values[node.output[0]] = to.value(node.input[0])


def skip(to: Translation, node: NodeProto, settings: Settings) -> None:
    """The node that reads its output sees to it."""


def reshape(to: Translation, node: NodeProto, settings: Settings) -> None:
    if node.input[0] in to.constants:
        to.constants[node.output[0]] = to.constant(node.input[0]).reshape(to.constant(node.input[1]))
        return
    shape = to.shapes[to.value(node.input[0])]
    if (node.op_type == "Reshape" and len(to.constant(node.input[1])) != 2) or settings.get("axis", 1) != 1:
        raise UserError("a change of shape other than the flattening of an example")
    alias(to, node, settings) if len(shape) == 1 else to.add(node, nn.Flatten())


def blocks(to: Translation, node: NodeProto, settings: Settings) -> None:
    if settings["blocksize"] != 2:
        raise UserError(f"a SpaceToDepth of blocks of {settings['blocksize']}")
    move(to, node, Blocks(), node.input[0])


def maximum(to: Translation, node: NodeProto, settings: Settings) -> None:
    """Over four groups of channels, and over nothing else."""
    split = to.producers.get(node.input[0])
    if split is None or split.op_type != "Split" or len(node.input) != 4 or node.input != split.output:
        raise UserError("the operator Max")
    move(to, node, GroupMaximum(), split.input[0])


def split(to: Translation, node: NodeProto, settings: Settings) -> None:
    """The maximum over its groups sees to it."""
    if not any(consumer.op_type == "Max" and consumer.input == node.output for consumer in to.nodes):
        raise UserError("the operator Split")


def move(to: Translation, node: NodeProto, step: nn.Module, source: str) -> None:
    """A step that only moves values: of floats one like others, of integers one that `decoded_integers` adds."""
    if source in to.values:
        to.add(node, step, reads=source)
    else:
        to.moves[node.output[0]] = source, step


def mean(to: Translation, node: NodeProto, settings: Settings) -> None:
    axes = to.constant(node.input[1]).tolist() if len(node.input) > 1 else settings.get("axes", [2, 3])
    dimensions = len(to.shapes[to.value(node.input[0])]) + 1
    if dimensions != 4 or sorted(axis % dimensions for axis in axes) != [2, 3]:
        raise UserError(f"a mean over axes {axes}")
    to.add(node, Mean(), *([] if settings.get("keepdims", 1) else [nn.Flatten()]))


def pad(to: Translation, node: NodeProto, settings: Settings) -> None:
    given, amounts, value, axes = [*node.input, "", ""][:4]
    dimensions = len(to.shapes[to.value(given)]) + 1 if given in to.values else 4
    around = to.constant(amounts).reshape(2, -1)  # before and behind each axis
    pads = np.zeros((dimensions, 2), np.int64)
    pads[to.constant(axes) if axes else range(dimensions)] = around.T
    mode = settings.get("mode", b"constant").decode()
    if mode != "constant" or (to.constant(value) if value else 0) != zero_of(to, given):
        raise UserError(f"a padding with other values than zero (mode {mode})")
    if dimensions != 4 or pads[0].any() or pads.min() < 0:
        raise UserError(f"a Pad of {around.tolist()}")
    move(to, node, Zeros(*pads[1:].flatten().tolist()), given)


def zero_of(to: Translation, name: str) -> int:
    """What stands for zero in a value: the zero point of its quantizer, where it is one of integers."""
    while name in to.moves:
        name, _ = to.moves[name]
    quantize = to.producers.get(name)
    return int(to.constant(quantize.input[2])) if quantize is not None and quantize.op_type == "QuantizeLinear" else 0


def max_pool(to: Translation, node: NodeProto, settings: Settings) -> None:
    move(to, node, pool(nn.MaxPool2d, settings), node.input[0])


def norm(to: Translation, node: NodeProto, settings: Settings) -> None:
    weight, bias, mean, variance = (to.tensor(name) for name in node.input[1:])
    shape = to.shapes[to.value(node.input[0])]
    to.add(node, batch_norm(shape, as_typed(settings["epsilon"]), mean, variance, weight, bias))


def bounds(node: NodeProto, constants: Arrays) -> tuple[float, float]:
    """What a Clip clips to."""
    low, high = [*node.input[1:], "", ""][:2]
    return float(constants[low]) if low else -np.inf, float(constants[high]) if high else np.inf


def bounded(nodes: Sequence[NodeProto], producers: Mapping[str, NodeProto], constants: Arrays) -> dict[str, int]:
    """The levels of quantizers with less than 8 bits, by the name of the Clip that bounds what they read: it alone is
    before each, from zero up or from nowhere, and to the value of the highest level."""
    uses, bounded_by = Counter(name for node in nodes for name in node.input), {}
    for node in nodes:
        clip = producers.get(node.input[0]) if node.op_type == "QuantizeLinear" else None
        if clip is None or clip.op_type != "Clip" or uses[clip.output[0]] > 1:
            continue
        scale, zero_point = (constants[name] for name in node.input[1:])
        low, high = bounds(clip, constants)
        for levels in (2**bits - 1 for bits in range(1, 8)):
            if low in (0, -np.inf) and np.float32(levels - int(zero_point)) * scale.astype(np.float32) == np.float32(
                high
            ):
                bounded_by[clip.output[0]] = levels
    return bounded_by


NODES: dict[str, Callable[[Translation, NodeProto, Settings], None]] = {
    **dict.fromkeys(JOINS, join),
    "Conv": conv,
    "Gemm": gemm,
    "DequantizeLinear": decoded_integers,
    "QuantizeLinear": skip,
    "DynamicQuantizeLinear": skip,
    "Cast": skip,
    "Gather": gather,
    "SpaceToDepth": blocks,
    "Split": split,
    "Max": maximum,
    "Clip": clip,
    "Identity": alias,
    "Reshape": reshape,
    "Flatten": reshape,
    "ReduceMean": mean,
    "GlobalAveragePool": mean,
    "BatchNormalization": norm,
    "Pad": pad,
    "MaxPool": max_pool,
}
