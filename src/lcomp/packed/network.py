"""A network as a list of steps, the form between an ONNX graph and a packed file."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lcomp.errors import UserError
from lcomp.packed.sentences import MASK, READS_IDS, Attend, MaskedMean, Places
from lcomp.techniques.quantization.integer_layers import DynamicInput

Shape = tuple[int, ...]  # of a value, without the batch
MOST_VALUES = 1 << 24  # of an example, between two steps
MOST_STEPS = 1 << 12
MOST_SIDE = 1 << 16
OPERATORS = ("add", "mul", "sub", "div", "concat")


class Network(nn.Module):
    """Steps that are carried out one after another: inputs (N, C, H, W) in [0, 1] to logits (N, classes); or token ids
    and their mask (N, L) int64.

    Args:
        input_shape: (channels, height, width) of an example; (1, 1, tokens) of a sentence as long as is usual.
        classes: how many logits there are.
        steps: modules of one or two inputs.
        sources: what each step reads: 0 is the input, k the output of the k-th step, -1 the mask. No step reads a later
            one.
    """

    def __init__(
        self, input_shape: Shape, classes: int, steps: Sequence[nn.Module], sources: Sequence[tuple[int, ...]]
    ):
        super().__init__()
        self.input_shape, self.classes = tuple(input_shape), classes
        self.steps, self.sources = nn.ModuleList(steps), list(sources)
        self.eval()

    @property
    def reads_sentences(self) -> bool:
        return any(isinstance(step, READS_IDS) for step in self.steps)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        last = {source: number for number, sources in enumerate(self.sources) for source in sources}
        values = {0: x} if mask is None else {0: x, MASK: mask}
        for number, (step, sources) in enumerate(zip(self.steps, self.sources, strict=True)):
            x = step(*(values[source] for source in sources))
            values[number + 1] = x
            for source in set(sources):
                if last[source] == number:  # nothing reads it any more
                    del values[source]
        return x


class Blocks(nn.Module):
    """The four values of each 2x2 block as channels: (N, 1, H, W) to (N, 4, H/2, W/2). Not in packed files, nor is
    `GroupMaximum`: see `lcomp.export.space_to_depth`. Both are in steps that LiteRT has kernels for."""

    def forward(self, x: Tensor) -> Tensor:
        n, _, h, w = x.shape
        return x.view(n, h // 2, 2, w // 2, 2).permute(0, 1, 3, 2, 4).reshape(n, h // 2, w // 2, 4).permute(0, 3, 1, 2)


class GroupMaximum(nn.Module):
    """The maximum over four groups of channels: (N, 4C, H, W) to (N, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        groups = x.reshape(n, 4, c // 4, h * w).permute(0, 2, 3, 1)
        return F.max_pool2d(groups, (1, 4)).reshape(n, c // 4, h, w)


class Mean(nn.Module):
    """The mean of each channel (N, C, H, W), as (N, C, 1, 1)."""

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 4:
            raise ValueError("no example")
        return x.mean((-1, -2), keepdim=True)


class Zeros(nn.Module):
    """Values (N, C, H, W) with zeros around them.

    Args:
        amounts: how many before and behind the channels, the rows and the columns.
    """

    def __init__(self, *amounts: int):
        super().__init__()
        self.amounts = amounts

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 4:
            raise ValueError("no example")
        channels, rows, columns = self.amounts[:2], self.amounts[2:4], self.amounts[4:]
        return F.pad(x, (*columns, *rows, *channels))


class Clip(nn.Module):
    """Values between two bounds, either of which may be infinite."""

    def __init__(self, low: float, high: float):
        super().__init__()
        self.low, self.high = low, high

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(self.low, self.high)


class Join(nn.Module):
    """Two values, joined by one of `OPERATORS`; concatenated along the channels."""

    def __init__(self, operator: str):
        super().__init__()
        self.operator = operator

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        if self.operator == "concat":
            return torch.cat([x, y], 1)
        joined: Tensor = getattr(torch, self.operator)(x, y)
        return joined


class Constant(nn.Module):
    """A value and constants, joined by one of `OPERATORS` but `concat`.

    Args:
        values: one for all channels, or one for each.
    """

    def __init__(self, operator: str, values: Tensor):
        super().__init__()
        self.operator = operator
        self.register_buffer("values", values)
        self.values: Tensor

    def forward(self, x: Tensor) -> Tensor:
        values = self.values.view(-1, *[1] * (x.dim() - 2)) if len(self.values) > 1 else self.values.squeeze()
        joined: Tensor = getattr(torch, self.operator)(x, values)
        return joined


@torch.no_grad()
def output_shape(step: nn.Module, inputs: list[Shape]) -> Shape:
    """The shape of what a step makes of values of these shapes, found with no example at all."""
    misfit = UserError(f"a {type(step).__name__} of values of shape {' and '.join(map(str, inputs))}")
    if isinstance(step, Attend | MaskedMean):
        *inputs, (*_, length) = inputs
        if len({*inputs}) > 1 or inputs[0][:-1] != (length,):
            raise misfit
        if isinstance(step, MaskedMean):
            return inputs[0][-1:]
        if inputs[0][-1] % step.heads or step.heads * length**2 > MOST_VALUES:
            raise UserError(f"an attention of {step.heads} heads of values of shape {inputs[0]}")
        return inputs[0]
    if isinstance(step, READS_IDS):
        table = getattr(step, "table", step)
        width, rows = table.embedding_dim, table.num_embeddings
        assert isinstance(width, int) and isinstance(rows, int)
        if isinstance(step, Places) and rows < inputs[0][-1]:
            raise UserError(f"{rows} places of a sentence of {inputs[0][-1]} tokens")
        return checked_shape((inputs[0][-1], width))
    if len({len(shape) for shape in inputs}) > 1:
        raise misfit
    if isinstance(step, DynamicInput):  # looks for the range of its values
        return inputs[0]
    try:
        return checked_shape(tuple(step.eval()(*(torch.zeros(0, *shape) for shape in inputs)).shape[1:]))
    except (RuntimeError, ValueError, IndexError, TypeError):
        raise misfit from None


def checked_shape(shape: Shape) -> Shape:
    """`shape`, unless values of it would be empty or fill the memory."""
    if not shape or not 0 < prod(shape) <= MOST_VALUES:
        raise UserError(f"a value of shape {shape}: 1 to {MOST_VALUES:,} numbers can be in one")
    return shape


def logit_count(shape: Shape) -> int:
    """How many logits a network has whose last value is of this shape."""
    if len(shape) != 1:
        raise UserError(f"a network that ends with values of shape {shape}, not with logits")
    return shape[0]
