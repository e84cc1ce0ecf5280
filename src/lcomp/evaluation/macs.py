"""Multiply-accumulates of an ONNX graph's nodes: convolutions, products of matrices, recurrent layers, Einsum."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import onnx

Shape = Callable[[str], Sequence[int]]
CONVOLUTIONS = ("Conv", "ConvInteger")
PRODUCTS = ("MatMul", "MatMulInteger")
RECURRENT = ("LSTM", "GRU", "RNN")
UNCOUNTED = ("Attention", "DeformConv", "QLinearConv", "QLinearMatMul", "DFT", "Loop", "Scan", "If")


class Unknown(ValueError):
    """A node multiplies, and how often cannot be told."""


def of_node(node: onnx.NodeProto, shape: Shape) -> int:
    """Multiply-accumulates of one node; 0 for one that forms no sums of products.

    Args:
        shape: of a value, by name.

    Raises:
        Unknown: the node is of a kind that is not counted here.
    """
    given = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    if node.op_type in CONVOLUTIONS:  # of each output as many as a filter has weights
        return math.prod(shape(node.output[0])) * math.prod(shape(node.input[1])[1:])
    if node.op_type == "ConvTranspose":  # of each input, which is scattered
        return math.prod(shape(node.input[0])) * math.prod(shape(node.input[1])[1:])
    if node.op_type == "Gemm":
        return math.prod(shape(node.output[0])) * shape(node.input[0])[0 if given.get("transA") else -1]
    if node.op_type in PRODUCTS:
        return math.prod(shape(node.output[0])) * shape(node.input[0])[-1]
    if node.op_type in RECURRENT:  # at each step, those of the input and those of the state
        steps, batch = shape(node.input[0])[:2]
        return steps * batch * (math.prod(shape(node.input[1])) + math.prod(shape(node.input[2])))
    if node.op_type == "Einsum":
        return of_einsum(given["equation"].decode(), [shape(name) for name in node.input])
    if node.op_type in UNCOUNTED or node.domain not in ("", "ai.onnx"):
        raise Unknown(f"those of {node.op_type} are not counted")
    return 0


def of_einsum(equation: str, shapes: Sequence[Sequence[int]]) -> int:
    """Of two operands: the product of all sizes, less the axes that one of them sums away by itself."""
    if len(shapes) == 1:
        return 0
    operands, _, result = equation.replace(" ", "").partition("->")
    letters = operands.split(",")
    if len(shapes) != 2 or "..." in equation or "->" not in equation:
        raise Unknown(f"those of Einsum {equation} are not counted")
    pairs = zip(letters, shapes, strict=True)
    sizes = {letter: size for one, dims in pairs for letter, size in zip(one, dims, strict=True)}
    return math.prod(
        size for letter, size in sizes.items() if letter in result or all(letter in one for one in letters)
    )
