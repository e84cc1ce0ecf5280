"""How convolutions and linear layers are written and read: geometry, weight, bias."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import torch
from torch import Tensor, nn

from lcomp.errors import UserError
from lcomp.packed.coder import FOUR, PLANES_READ, Coder, FrequencyTable, Integers, Reader, Writer
from lcomp.packed.sentences import Embedding, make_embedding
from lcomp.packed.tensors import (
    Floats,
    integer_bits,
    kernel_bits,
    kernels,
    read_floats,
    read_integers,
    write_floats,
    write_integers,
)
from lcomp.techniques.pruning.vocabulary import Renumbered, has_own, rows_of
from lcomp.techniques.quantization.integer_layers import (
    CodedWeight,
    IntegerWeight,
    QuantizedConv2d,
    QuantizedLinear,
    SharedWeight,
)

Pair = tuple[int, int]
Weight = Tensor | CodedWeight
Convolution = nn.Conv2d | QuantizedConv2d
Linear = nn.Linear | QuantizedLinear
SQUARE = FrequencyTable([7, 1])  # whether both numbers of a pair are one, or not
MOST_CHANNELS = 1 << 16
MOST_ROWS = 1 << 20  # of an embedding
MOST_FAR = 1 << 10  # kernels, strides, paddings, dilations
FLOATS, INTEGERS, SHARED, LEANING = range(4)  # the forms of a weight, the last one since version 2
STEEPEST = (1, 2, 4, 8, 16)  # what is tried; a file may have another, up to `MOST_STEEPEST`
MOST_STEEPEST = 64


def code_pair(io: Coder, values: Sequence[int] = (0, 0), least: int = 0) -> Pair:
    """Two numbers from `least` up, mostly the same one."""
    differ = io.symbol(SQUARE, int(values[0] != values[1]))
    first = io.number(values[0] - least, MOST_FAR) + least
    return first, io.number(values[1] - least, MOST_FAR) + least if differ else first


def as_pair(value: int | Sequence[int]) -> Pair:
    """A setting of torch's, one number for both directions or one for each."""
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def write_convolution(io: Writer, layer: Convolution) -> None:
    assert not isinstance(layer.padding, str)
    outputs, _, *kernel = shape_of(layer.weight)
    io.number(outputs - 1, MOST_CHANNELS)
    code_pair(io, kernel, 1)
    if io.flag((layer.stride, layer.padding, layer.dilation, layer.groups) != ((1, 1), (0, 0), (1, 1), 1)):
        code_pair(io, layer.stride, 1)
        code_pair(io, layer.padding)
        code_pair(io, layer.dilation, 1)
        io.number(layer.groups - 1, MOST_CHANNELS)
    write_parameters(io, layer)


