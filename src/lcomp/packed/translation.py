"""A graph on its way to the steps of a packed network."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, numpy_helper
from torch import Tensor, nn

from lcomp.errors import UserError
from lcomp.packed.layer_codec import Weight
from lcomp.packed.network import MOST_STEPS, Network, checked_shape, logit_count, output_shape

Arrays = dict[str, NDArray[np.generic]]  # the constants of a graph, by name


class Translation:
    """A graph on its way to a network.

    Args:
        length: of a sentence, whose inputs are token ids and their mask; None: it has one input, of a fixed shape.

    Attributes:
        mask: names that are computed of the mask, see `sentence_nodes`.
        constants: arrays by name.
        weights: what nodes decode from constants, by name.
        producers: the node behind each name.
        values: which step's output each name is, as in `Network`.
        moves: of integers, by the name of what they make: what they read, and their step.
        steps, sources: as in `Network`; `shapes` of the input and of what each step makes.
        levels: of quantizers below 8 bits, by the name of what they read: a Clip that is their bound.
    """

    def __init__(self, graph: GraphProto, length: int | None = None):
        self.nodes = graph.node
        self.constants: Arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        self.weights: dict[str, Weight] = {}
        self.moves: dict[str, tuple[str, nn.Module]] = {}
        self.producers = {name: node for node in graph.node for name in node.output}
        [given, *others], [self.logits] = graph.input, graph.output
        if length is None and others:
            raise UserError(f"{1 + len(others)} inputs, {', '.join(value.name for value in graph.input)}")
        if length is not None and len(others) != 1:
            raise UserError(f"sentences of {1 + len(others)} inputs, not of token ids and their mask")
        self.mask: dict[str, str] = {value.name: "mask" for value in others}
        self.values = {given.name: 0}
        self.steps: list[nn.Module] = []
        self.sources: list[tuple[int, ...]] = []
        sizes = tuple(dimension.dim_value for dimension in given.type.tensor_type.shape.dim[1:])
        self.shapes = [checked_shape(sizes if length is None else (1, 1, length))]
        self.levels: dict[str, int] = {}

    def network(self) -> Network:
        """What was translated, from the input to the logits."""
        self.go_to(self.values[self.logits.name])
        return Network(self.shapes[0], logit_count(self.shapes[-1]), self.steps, self.sources)

    def add(self, node: NodeProto, *steps: nn.Module, reads: str | None = None) -> None:
        """Appends steps, one behind another: the first reads what the node reads first, the last makes its output."""
        self.go_to(self.value(reads or node.input[0]))
        for step in steps:
            self.append(step, len(self.steps))
        self.values[node.output[0]] = len(self.steps)

    def append(self, step: nn.Module, *sources: int) -> None:
        if len(self.steps) == MOST_STEPS:
            raise UserError(f"more than {MOST_STEPS:,} steps")
        self.shapes.append(output_shape(step, [self.shapes[max(source, 0)] for source in sources]))
        self.steps.append(step)
        self.sources.append(sources)

    def go_to(self, value: int) -> None:
        """Makes an earlier value the last one."""
        if value != len(self.steps):
            self.append(nn.Identity(), value)

    def value(self, name: str) -> int:
        if name not in self.values:
            raise UserError(f"{name}, which is a constant where a computed value is expected")
        return self.values[name]

    def constant(self, name: str) -> NDArray[np.generic]:
        if name not in self.constants:
            raise UserError(f"{name}, which is computed where a constant is expected")
        return self.constants[name]

    def tensor(self, name: str) -> Tensor:
        return torch.from_numpy(np.array(self.constant(name)))

    def is_turned(self, weight: str) -> bool:
        """Whether a weight (inputs, outputs) is read by products of matrices alone."""
        readers = [node for node in self.nodes if weight in node.input]
        return all(node.op_type == "MatMul" and node.input[1] == weight for node in readers)

    def parameters(self, node: NodeProto) -> tuple[Weight, Tensor | None]:
        """The weight and the bias of a layer."""
        _, weight, *bias = node.input
        weight_values = self.weights[weight] if weight in self.weights else self.tensor(weight)
        return weight_values, self.tensor(bias[0]) if bias else None
