"""A convolution becomes an equal one over blocks of pixels."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, helper, numpy_helper

from lcomp.export.space_to_depth.candidates import BLOCK, FoldCandidate, constants

GROUPS = BLOCK * BLOCK


def rewrite(graph: GraphProto, candidate: FoldCandidate) -> None:
    """Makes `candidate` what the package's first lines describe."""
    arrays, convolution = constants(graph), candidate.convolution

    def give(node: NodeProto, slot: int, array: NDArray[np.generic]) -> None:
        name = f"{node.output[0]}.{slot}.widened"
        graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        node.input[slot] = name

    stored, slot = candidate.stored
    weight, pads = widened(arrays[stored.input[slot]], candidate.padding)
    give(stored, slot, weight)
    for node, slot in candidate.per_channel:
        if arrays[node.input[slot]].ndim:
            give(node, slot, np.tile(arrays[node.input[slot]], GROUPS))
    other_attributes = [
        attribute for attribute in convolution.attribute if attribute.name not in ("kernel_shape", "pads")
    ]
    del convolution.attribute[:]
    attributes = [helper.make_attribute("kernel_shape", weight.shape[2:]), helper.make_attribute("pads", pads)]
    convolution.attribute.extend([*other_attributes, *attributes])

    blocks = f"{convolution.output[0]}.blocks"
    before = helper.make_node("SpaceToDepth", [candidate.reader.input[0]], [blocks], blocksize=BLOCK)
    candidate.reader.input[0] = blocks
    end, last = candidate.followers[-1].output[0], convolution
    for node in candidate.followers:
        if node.op_type != "MaxPool":
            node.input[0], last = last.output[0], node
    if last.output[0] == end:
        last.output[0] = f"{end}.groups"
    groups = [f"{end}.{number}" for number in range(GROUPS)]
    split = helper.make_node("Split", [last.output[0]], groups, axis=1, num_outputs=GROUPS)
    nodes = list(graph.node)
    nodes.insert(nodes.index(candidate.reader), before)
    nodes.insert(nodes.index(candidate.followers[-1]) + 1, split)
    nodes.insert(nodes.index(split) + 1, helper.make_node("Max", groups, [end]))
    nodes.remove(next(node for node in candidate.followers if node.op_type == "MaxPool"))
    used = {name for node in nodes for name in node.input}
    tensors = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(tensors)


def widened(weight: NDArray[np.generic], padding: tuple[int, int]) -> tuple[NDArray[np.generic], list[int]]:
    """The weight (outputs, 1, height, width) over blocks: (4 outputs, 4, ...), and the padding as ONNX has it.

    Group 2 i + j of the outputs is that of the convolution's outputs at (2 y + i, 2 x + j), channel 2 i + j the pixels
    there; a tap a rows below such an output's first pixel lies in the block (i + a - padding) // 2.
    """
    outputs, _, *kernel = weight.shape
    ranges = [((-pad) // BLOCK, (BLOCK + size - 2 - pad) // BLOCK) for size, pad in zip(kernel, padding, strict=True)]
    wide = np.zeros((GROUPS * outputs, GROUPS, *(last - first + 1 for first, last in ranges)), weight.dtype)
    for group, (i, j) in enumerate(product(range(BLOCK), repeat=2)):
        for a, b in product(*map(range, kernel)):
            (y, p), (x, q) = divmod(i + a - padding[0], BLOCK), divmod(j + b - padding[1], BLOCK)
            rows = slice(group * outputs, (group + 1) * outputs)
            wide[rows, BLOCK * p + q, y - ranges[0][0], x - ranges[1][0]] = weight[:, 0, a, b]
    return wide, [-first for first, _ in ranges] * 2
