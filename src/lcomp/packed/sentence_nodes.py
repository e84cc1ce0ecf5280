"""Operators of an encoder's artifact that become the steps of `sentences`.

Lengths are free: what only computes a shape, splits values into heads or makes a bias of the mask is no step, and is
known by name until the operator comes that makes one.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from onnx import GraphProto, NodeProto

from lcomp.errors import UserError
from lcomp.packed.encoder_names import Heads, Known, Scores
from lcomp.packed.layer_codec import Weight, make_linear
from lcomp.packed.operations import as_typed
from lcomp.packed.sentences import MASK, MASKED, Attend, First, MaskedMean, Places, layer_norm, make_embedding
from lcomp.packed.stateless_operators import Settings
from lcomp.packed.translation import Translation
from lcomp.techniques.pruning.vocabulary import Renumbered, has_own, rows_of
from lcomp.techniques.quantization.integer_layers import IntegerWeight, SharedWeight


class Encoder(Translation):
    """A graph of an encoder on its way to a network.

    Args:
        length: of a sentence as long as is usual.
    """

    def __init__(self, graph: GraphProto, length: int):
        super().__init__(graph, length)
        self.known = Known(mask=self.mask)

    def translates(self, node: NodeProto, settings: Settings) -> bool:
        """Whether the node is one of those of encoders, and was seen to."""
        return any(rule(self, node, settings) for rule in RULES.get(node.op_type, ()))


def number(to: Encoder, name: str) -> float | None:
    """A constant of one number."""
    array = to.constants.get(name)
    return float(array.reshape(-1)[0]) if array is not None and array.size == 1 else None


def of_mask(to: Encoder, node: NodeProto, settings: Settings) -> bool:
    """What is computed of the mask alone."""
    known, kind = to.known.mask, to.known.mask.get(node.input[0])
    other = number(to, node.input[1]) if len(node.input) > 1 else None
    found = {
        "Cast": kind,
        "Unsqueeze": kind,
        "Sub": "mask - 1" if kind == "mask" and other == 1 else None,
        "Mul": "bias" if kind == "mask - 1" and other == MASKED else None,
        "ReduceSum": "sum" if kind == "mask" else None,
        "Max": "count" if kind == "sum" and other == 1 else None,
    }.get(node.op_type)
    if kind is None or found is None:
        return False
    known[node.output[0]] = found
    return True


def of_shapes(to: Encoder, node: NodeProto, settings: Settings) -> bool:
    """What counts examples, tokens and places."""
    if node.op_type not in ("Shape", "Squeeze", "Concat", "Range"):
        return False
    return not any(name in to.values and to.values[name] > 0 for name in node.input)


def look_up(to: Encoder, node: NodeProto, settings: Settings) -> bool:
    """Gather: of rows of a table, by ids or by places, or of the first token."""
    table, index = node.input
    by = to.producers.get(index)
    if table in to.constants and to.values.get(index) == 0 and to.constant(table).dtype in (np.int16, np.int32):
        to.known.renumbered[node.output[0]] = to.tensor(table).flatten()
        return True
    if table in to.constants and (reads_ids(to, index) or (by is not None and by.op_type == "Range")):
        to.known.rows[node.output[0]] = table, index
        if to.constants[table].dtype == np.float32 and to.constants[table].shape[1] > 1:
            embed(to, node, to.tensor(table), index)
        return True
    if table in to.constants and index in to.known.rows:  # of shared values
        to.known.rows[node.output[0]] = f"{table} of {to.known.rows[index][0]}", to.known.rows[index][1]
        return True
    if table in to.values and settings.get("axis", 0) == 1 and number(to, index) == 0:
        to.add(node, First())
        return True
    return False


def embed(to: Encoder, node: NodeProto, weight: Weight, index: str) -> None:
    layer, rows = make_embedding(weight), to.known.renumbered.get(index)
    if rows is not None and not torch.equal(rows_of(has_own(rows)), rows.long()):
        raise UserError("a look-up of tokens in another order")
    to.append(Renumbered(layer, rows) if rows is not None else layer if reads_ids(to, index) else Places(layer), 0)
    to.values[node.output[0]] = len(to.steps)


def reads_ids(to: Encoder, name: str) -> bool:
    """Whether these are the token ids, be it with other numbers."""
    return to.values.get(name) == 0 or name in to.known.renumbered


def renumber(to: Encoder, node: NodeProto, settings: Settings) -> bool:
    """Squeeze and Cast of token ids with other numbers."""
    if node.input[0] not in to.known.renumbered:
        return False
    to.known.renumbered[node.output[0]] = to.known.renumbered[node.input[0]]
    return True


def of_rows(to: Encoder, node: NodeProto, settings: Settings) -> bool:
    """What decodes rows of integers: Cast, then Mul with their scales; or Squeeze, of shared values."""
    rows = [to.known.rows.get(name) for name in node.input]
    first = rows[0]
    if first is None:
        return False
    if node.op_type in ("Cast", "Identity"):
        to.known.rows[node.output[0]] = first
    elif node.op_type == "Mul" and rows[1] is not None:
        embed(to, node, IntegerWeight(to.tensor(first[0]), to.tensor(rows[1][0])), first[1])
    elif node.op_type in ("Squeeze", "Reshape") and " of " in first[0]:
        codebook, _, table = first[0].partition(" of ")
        embed(to, node, SharedWeight(to.tensor(table), to.tensor(codebook).flatten()), first[1])
    else:
        return False
    return True


def split_heads(to: Encoder, node: NodeProto, settings: Settings) -> bool:
    """Reshape and Transpose: of a value into heads, and back."""
    given, output, known = node.input[0], node.output[0], to.known
    if node.op_type == "Reshape" and given in known.attended:
        to.values[output] = to.values[given]
        return True
    if node.op_type == "Reshape" and given in to.values and len(to.shapes[to.value(given)]) == 2:
        shape = to.producers.get(node.input[1])
        sizes = [number(to, name) for name in shape.input] if shape is not None else []
        if len(sizes) != 4 or sizes[2] is None or sizes[3] is None:
            return False
        known.heads[output] = Heads(given, int(sizes[2]))
        return sizes[2] * sizes[3] == to.shapes[to.value(given)][-1]
    if node.op_type == "Transpose" and given in known.heads:
        before = known.heads[given]
        known.heads[output] = before._replace(order=tuple(before.order[axis] for axis in settings["perm"]))
        return True
    if node.op_type == "Transpose" and given in known.attended and [*settings["perm"]] == [0, 2, 1, 3]:
        to.values[output] = to.values[given]
        known.attended.add(output)
        return True
    return False


def attend(to: Encoder, node: NodeProto, settings: Settings) -> bool:
    """MatMul, Mul, Add, Softmax and MatMul of heads."""
    known, output = to.known, node.output[0]
    first, second = [*node.input, ""][:2]
    if node.op_type == "MatMul" and first in known.heads and second in known.heads:
        known.scores[output] = Scores(known.heads[first], known.heads[second])
        return known.heads[first].order == (0, 2, 1, 3) and known.heads[second].order == (0, 2, 3, 1)
    scores = known.scores.get(first)
    if scores is None:
        return False
    if node.op_type == "MatMul" and second in known.heads and scores.masked:
        value = known.heads[second]
        names = (scores.query.value, scores.key.value, value.value)
        if value.order != (0, 2, 1, 3) or len({scores.query.heads, scores.key.heads, value.heads}) > 1:
            return False
        to.append(Attend(value.heads, as_typed(scores.scale)), *(to.value(name) for name in names), MASK)
        to.values[output] = len(to.steps)
        known.attended.add(output)
        return True
    factor = number(to, second) if node.op_type == "Mul" else None
    if factor is not None and not scores.masked:
        known.scores[output] = Scores(scores.query, scores.key, scores.scale * factor)
    elif node.op_type == "Add" and known.mask.get(second) == "bias":
        known.scores[output] = Scores(scores.query, scores.key, scores.scale, masked=True)
    elif node.op_type == "Softmax" and settings.get("axis", -1) in (-1, 3):
        known.scores[output] = scores
    else:
        return False
    return True


def linear(to: Encoder, node: NodeProto, settings: Settings) -> bool:
    """MatMul of a value and a weight, with the Add of a bias behind it."""
    if node.op_type == "Transpose" and node.input[0] in to.weights:
        to.weights[node.output[0]] = to.weights[node.input[0]]
        return True
    if node.op_type == "Add" and node.output[0] in to.values:  # the bias, already
        return True
    if node.op_type != "MatMul" or node.input[0] not in to.values:
        return False
    name = node.input[1]
    if name not in to.weights and name not in to.constants:
        return False
    weight = to.weights[name] if name in to.weights else to.tensor(name).T.contiguous()
    readers = [other for other in to.nodes if node.output[0] in other.input]
    outputs = len(weight.integers if not isinstance(weight, torch.Tensor) else weight)
    bias = [one for one in readers[0].input if one in to.constants] if readers[0].op_type == "Add" else []
    has_bias = len(readers) == 1 and bool(bias) and to.constants[bias[0]].shape == (outputs,)
    to.add(node, make_linear(weight, to.tensor(bias[0]) if has_bias else None))
    if has_bias:
        to.values[readers[0].output[0]] = len(to.steps)
    return True


def norm_of_sequences(to: Encoder, node: NodeProto, settings: Settings) -> bool:
    width = to.shapes[to.value(node.input[0])][-1]
    if settings.get("axis", -1) != -1 or len(node.input) != 3 or to.constant(node.input[1]).shape != (width,):
        raise UserError("a LayerNormalization of other axes than the last")
    weight, bias = (to.tensor(name) for name in node.input[1:])
    to.add(node, layer_norm(width, as_typed(settings.get("epsilon", 1e-5)), weight, bias))
    return True


def masked_mean(to: Encoder, node: NodeProto, settings: Settings) -> bool:
    """Mul with the mask, ReduceSum over the tokens, Div by their number."""
    known, output = to.known, node.output[0]
    first, second = [*node.input, ""][:2]
    if node.op_type == "Mul" and known.mask.get(second) == "mask" and first in to.values:
        known.masked[output] = first
    elif node.op_type == "ReduceSum" and first in known.masked and number(to, second) == 1:
        known.masked[output] = known.masked[first]
    elif node.op_type == "Div" and first in known.masked and known.mask.get(second) == "count":
        to.go_to(to.value(known.masked[first]))
        to.append(MaskedMean(), len(to.steps), MASK)
        to.values[output] = len(to.steps)
    else:
        return False
    return True


def of_constants(to: Encoder, node: NodeProto, settings: Settings) -> bool:
    """Unsqueeze of a table that the exporter finds too large to do so itself."""
    if node.input[0] not in to.constants:
        return False
    axes = tuple(int(axis) for axis in to.constant(node.input[1]))
    to.constants[node.output[0]] = np.expand_dims(to.constant(node.input[0]), axes)
    return True


Rule = Callable[[Encoder, NodeProto, Settings], bool]  # whether it has seen to the node
RULES: dict[str, tuple[Rule, ...]] = {
    "Shape": (of_shapes,),
    "Squeeze": (renumber, of_rows, of_shapes),
    "Concat": (of_shapes,),
    "Range": (of_shapes,),
    "Cast": (of_mask, of_rows, renumber),
    "Unsqueeze": (of_mask, of_constants),
    "Sub": (of_mask,),
    "Mul": (of_mask, of_rows, attend, masked_mean),
    "ReduceSum": (of_mask, masked_mean),
    "Max": (of_mask,),
    "Div": (masked_mean,),
    "Gather": (look_up,),
    "Reshape": (renumber, of_rows, split_heads),
    "Transpose": (linear, split_heads),
    "MatMul": (linear, attend),
    "Add": (linear, attend),
    "Softmax": (attend,),
    "LayerNormalization": (norm_of_sequences,),
}
