"""The kinds of step that a packed network can have, and how each is written and read.

Another kind needs one more row in `OPERATIONS`, at its end, and its translation in `nodes` or `stateless_operators`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor, nn

from lcomp.errors import UserError
from lcomp.packed.coder import Coder, FrequencyTable, Reader, Writer
from lcomp.packed.layer_codec import (
    Pair,
    as_pair,
    code_pair,
    float_array,
    read_convolution,
    read_embedding,
    read_linear,
    read_renumbered,
    read_tensor,
    write_convolution,
    write_embedding,
    write_linear,
    write_renumbered,
)
from lcomp.packed.network import MOST_SIDE, OPERATORS, Clip, Constant, Join, Mean, Shape, Zeros
from lcomp.packed.sentences import Attend, First, MaskedMean, Places, layer_norm
from lcomp.packed.tensors import read_floats, write_floats
from lcomp.techniques.pruning.vocabulary import Renumbered
from lcomp.techniques.quantization.integer_layers import (
    DynamicInput,
    Input,
    QuantizedConv2d,
    QuantizedEmbedding,
    QuantizedLinear,
)

Size = int | tuple[int, ...]  # of a window, for both directions or one for each
MOST_HEADS = 1 << 10
POOL = ((2, 2), (2, 2), (0, 0), False)  # the usual one: kernel, stride, padding, ceil_mode


class Window(TypedDict):
    """The geometry of a pooling, as torch's arguments."""

    kernel_size: Pair
    stride: Pair
    padding: Pair
    ceil_mode: bool


@dataclass(frozen=True)
class Operation:
    """A kind of step.

    Args:
        kind: its modules.
        weight: how often it is expected, beside the others; a kind to come has 1.
        write: puts what describes such a module into a file.
        read: makes the module of that, for a value of the given shape.
    """

    kind: type[nn.Module] | tuple[type[nn.Module], ...]
    weight: int
    write: Callable[[Writer, Any], object]
    read: Callable[[Reader, Shape], nn.Module]


def parameterless(kind: type[nn.Module], weight: int) -> Operation:
    """A kind that nothing more describes."""
    return Operation(kind, weight, lambda io, step: None, lambda io, shape: kind())


def single_number(kind: type[nn.Module], name: str) -> Operation:
    """A kind with one number, its attribute and argument `name`."""
    return Operation(
        kind,
        4,
        lambda io, step: write_scalars(io, getattr(step, name)),
        lambda io, shape: kind(**{name: read_scalars(io, 1)[0]}),
    )


def write_scalars(io: Writer, *values: float) -> None:
    write_floats(io, np.array(values, np.float32))


def read_scalars(io: Reader, count: int) -> list[float]:
    return [as_typed(value) for value in read_floats(io, count)]


def as_typed(value: float) -> float:
    """A setting as it was typed: 0.1, where a float32 has 0.10000000149011612."""
    return float(str(np.float32(value)))


def code_window(io: Coder, kernel: Size = 2, stride: Size = 2, padding: Size = 0, ceil: bool = False) -> Window:
    """The geometry of a pooling, as torch's arguments; one flag where it is 2x2 without overlap."""
    given = (as_pair(kernel), as_pair(stride), as_pair(padding), ceil)
    if io.flag(given != POOL):
        given = (code_pair(io, given[0], 1), code_pair(io, given[1], 1), code_pair(io, given[2]), io.flag(ceil))
    return Window(kernel_size=given[0], stride=given[1], padding=given[2], ceil_mode=given[3])


def write_average(io: Writer, step: nn.AvgPool2d) -> None:
    code_window(io, step.kernel_size, step.stride, step.padding, step.ceil_mode)
    io.flag(not step.count_include_pad)


def read_average(io: Reader, shape: Shape) -> nn.Module:
    return nn.AvgPool2d(**code_window(io), count_include_pad=not io.flag())


def write_input(io: Writer, step: Input) -> None:
    io.number(8 - step.levels.bit_length(), 7)
    io.number(int(step.zero_point), step.levels)
    write_floats(io.on("scales"), float_array(step.scale))
    io.on("structure")


def read_input(io: Reader, shape: Shape) -> nn.Module:
    levels = (1 << 8 - io.number(most=7)) - 1
    zero_point = torch.tensor(io.number(most=levels))
    return Input(read_tensor(io, 1).squeeze(), zero_point, levels)


def write_constant(io: Writer, step: Constant) -> None:
    io.symbol(OPERATOR, OPERATORS.index(step.operator))
    io.flag(len(step.values) > 1)
    write_floats(io, float_array(step.values))


def read_constant(io: Reader, shape: Shape) -> nn.Module:
    operator = OPERATORS[io.symbol(OPERATOR)]
    if operator == "concat":
        raise UserError("a constant is concatenated")
    return Constant(operator, read_tensor(io, shape[0] if io.flag() else 1))


