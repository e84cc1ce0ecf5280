"""Space-to-depth: a convolution that reads one channel, carried out at half the resolution on four.

Kernels for integers copy what is under a filter together channel by channel, and multiply four channels and more at
once; of a single one they use a quarter or less. So every 2x2 block of pixels becomes four channels, the four outputs
under a window of the pooling behind the convolution become four groups of channels, and the pooling becomes the maximum
over these groups. Each output is the same sum beside products with zero, so integers stay what they are. Makers of
accelerators advise it ("Use Space-to-depth transformation where possible", Qualcomm's HTP guidelines); the pooling that
goes into it is ours.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

log = logging.getLogger(__name__)
BLOCK = 2  # pixels of a block's side, and of the pooling's
GROUPS = BLOCK * BLOCK
MONOTONE = ("Relu", "Clip", "QuantizeLinear")  # a maximum may as well be taken after them
FUSED = (["MaxPool", "QuantizeLinear"], ["Relu", "MaxPool", "QuantizeLinear"])  # into one kernel for integers


def rewritten(artifact: Path) -> onnx.ModelProto:
    """The artifact with its convolutions of one channel rewritten; says so in the log where it has none."""
    model = onnx.load(artifact)
    if not fold(model):
        log.warning("%s: no convolution of one channel before a 2x2 max-pooling; deployed as it is", artifact)
    return model


def fold(model: onnx.ModelProto, exactly: bool = False) -> bool:
    """Rewrites every convolution that reads one channel and that a 2x2 max-pooling follows.

    Args:
        model: an export of lcomp, changed in place.
        exactly: leave alone what runtimes may compute with floats, whose sums depend on their order.

    Returns:
        Whether there was such a convolution: of stride 1, even height and width before and after it.
    """
    found = False
    while place := Graph(model).first(exactly):
        rewrite(model.graph, place)
        found = True
    if found:
        onnx.checker.check_model(model, full_check=True)
    return found


@dataclass(frozen=True)
class Place:
    """A convolution that can be rewritten, with what is around it.

    Attributes:
        reader: what reads its input first: a DequantizeLinear of its own, or itself.
        stored: the node and the input of it that hold the weight: its floats, integers, or indices of shared values.
        per_channel: the nodes and inputs that hold a number for each output channel.
        behind: the nodes that follow it one after another, monotone ones and its pooling.
        padding: of height and width.
    """

    convolution: Any
    reader: Any
    stored: tuple[Any, int]
    per_channel: tuple[tuple[Any, int], ...]
    behind: tuple[Any, ...]
    padding: tuple[int, int]


class Graph:
    """A model's graph, by names."""

    def __init__(self, model: onnx.ModelProto):
        self.nodes = model.graph.node
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
        values = (*inferred.value_info, *inferred.input, *inferred.output)
        self.shapes = {v.name: [size.dim_value for size in v.type.tensor_type.shape.dim] for v in values}
        self.constants = constants(model.graph)
        self.producers = {name: node for node in self.nodes for name in node.output}
        self.readers = {name: node for node in self.nodes for name in node.input}
        self.uses = Counter(name for node in self.nodes for name in node.input)
        self.uses.update(value.name for value in model.graph.output)

    def first(self, exactly: bool) -> Place | None:
        """The first convolution that `fold` can rewrite."""
        places = (self.place(node, exactly) for node in self.nodes if node.op_type == "Conv" and self.fits(node))
        return next((place for place in places if place), None)

    def fits(self, node: Any) -> bool:
        """Whether a convolution reads one channel, at stride 1, and has even sizes on both sides."""
        given = settings(node)
        sizes = [size for name in (node.input[0], node.output[0]) for size in self.shapes.get(name, [])[2:]]
        pads = given.get("pads", [0] * 4)
        return (
            len(sizes) == 4
            and all(size and size % BLOCK == 0 for size in sizes)
            and self.shapes[node.input[0]][1] == 1
            and set(given.get("strides", [1])) == set(given.get("dilations", [1])) == {1}
            and given.get("auto_pad", b"NOTSET") == b"NOTSET"
            and pads[:2] == pads[2:]
        )

    def place(self, node: Any, exactly: bool) -> Place | None:
        """What has to be known to rewrite a convolution that fits; None where that cannot be."""
        before, decode = (self.producers.get(node.input[slot]) for slot in (0, 1))
        integers = before is not None and before.op_type == "DequantizeLinear" and self.uses[before.output[0]] == 1
        stored, per_channel = (node, 1), [(node, 2)] if len(node.input) > 2 else []
        if decode is not None and self.uses[decode.output[0]] == 1:
            if decode.op_type == "DequantizeLinear" and not self.constants[decode.input[2]].any():
                stored = (decode, 0)
                per_channel += [(decode, 1), (decode, 2)]
            elif decode.op_type == "Gather":  # by a Cast of indices, the first of which stands for a zero
                stored = (self.producers[decode.input[1]], 0)
        behind = tuple(self.behind(node))
        kinds = [other.op_type for other in behind]
        held = all(other.input[slot] in self.constants for other, slot in (stored, *per_channel))
        exact = integers and stored[0].op_type == "DequantizeLinear" and kinds in FUSED
        if "MaxPool" not in kinds or not held or (exactly and not exact):
            return None
        pads = settings(node).get("pads", [0] * 4)
        return Place(node, before if integers else node, stored, tuple(per_channel), behind, (pads[0], pads[1]))

    def behind(self, node: Any) -> Iterator[Any]:
        """The nodes that follow one another behind `node`: monotone ones, one pooling, up to a quantizer."""
        pooled = False
        while self.uses[node.output[0]] == 1 and node.output[0] in self.readers:
            node = self.readers[node.output[0]]
            if node.op_type == "MaxPool" and not pooled and is_pool(settings(node)):
                pooled = True
            elif node.op_type not in MONOTONE or not all(self.is_number(name) for name in node.input[1:] if name):
                return
            yield node
            if node.op_type == "QuantizeLinear":
                return

    def is_number(self, name: str) -> bool:
        return name in self.constants and self.constants[name].size == 1


