"""Additions and average pooling of a network, and where the tensors that they read and make can be rounded.

A tensor is rounded once, at the boundary of a module: where it leaves the one that makes it, or enters one in which all
that adds or averages it lies. Whatever reads it then reads what was rounded, the next block's convolution too.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import fx, nn

from lcomp.techniques.layer_graph import LayerTracer, called_once, traced
from lcomp.techniques.layer_kinds import is_acted_on

ADDITIONS = (operator.add, operator.iadd, torch.add)
AVERAGES = (F.adaptive_avg_pool2d, F.avg_pool2d, torch.mean)
AVERAGING = (nn.AdaptiveAvgPool2d, nn.AvgPool2d)
RELUS = (*(("call_function", relu) for relu in (F.relu, F.relu6, torch.relu)), ("call_method", "relu"))
RELU_MODULES = (nn.ReLU, nn.ReLU6)
# What only moves values, or takes the largest: of rounded values it gives rounded ones.
MOVES = (operator.getitem, F.max_pool2d, torch.flatten)
MOVING_METHODS = ("view", "reshape", "flatten", "contiguous")
MOVING = (nn.Identity, nn.MaxPool2d, nn.Flatten, nn.Dropout, nn.Dropout2d)


class Boundary(NamedTuple):
    """Where a tensor can be rounded: as it comes out of a module, or goes into one.

    Attributes:
        module: its name.
        side: `input` or `output`.
        covered: the numbers of the nodes that read the tensor behind it.
    """

    module: str
    side: str
    covered: range


@dataclass(frozen=True)
class Operation:
    """An addition or an average pooling.

    Attributes:
        name: `layer1.0.add`, the one in the forward of `layer1.0`; of a pooling, its module, or `layer1.0.mean`.
        node: in the trace.
        averages: whether it is a pooling.
    """

    name: str
    node: fx.Node
    averages: bool

    @property
    def operands(self) -> list[fx.Node]:
        return [value for value in self.node.args[: 1 if self.averages else 2] if isinstance(value, fx.Node)]


@dataclass(frozen=True)
class Plan:
    """What to round so that additions and average pooling are of integers.

    Attributes:
        boundaries: one for each tensor that is rounded.
        readers: for each layer that reads such a tensor, the number of its boundary.
        left_float: why other additions stay as they are, by name.
    """

    boundaries: list[Boundary]
    readers: dict[str, int]
    left_float: dict[str, str]


def plan(network: nn.Module, layers: Collection[str], exclude: Collection[str] = ()) -> Plan:
    """Which tensors of `network` to round. Without an addition that can be of integers there are none: pooling alone
    stays float.

    Args:
        layers: names of the convolutions and linear layers whose inputs are rounded anyway.
        exclude: patterns of names, such as `layer1.*` or `*.add`, of what stays float.
    """
    tracer = traced(network)
    return Planner(network, tracer, layers, exclude).plan() if tracer else Plan([], {}, {})


def fits(network: nn.Module, pattern: str) -> bool:
    """Whether an addition or an average pooling has a name that fits `pattern`."""
    tracer = traced(network)
    operations = Planner(network, tracer, (), ()).operations if tracer else []
    return any(fnmatch(operation.name, pattern) for operation in operations)


class Planner:
    """A trace, and what it says of additions."""

    def __init__(self, network: nn.Module, tracer: LayerTracer, layers: Collection[str], exclude: Collection[str]):
        self.numbers = {node: number for number, node in enumerate(tracer.graph.nodes)}
        self.modules = {
            node: network.get_submodule(str(node.target)) for node in self.numbers if node.op == "call_module"
        }
        self.layers, self.once = layers, called_once(self.modules)
        times = Counter(call.name for call in tracer.calls)
        self.calls = [call for call in tracer.calls if times[call.name] == 1]
        self.weighted = {name for name, module in network.named_modules() if is_acted_on(module)}
        self.operations = [
            operation
            for node in self.numbers
            if (operation := self.operation(node)) and not any(fnmatch(operation.name, entry) for entry in exclude)
        ]

    def operation(self, node: fx.Node) -> Operation | None:
        """What `node` adds or averages."""
        if len(node.args) > 1 and node.op == "call_function" and node.target in ADDITIONS:
            tensors = [value for value in node.args[:2] if isinstance(value, fx.Node) and not is_number(value)]
            return Operation(self.name(node, "add"), node, False) if len(tensors) == 2 and not node.kwargs else None
        if node.op == "call_module" and isinstance(self.modules[node], AVERAGING):
            return Operation(str(node.target), node, True)
        function = node.op == "call_function" and node.target in AVERAGES
        if function or (node.op == "call_method" and node.target == "mean"):
            return Operation(self.name(node, "mean"), node, True)
        return None

    def name(self, node: fx.Node, kind: str) -> str:
        """Of what happens in the forward of a module: the innermost one that makes the node."""
        number = self.numbers[node]
        inner = min((c for c in self.calls if number in c.inside), key=lambda c: len(c.inside), default=None)
        return f"{inner.name}.{kind}" if inner else kind

    def plan(self) -> Plan:
        tensors: dict[fx.Node, Boundary | None] = {}  # those that operations read or make, where they can be rounded
        for operation in self.operations:
            for operand in operation.operands:
                tensors.setdefault(self.origin(operand))
            if not operation.averages:
                tensors.setdefault(self.result(operation.node))
        for tensor in tensors:
            tensors[tensor] = self.boundary(tensor)
        rounded, left_float = set(), {}
        for operation in (o for o in self.operations if not o.averages and self.is_of_use(o)):
            missing = self.missing(operation, tensors)
            if missing:
                left_float[operation.name] = missing
            else:
                rounded |= {self.origin(operand) for operand in operation.operands}
                rounded |= {tensor for tensor in [self.result(operation.node)] if tensors[tensor]}
        for operation in (o for o in self.operations if o.averages and rounded):
            if tensors[self.origin(operation.operands[0])] and self.is_read_by_layers(operation.node):
                rounded.add(self.origin(operation.operands[0]))
        chosen = [tensor for tensor in tensors if tensor in rounded]
        boundaries = [tensors[tensor] for tensor in chosen]
        return Plan([b for b in boundaries if b], dict(self.readers(chosen, tensors)), left_float)

    def is_of_use(self, addition: Operation) -> bool:
        """Whether a layer with rounded inputs or another operation reads the sum, so that integers go on; a softmax or
        a LayerNorm computes with floats."""
        operands = {value for operation in self.operations for value in operation.operands}

        def goes_on(node: fx.Node) -> bool:
            return node in operands or any(
                user.target in self.layers or (self.moves(user) and goes_on(user)) for user in node.users
            )

        return goes_on(self.result(addition.node))

    def missing(self, operation: Operation, tensors: dict[fx.Node, Boundary | None]) -> str:
        """Why an addition cannot be one of integers; empty where it can."""
        if not all(tensors[self.origin(operand)] for operand in operation.operands):
            return "what it adds is made and added in one module's forward; make it a module's output"
        result = self.result(operation.node)
        if not tensors[result] and not self.is_read_by_layers(result):
            return "its sum is not rounded, for neither a quantized layer nor a module reads it first"
        return ""

    def readers(self, chosen: list[fx.Node], tensors: dict[fx.Node, Boundary | None]) -> Iterator[tuple[str, int]]:
        """The layers that read a rounded tensor, and its number."""
        for node, _ in self.modules.items():
            given = (*node.args, None)[0]
            if node.target in self.layers and node.target in self.once and isinstance(given, fx.Node):
                first = self.path(given)
                boundary = tensors.get(first[-1]) if first[-1] in chosen else None
                reader = first[-2] if len(first) > 1 else node
                if boundary and self.numbers[reader] in boundary.covered:
                    yield str(node.target), chosen.index(first[-1])

    def path(self, node: fx.Node) -> list[fx.Node]:
        """`node`, what it moves, ... and the tensor whose values these are."""
        path = [node]
        while self.moves(path[-1]) and isinstance(path[-1].args[0], fx.Node):
            path.append(path[-1].args[0])
        return path

    def origin(self, node: fx.Node) -> fx.Node:
        return self.path(node)[-1]

    def moves(self, node: fx.Node) -> bool:
        """Whether a node gives values that it reads, and zeros, only."""
        if not node.args:
            return False
        if node.op == "call_module":
            return isinstance(self.modules[node], MOVING)
        if node.op == "call_method":
            return node.target in MOVING_METHODS
        if node.target is F.pad:
            mode, value = (*node.args[2:], "constant", None)[0], node.kwargs.get("value", (*node.args[3:], None)[0])
            return bool(node.kwargs.get("mode", mode) == "constant" and value in (None, 0))
        return node.op == "call_function" and node.target in MOVES

    def result(self, addition: fx.Node) -> fx.Node:
        """What becomes of a sum: the ReLU that alone reads it, or itself."""
        if len(addition.users) == 1:
            [user] = addition.users
            if user.op == "call_module" and isinstance(self.modules[user], RELU_MODULES):
                return user
            if (user.op, user.target) in RELUS:
                return user
        return addition

    def is_read_by_layers(self, node: fx.Node) -> bool:
        """Whether layers with rounded inputs alone read `node`, and something does."""
        return bool(node.users) and all(
            user.target in self.layers or (self.moves(user) and self.is_read_by_layers(user)) for user in node.users
        )

    def boundary(self, tensor: fx.Node) -> Boundary | None:
        """Where `tensor` can be rounded for every addition and pooling that reads it."""
        reading = set()
        for operation in self.operations:
            for operand in operation.operands:
                path = self.path(operand)
                if path[-1] is tensor:
                    reading.add(self.numbers[path[-2] if len(path) > 1 else operation.node])
        for boundary in self.candidates(tensor):
            if all(number in boundary.covered for number in reading):
                return boundary
        return None

    def candidates(self, tensor: fx.Node) -> Iterator[Boundary]:
        """The boundaries that the tensor passes: outputs from the innermost, then inputs from the outermost module."""
        for call in self.calls:
            if call.returned is tensor and self.numbers[tensor] in call.inside:
                yield Boundary(call.name, "output", range(call.inside.stop, len(self.numbers)))
        for call in sorted(self.calls, key=lambda c: -len(c.inside)):
            if call.given is tensor and call.name not in self.weighted:
                yield Boundary(call.name, "input", call.inside)


def is_number(node: fx.Node) -> bool:
    """Whether a node is a parameter, or a size, rather than a tensor that layers make."""
    return node.op == "get_attr" or node.target in ("size", "dim", getattr)
