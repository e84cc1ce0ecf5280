"""Space-to-depth: a convolution that reads one channel, carried out at half the resolution on four.

Kernels for integers copy what is under a filter together channel by channel, and multiply four channels and more at
once; of a single one they use a quarter or less. So every 2x2 block of pixels becomes four channels, the four outputs
under a window of the pooling behind the convolution become four groups of channels, and the pooling becomes the maximum
over these groups. Each output is the same sum beside products with zero, so integers stay what they are. Makers of
accelerators advise it ("Use Space-to-depth transformation where possible", Qualcomm's HTP guidelines); the pooling that
goes into it is ours.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

BLOCK = 2  # pixels of a block's side, and of the pooling's
GROUPS = BLOCK * BLOCK
ELEMENTWISE = ("Relu", "Clip", "QuantizeLinear")  # they do not fall, so a maximum may as well be taken after them


def fold(model: onnx.ModelProto, integers_only: bool = False) -> bool:
    """Rewrites `model` in place where a convolution reads one channel and a 2x2 max-pooling follows.

    Args:
        integers_only: leave one alone whose input or weight is float; the rewritten one may add up in another order.

    Returns:
        Whether there was such a convolution, of even height and width before and after it, stride 1.
    """
    graph = Graph(model)
    places = [place for node in model.graph.node if (place := graph.place(node))]
    places = [place for place in places if place.of_integers or not integers_only]
    for place in places:
        graph.rewrite(place)
    if places:
        used = {name for node in model.graph.node for name in node.input}
        kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
        del model.graph.initializer[:]
        model.graph.initializer.extend(kept)
        onnx.checker.check_model(model, full_check=True)
    return bool(places)


@dataclass(frozen=True)
class Place:
    """A convolution that can be rewritten, with what is around it.

    Attributes:
        decode: the DequantizeLinear or Gather that makes its weight, if one does.
        dequantize: the DequantizeLinear that makes its input, if one does.
        behind: the nodes behind it, up to its pooling or the quantizer behind that; `pool` is among them.
        padding: of height and width.
    """

    convolution: Any
    decode: Any
    dequantize: Any
    behind: tuple[Any, ...]
    pool: Any
    padding: tuple[int, int]

    @property
    def of_integers(self) -> bool:
        return bool(self.dequantize and self.decode and self.decode.op_type == "DequantizeLinear")


class Graph:
    """A model's graph, by names."""

    def __init__(self, model: onnx.ModelProto):
        self.graph = model.graph
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
        values = (*inferred.value_info, *inferred.input, *inferred.output)
        self.shapes = {v.name: [size.dim_value for size in v.type.tensor_type.shape.dim] for v in values}
        self.constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        self.producers = {name: node for node in model.graph.node for name in node.output}
        self.readers = {name: node for node in model.graph.node for name in node.input}
        self.uses = Counter(name for node in model.graph.node for name in node.input)
        self.uses.update(value.name for value in model.graph.output)

    def place(self, node: Any) -> Place | None:
        """What `fold` needs to know of a convolution that it can rewrite."""
        if node.op_type != "Conv" or not self.fits(node):
            return None
        decode, dequantize = (self.producers.get(node.input[slot]) for slot in (1, 0))
        if dequantize and dequantize.op_type != "DequantizeLinear":
            dequantize = None
        behind = tuple(self.behind(node))
        pool = next((other for other in behind if other.op_type == "MaxPool"), None)
        weighed = decode is None or (
            self.uses[decode.output[0]] == 1 and decode.op_type in ("DequantizeLinear", "Gather")
        )
        if pool is None or not weighed:
            return None
        pads = settings(node).get("pads", [0] * 4)
        return Place(node, decode, dequantize, behind, pool, (pads[0], pads[1]))

    def fits(self, node: Any) -> bool:
        """Whether a convolution reads one channel, at stride 1, and has even sizes on both sides."""
        given = settings(node)
        sizes = [shape for name in (node.input[0], node.output[0]) for shape in self.shapes.get(name, [])[2:]]
        pads = given.get("pads", [0] * 4)
        return (
            len(sizes) == 4
            and all(size and size % BLOCK == 0 for size in sizes)
            and self.shapes[node.input[0]][1] == 1
            and set(given.get("strides", [1])) == set(given.get("dilations", [1])) == {1}
            and given.get("auto_pad", b"NOTSET") == b"NOTSET"
            and pads[:2] == pads[2:]
        )

    def behind(self, node: Any) -> Iterator[Any]:
        """The nodes that follow one another behind `node`: elementwise ones, one pooling, up to a quantizer."""
        pooled = False
        while self.uses[node.output[0]] == 1 and node.output[0] in self.readers:
            node = self.readers[node.output[0]]
            if node.op_type == "MaxPool" and not pooled and is_pool(settings(node)):
                pooled = True
            elif node.op_type not in ELEMENTWISE or not all(self.is_number(name) for name in node.input[1:] if name):
                return
            yield node
            if node.op_type == "QuantizeLinear":
                return

    def is_number(self, name: str) -> bool:
        return name in self.constants and self.constants[name].size == 1

    def rewrite(self, place: Place) -> None:
        """Makes `place` what the module's first lines describe."""
        node, decode = place.convolution, place.decode
        holder, slot = (node, 1) if decode is None else (decode, 0)
        if decode is not None and decode.op_type == "Gather":
            holder, slot = self.producers[decode.input[1]], 0  # a Cast of indices, of which 0 stands for a zero
        stored = self.constants[holder.input[slot]]
        weight, pads = widened(stored, place.padding)
        self.give(holder, slot, weight)
        per_channel = [(node, 2)] + ([(decode, 1), (decode, 2)] if decode is not None and holder is decode else [])
        for other, at in per_channel:
            if len(other.input) > at and self.constants[other.input[at]].ndim:
                self.give(other, at, np.tile(self.constants[other.input[at]], GROUPS))
        kept = [attribute for attribute in node.attribute if attribute.name not in ("kernel_shape", "pads")]
        del node.attribute[:]
        node.attribute.extend(kept)
        node.attribute.append(helper.make_attribute("kernel_shape", weight.shape[2:]))
        node.attribute.append(helper.make_attribute("pads", pads))
        nodes = list(self.graph.node)
        self.blocks_before(place.dequantize or node, nodes)
        self.maximum_behind(place, nodes)
        del self.graph.node[:]
        self.graph.node.extend(nodes)

    def blocks_before(self, node: Any, nodes: list[Any]) -> None:
        """Puts what makes channels of blocks before `node`."""
        source = node.input[0]
        node.input[0] = f"{source}.blocks"
        nodes.insert(nodes.index(node), helper.make_node("SpaceToDepth", [source], [node.input[0]], blocksize=BLOCK))

    def maximum_behind(self, place: Place, nodes: list[Any]) -> None:
        """Puts the maximum over the groups in the pooling's place, behind everything else."""
        end, last = place.behind[-1].output[0], place.convolution
        for node in place.behind:
            if node is not place.pool:
                node.input[0] = last.output[0]
                last = node
        if last.output[0] == end:
            last.output[0] = f"{end}.groups"
        groups = [f"{end}.group_{number}" for number in range(GROUPS)]
        at = nodes.index(place.behind[-1]) + 1
        nodes[at:at] = [
            helper.make_node("Split", [last.output[0]], groups, axis=1, num_outputs=GROUPS),
            helper.make_node("Max", groups, [end]),
        ]
        nodes.remove(place.pool)

    def give(self, node: Any, slot: int, array: NDArray[Any]) -> None:
        """Makes `array` what `node` reads there."""
        name = f"{node.input[slot]}.widened.{slot}"
        self.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        node.input[slot] = name