def read_convolution(io: Reader, shape: Sequence[int]) -> Convolution:
    if len(shape) != 3:
        raise UserError(f"a convolution of a value of shape {tuple(shape)}")
    outputs, kernel = io.number(most=MOST_CHANNELS) + 1, code_pair(io, least=1)
    stride, padding, dilation, groups = (1, 1), (0, 0), (1, 1), 1
    if io.flag():
        stride, padding, dilation = code_pair(io, least=1), code_pair(io), code_pair(io, least=1)
        groups = io.number(most=MOST_CHANNELS) + 1
    if shape[0] % groups or outputs % groups:
        raise UserError(f"a convolution of {shape[0]} channels to {outputs} in {groups} groups")
    weight, bias = read_parameters(io, (outputs, shape[0] // groups, *kernel))
    return make_convolution(weight, bias, stride, padding, dilation, groups)


def write_linear(io: Writer, layer: Linear) -> None:
    io.number(shape_of(layer.weight)[0] - 1, MOST_CHANNELS)
    write_parameters(io, layer)


def read_linear(io: Reader, shape: Sequence[int]) -> Linear:
    if len(shape) > 2:
        raise UserError(f"a linear layer of a value of shape {tuple(shape)}")
    return make_linear(*read_parameters(io, (io.number(most=MOST_CHANNELS) + 1, shape[-1])))


def write_embedding(io: Writer, layer: Embedding) -> None:
    rows, width = shape_of(layer.weight)
    io.number(rows - 1, MOST_ROWS)
    io.number(width - 1, MOST_CHANNELS)
    write_parameters(io, layer)


def read_embedding(io: Reader, shape: Sequence[int]) -> Embedding:
    rows, width = io.number(most=MOST_ROWS) + 1, io.number(most=MOST_CHANNELS) + 1
    weight, bias = read_parameters(io, (rows, width))
    if bias is not None:
        raise UserError("an embedding with a bias")
    return make_embedding(weight)


def write_renumbered(io: Writer, layer: Renumbered) -> None:
    io.number(len(layer.rows) - 1, MOST_ROWS)
    write_integers(io.on("weights"), integer_array(has_own(layer.rows)))
    write_embedding(io.on("structure"), layer.table)  # type: ignore[arg-type]


def read_renumbered(io: Reader, shape: Sequence[int]) -> Renumbered:
    own = torch.from_numpy(check_bounds(read_integers(io, io.number(most=MOST_ROWS) + 1), 0, 1)) == 1
    table, rows = read_embedding(io, shape), rows_of(own)
    if table.num_embeddings != int(rows.max()) + 1:
        raise UserError(f"{table.num_embeddings} rows for {int(rows.max()) + 1} kinds of tokens")
    return Renumbered(table, rows)


def make_convolution(
    weight: Weight, bias: Tensor | None, stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> Convolution:
    """A convolution of a weight in any form."""
    outputs, inputs, *kernel = shape_of(weight)
    layer = nn.Conv2d(
        inputs * groups, outputs, (kernel[0], kernel[1]), stride, padding, dilation, groups, False, device="meta"
    )
    layer.bias = None if bias is None else nn.Parameter(bias)
    if isinstance(weight, CodedWeight):
        return QuantizedConv2d(layer, weight, nn.Identity())
    layer.weight = nn.Parameter(weight)
    return layer


def make_linear(weight: Weight, bias: Tensor | None) -> Linear:
    """A linear layer of a weight in any form."""
    outputs, inputs = shape_of(weight)
    layer = nn.Linear(inputs, outputs, False, device="meta")
    layer.bias = None if bias is None else nn.Parameter(bias)  # type: ignore[assignment]
    if isinstance(weight, CodedWeight):
        return QuantizedLinear(layer, weight, nn.Identity())
    layer.weight = nn.Parameter(weight)
    return layer


def shape_of(weight: Weight) -> tuple[int, ...]:
    return tuple((weight.integers if isinstance(weight, CodedWeight) else weight).shape)


def write_parameters(io: Writer, layer: Convolution | Linear | Embedding) -> None:
    """A weight: its form, then floats; or whole numbers and the scales; or the values and which each weight takes. A
    bias, if there is one."""
    weight: Weight = getattr(layer, "coded", layer.weight)
    if isinstance(weight, IntegerWeight):
        write_integer_weight(io, weight.integers)
        write_floats(io.on("scales"), float_array(weight.scale))
    elif isinstance(weight, SharedWeight):
        io.symbol(FOUR, SHARED)
        io.number(len(weight.codebook) - 1, 255)
        write_floats(io.on("scales"), float_array(weight.codebook))
        write_integers(io.on("weights"), integer_array(weight.integers))
    else:
        assert isinstance(weight, Tensor)
        io.symbol(FOUR, FLOATS)
        write_floats(io.on("weights"), float_array(weight))
    bias = getattr(layer, "bias", None)
    io.on("structure").flag(bias is not None)
    if bias is not None:
        write_floats(io.on("biases"), float_array(bias))
    io.on("structure")


def read_parameters(io: Reader, shape: tuple[int, ...]) -> tuple[Weight, Tensor | None]:
    form, count = io.symbol(FOUR), prod(shape)
    weight: Weight
    if form == INTEGERS or (form == LEANING and io.version > 1):
        weight = IntegerWeight(read_integer_weight(io, shape, form == LEANING), read_tensor(io, shape[0]))
    elif form == SHARED:
        codebook = read_tensor(io, io.number(most=255) + 1)
        indices = check_bounds(read_integers(io, count), 0, len(codebook) - 1)
        weight = SharedWeight(torch.from_numpy(indices).to(torch.uint8).view(shape), codebook)
    elif form == FLOATS:
        weight = read_tensor(io, count).view(shape)
    else:
        raise UserError("a weight in a form that this version does not know")
    return weight, read_tensor(io, shape[0]) if io.flag() else None


def write_integer_weight(io: Writer, integers: Tensor) -> None:
    """The form of int8 weights, and these; those of a convolution as planes, where that takes less."""
    values, steepest, as_planes = integer_array(integers), 0, False
    planes, most = values.reshape(-1, *integers.shape[2:]), int(np.abs(values).max())
    if prod(integers.shape[2:]) > 1:
        trial = Writer()
        kernels(trial, planes, most)
        taken, otherwise = sum(trial.spent.values()), integer_bits(values)
        as_planes = taken < otherwise
        if io.version > 1:
            least, best = min((kernel_bits(planes, most, steepness), steepness) for steepness in STEEPEST)
            steepest = best if least < min(taken, otherwise) else 0
    io.symbol(FOUR, LEANING if steepest else INTEGERS)
    io.on("weights")
    if steepest or (prod(integers.shape[2:]) > 1 and io.flag(as_planes)):
        io.number(most, 128)
        if steepest:
            io.number(steepest - 1)
        kernels(io, planes, most, steepest)
    else:
        write_integers(io, values)


def read_integer_weight(io: Reader, shape: tuple[int, ...], leaning: bool = False) -> Tensor:
    if leaning or (prod(shape[2:]) > 1 and io.flag()):
        most = io.number(most=128)
        steepest = io.number(most=MOST_STEEPEST - 1) + 1 if leaning else 0
        io.claim(prod(shape), PLANES_READ)
        planes = np.zeros((shape[0] * shape[1], *(shape[2:] or (1, 1))), np.int64)
        values = kernels(io, planes, most, steepest)
    else:
        values = read_integers(io, prod(shape))
    return torch.from_numpy(check_bounds(values, -128, 127)).to(torch.int8).view(shape)


def read_tensor(io: Reader, count: int) -> Tensor:
    return torch.from_numpy(read_floats(io, count))


def float_array(tensor: Tensor) -> Floats:
    return tensor.detach().flatten().numpy()


def integer_array(tensor: Tensor) -> Integers:
    return tensor.flatten().numpy().astype(np.int64)


def check_bounds(values: Integers, least: int, most: int) -> Integers:
    """`values`, where all lie between the two bounds.

    Raises:
        UserError: one does not.
    """
    if values.min() < least or values.max() > most:
        raise UserError(f"a weight is stored as {values.min()} or {values.max()}: {least} to {most} can be")
    return values
