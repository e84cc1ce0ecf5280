"""What only moves numbers, or averages them, is written so that runtimes do it with integers.

Between two quantized operators the exporter leaves DequantizeLinear -> MaxPool -> Pad -> Add. ONNX Runtime moves a
DequantizeLinear behind a MaxPool by itself, not behind a Pad, and then adds floats; it averages integers where it reads
GlobalAveragePool, not where it reads ReduceMean.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, helper, numpy_helper

Arrays = dict[str, NDArray[np.generic]]  # the constants of a graph, by name
MOVES = ("MaxPool", "Slice", "Identity", "Pad")


def decode_late(model: onnx.ModelProto) -> None:
    """Lets a Pad with zeros, and what moves numbers before it, work on integers: the DequantizeLinear that was before
    them comes behind. Zero is the integer of the zero point, so that every value stays what it was."""
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    producers = {name: node for node in model.graph.node for name in node.output}
    made: dict[str, list[NodeProto]] = {}  # by the output of the Pad whose place they take
    for pad in model.graph.node:
        path = list(moves_before(pad, producers)) if pad.op_type == "Pad" else []
        decode = producers.get(path[-1].input[0]) if path else None
        if decode is None or decode.op_type != "DequantizeLinear" or decode.input[0] in constants:
            continue
        _, *scale = decode.input
        if constants[scale[0]].ndim or not pads_zeros(pad, constants):
            continue
        name, nodes = decode.input[0], []
        for node in reversed(path):
            own = NodeProto.FromString(node.SerializeToString())
            own.input[0], own.output[0] = name, f"{node.output[0]}.integers"
            own.name, name = own.output[0], own.output[0]
            if own.op_type == "Pad":
                own.input[:] = [*[*own.input, "", ""][:2], scale[1], *own.input[3:]]
            nodes.append(own)
        made[pad.output[0]] = [*nodes, helper.make_node("DequantizeLinear", [name, *scale], [pad.output[0]], pad.name)]
    if made:
        replace(model, made)


def moves_before(node: NodeProto, producers: dict[str, NodeProto]) -> Iterator[NodeProto]:
    """`node`, and what moves numbers before it, from the last to the first."""
    while node is not None and node.op_type in MOVES:
        yield node
        node = producers.get(node.input[0])  # type: ignore[assignment]


def pads_zeros(node: NodeProto, constants: Arrays) -> bool:
    modes = [helper.get_attribute_value(attribute) for attribute in node.attribute if attribute.name == "mode"]
    value = [*node.input, "", ""][2]
    return modes in ([], [b"constant"]) and (not value or constants.get(value) == 0)


def replace(model: onnx.ModelProto, made: dict[str, list[NodeProto]]) -> None:
    """Puts nodes in the place of those that make the named outputs, and drops what nothing reads any more."""
    nodes = [new for node in model.graph.node for new in made.get(node.output[0], [node])]
    outputs = [value.name for value in model.graph.output]
    while True:
        read = Counter([*outputs, *(name for node in nodes for name in node.input)])
        kept = [node for node in nodes if any(read[name] for name in node.output)]
        if len(kept) == len(nodes):
            break
        nodes = kept
    copies = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)
    constants = [tensor for tensor in model.graph.initializer if read[tensor.name]]
    del model.graph.initializer[:]
    model.graph.initializer.extend(constants)


def average_integers(model: onnx.ModelProto) -> None:
    """Calls the mean over rows and columns of what a DequantizeLinear makes GlobalAveragePool."""
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    decoded = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    made: dict[str, list[NodeProto]] = {}
    for node in model.graph.node:
        if node.op_type == "ReduceMean" and node.input[0] in decoded and len(node.input) > 1:
            given = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
            if sorted(constants[node.input[1]].tolist()) in ([2, 3], [-2, -1]):
                [value], [output], flat = node.input[:1], node.output, f"{node.output[0]}.shape"
                made[output] = [helper.make_node("GlobalAveragePool", [value], [output], node.name)]
                if not given.get("keepdims", 1):  # a Reshape, before which runtimes quantize; not a Flatten
                    model.graph.initializer.append(numpy_helper.from_array(np.array([0, -1], np.int64), flat))
                    made[output][0].output[0] = f"{output}.kept"
                    made[output].append(helper.make_node("Reshape", [f"{output}.kept", flat], [output]))
    if made:
        replace(model, made)