def widened(weight: NDArray[Any], padding: tuple[int, int]) -> tuple[NDArray[Any], list[int]]:
    """The weight (outputs, 1, height, width) over blocks: (4 outputs, 4, ...), and the padding as ONNX has it.

    Group 2 i + j of the outputs is that of the convolution's outputs at (2 y + i, 2 x + j), channel 2 i + j the pixels
    there; a tap a rows below such an output's first pixel lies in the block (i + a - padding) // 2.
    """
    outputs, _, *kernel = weight.shape
    reach = [
        ((-pad) // BLOCK, (BLOCK - 1 + size - 1 - pad) // BLOCK) for size, pad in zip(kernel, padding, strict=True)
    ]
    wide = np.zeros((GROUPS * outputs, GROUPS, *(last - first + 1 for first, last in reach)), weight.dtype)
    for group, (i, j) in enumerate(product(range(BLOCK), repeat=2)):
        for a, b in product(*map(range, kernel)):
            (y, p), (x, q) = divmod(i + a - padding[0], BLOCK), divmod(j + b - padding[1], BLOCK)
            rows = slice(group * outputs, (group + 1) * outputs)
            wide[rows, BLOCK * p + q, y - reach[0][0], x - reach[1][0]] = weight[:, 0, a, b]
    return wide, [-first for first, _ in reach] * 2


def settings(node: Any) -> dict[str, Any]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def is_pool(given: dict[str, Any]) -> bool:
    """Whether a pooling is over blocks that do not overlap."""
    block = [BLOCK, BLOCK]
    return (
        given["kernel_shape"],
        given.get("strides"),
        set(given.get("pads", [0])),
        set(given.get("dilations", [1])),
    ) == (
        block,
        block,
        {0},
        {1},
    )
