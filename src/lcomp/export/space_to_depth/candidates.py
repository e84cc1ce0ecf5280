"""Where in a graph a convolution can work on blocks of pixels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, helper, numpy_helper

BLOCK = 2  # pixels of a block's side, and of the pooling's
MONOTONE = ("Relu", "Clip", "QuantizeLinear")  # a maximum may as well be taken after them
FUSED = (["MaxPool", "QuantizeLinear"], ["Relu", "MaxPool", "QuantizeLinear"])  # into one kernel for integers

Settings = dict[str, Any]  # of a node, as ONNX gives them


class Slot(NamedTuple):
    """An input of a node, by its place."""

    node: NodeProto
    place: int


@dataclass(frozen=True)
class FoldCandidate:
    """A convolution that can be rewritten, with what is around it.

    Attributes:
        reader: what reads its input first: a DequantizeLinear of its own, or itself.
        stored: what holds the weight: its floats, integers, or indices of shared values.
        per_channel: what holds a number for each output channel.
        behind: the nodes that follow it one after another, monotone ones and its pooling.
        padding: of height and width.
    """

    convolution: NodeProto
    reader: NodeProto
    stored: Slot
    per_channel: tuple[Slot, ...]
    followers: tuple[NodeProto, ...]
    padding: tuple[int, int]


class IndexedGraph:
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

    def first_candidate(self, exactly: bool) -> FoldCandidate | None:
        """The first convolution that `fold` can rewrite."""
        candidates = (
            self.candidate(node, exactly) for node in self.nodes if node.op_type == "Conv" and self.is_supported(node)
        )
        return next((candidate for candidate in candidates if candidate), None)

    def is_supported(self, node: NodeProto) -> bool:
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

    def candidate(self, node: NodeProto, exactly: bool) -> FoldCandidate | None:
        """What has to be known to rewrite a convolution that fits; None where that cannot be."""
        before, decode = (self.producers.get(node.input[slot]) for slot in (0, 1))
        integers = before is not None and before.op_type == "DequantizeLinear" and self.uses[before.output[0]] == 1
        stored, per_channel = Slot(node, 1), [Slot(node, 2)] if len(node.input) > 2 else []
        if decode is not None and self.uses[decode.output[0]] == 1:
            if decode.op_type == "DequantizeLinear" and not self.constants[decode.input[2]].any():
                stored = Slot(decode, 0)
                per_channel += [Slot(decode, 1), Slot(decode, 2)]
            elif decode.op_type == "Gather":  # by a Cast of indices, the first of which stands for a zero
                stored = Slot(self.producers[decode.input[1]], 0)
        behind = tuple(self.followers(node))
        kinds = [follower.op_type for follower in behind]
        held = all(follower.input[slot] in self.constants for follower, slot in (stored, *per_channel))
        exact = integers and stored.node.op_type == "DequantizeLinear" and kinds in FUSED
        if "MaxPool" not in kinds or not held or (exactly and not exact):
            return None
        pads = settings(node).get("pads", [0] * 4)
        reader = before if before is not None and integers else node
        return FoldCandidate(node, reader, stored, tuple(per_channel), behind, (pads[0], pads[1]))

    def followers(self, node: NodeProto) -> Iterator[NodeProto]:
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


def constants(graph: GraphProto) -> dict[str, NDArray[np.generic]]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}


def settings(node: NodeProto) -> Settings:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def is_pool(given: Settings) -> bool:
    """Whether a pooling is over blocks that do not overlap."""
    return (
        given["kernel_shape"] == given.get("strides") == [BLOCK, BLOCK]
        and set(given.get("pads", [0])) == {0}
        and set(given.get("dilations", [1])) == {1}
    )