def write_batch_norm(io: Writer, step: nn.BatchNorm1d | nn.BatchNorm2d) -> None:
    assert step.running_mean is not None and step.running_var is not None
    write_scalars(io, step.eps)
    for values in (step.running_mean, step.running_var, step.weight, step.bias):
        write_floats(io, float_array(values))


def read_batch_norm(io: Reader, shape: Shape) -> nn.Module:
    return batch_norm(shape, read_scalars(io, 1)[0], *(read_tensor(io, shape[0]) for _ in range(4)))


def write_zeros(io: Writer, step: Zeros) -> None:
    for amount in step.amounts:
        io.number(amount, MOST_SIDE)


def read_zeros(io: Reader, shape: Shape) -> nn.Module:
    return Zeros(*(io.number(most=MOST_SIDE) for _ in range(6)))


def write_layer_norm(io: Writer, step: nn.LayerNorm) -> None:
    write_scalars(io, step.eps)
    for values in (step.weight, step.bias):
        write_floats(io, float_array(values))


def read_layer_norm(io: Reader, shape: Shape) -> nn.Module:
    eps = read_scalars(io, 1)[0]
    return layer_norm(shape[-1], eps, read_tensor(io, shape[-1]), read_tensor(io, shape[-1]))


def write_attend(io: Writer, step: Attend) -> None:
    io.number(step.heads - 1, MOST_HEADS)
    write_scalars(io, step.scale)


def read_attend(io: Reader, shape: Shape) -> nn.Module:
    return Attend(io.number(most=MOST_HEADS) + 1, read_scalars(io, 1)[0])


def batch_norm(shape: Shape, eps: float, mean: Tensor, variance: Tensor, weight: Tensor, bias: Tensor) -> nn.Module:
    """A batch norm with statistics of its own, of values of that shape."""
    kind = nn.BatchNorm2d if len(shape) == 3 else nn.BatchNorm1d
    norm = kind(shape[0], eps, device="meta")
    norm.running_mean, norm.running_var, norm.num_batches_tracked = mean, variance, None
    norm.weight, norm.bias = nn.Parameter(weight), nn.Parameter(bias)
    return norm


OPERATOR = FrequencyTable([1] * len(OPERATORS))
OPERATIONS = (
    Operation((nn.Conv2d, QuantizedConv2d), 40, write_convolution, read_convolution),
    Operation((nn.Linear, QuantizedLinear), 24, write_linear, read_linear),
    parameterless(nn.ReLU, 48),
    Operation(
        nn.MaxPool2d,
        24,
        lambda io, step: code_window(io, step.kernel_size, step.stride, step.padding, step.ceil_mode),
        lambda io, shape: nn.MaxPool2d(**code_window(io)),
    ),
    parameterless(nn.Flatten, 16),
    Operation(Input, 32, write_input, read_input),
    parameterless(DynamicInput, 8),
    Operation(nn.AvgPool2d, 8, write_average, read_average),
    parameterless(Mean, 12),
    Operation(
        Join,
        12,
        lambda io, step: io.symbol(OPERATOR, OPERATORS.index(step.operator)),
        lambda io, shape: Join(OPERATORS[io.symbol(OPERATOR)]),
    ),
    parameterless(nn.Identity, 12),  # goes on from an earlier value
    Operation(Constant, 4, write_constant, read_constant),
    Operation((nn.BatchNorm1d, nn.BatchNorm2d), 4, write_batch_norm, read_batch_norm),
    Operation(
        Clip,
        4,
        lambda io, step: write_scalars(io, step.low, step.high),
        lambda io, shape: Clip(*read_scalars(io, 2)),
    ),
    parameterless(nn.Hardswish, 8),
    parameterless(nn.Hardsigmoid, 4),
    parameterless(nn.Sigmoid, 4),
    parameterless(nn.Tanh, 4),
    single_number(nn.LeakyReLU, "negative_slope"),
    single_number(nn.ELU, "alpha"),
    Operation(
        nn.GELU,
        4,
        lambda io, step: io.flag(step.approximate == "tanh"),
        lambda io, shape: nn.GELU("tanh" if io.flag() else "none"),
    ),
    Operation(Zeros, 1, write_zeros, read_zeros),  # 1, as before there was one: the table stays; so have the next
    Operation((nn.Embedding, QuantizedEmbedding), 1, write_embedding, read_embedding),
    Operation(
        Places,
        1,
        lambda io, step: write_embedding(io, step.table),
        lambda io, shape: Places(read_embedding(io, shape)),
    ),
    Operation(nn.LayerNorm, 1, write_layer_norm, read_layer_norm),
    Operation(Attend, 1, write_attend, read_attend),
    parameterless(First, 1),
    parameterless(MaskedMean, 1),
    Operation(Renumbered, 1, write_renumbered, read_renumbered),
)