def rewrite(graph: Any, place: Place) -> None:
    """Makes `place` what the module's first lines describe."""
    arrays, convolution = constants(graph), place.convolution

    def give(node: Any, slot: int, array: NDArray[Any]) -> None:
        name = f"{node.output[0]}.{slot}.widened"
        graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        node.input[slot] = name

    stored, slot = place.stored
    weight, pads = widened(arrays[stored.input[slot]], place.padding)
    give(stored, slot, weight)
    for node, slot in place.per_channel:
        if arrays[node.input[slot]].ndim:
            give(node, slot, np.tile(arrays[node.input[slot]], GROUPS))
    kept = [attribute for attribute in convolution.attribute if attribute.name not in ("kernel_shape", "pads")]
    del convolution.attribute[:]
    own = [helper.make_attribute("kernel_shape", weight.shape[2:]), helper.make_attribute("pads", pads)]
    convolution.attribute.extend([*kept, *own])

    blocks = f"{convolution.output[0]}.blocks"
    before = helper.make_node("SpaceToDepth", [place.reader.input[0]], [blocks], blocksize=BLOCK)
    place.reader.input[0] = blocks
    end, last = place.behind[-1].output[0], convolution
    for node in place.behind:
        if node.op_type != "MaxPool":
            node.input[0], last = last.output[0], node
    if last.output[0] == end:
        last.output[0] = f"{end}.groups"
    groups = [f"{end}.{number}" for number in range(GROUPS)]
    split = helper.make_node("Split", [last.output[0]], groups, axis=1, num_outputs=GROUPS)
    nodes = list(graph.node)
    nodes.insert(nodes.index(place.reader), before)
    nodes.insert(nodes.index(place.behind[-1]) + 1, split)
    nodes.insert(nodes.index(split) + 1, helper.make_node("Max", groups, [end]))
    nodes.remove(next(node for node in place.behind if node.op_type == "MaxPool"))
    used = {name for node in nodes for name in node.input}
    tensors = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(tensors)


def widened(weight: NDArray[Any], padding: tuple[int, int]) -> tuple[NDArray[Any], list[int]]:
    """The weight (outputs, 1, height, width) over blocks: (4 outputs, 4, ...), and the padding as ONNX has it.

    Group 2 i + j of the outputs is that of the convolution's outputs at (2 y + i, 2 x + j), channel 2 i + j the pixels
    there; a tap a rows below such an output's first pixel lies in the block (i + a - padding) // 2.
    """
    outputs, _, *kernel = weight.shape
    reach = [((-pad) // BLOCK, (BLOCK + size - 2 - pad) // BLOCK) for size, pad in zip(kernel, padding, strict=True)]
    wide = np.zeros((GROUPS * outputs, GROUPS, *(last - first + 1 for first, last in reach)), weight.dtype)
    for group, (i, j) in enumerate(product(range(BLOCK), repeat=2)):
        for a, b in product(*map(range, kernel)):
            (y, p), (x, q) = divmod(i + a - padding[0], BLOCK), divmod(j + b - padding[1], BLOCK)
            rows = slice(group * outputs, (group + 1) * outputs)
            wide[rows, BLOCK * p + q, y - reach[0][0], x - reach[1][0]] = weight[:, 0, a, b]
    return wide, [-first for first, _ in reach] * 2


def constants(graph: Any) -> dict[str, NDArray[Any]]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}


def settings(node: Any) -> dict[str, Any]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def is_pool(given: dict[str, Any]) -> bool:
    """Whether a pooling is over blocks that do not overlap."""
    return (
        given["kernel_shape"] == given.get("strides") == [BLOCK, BLOCK]
        and set(given.get("pads", [0])) == {0}
        and set(given.get("dilations", [1])) == {1}
    )
