"""An artifact's graph as steps: the operators that lcomp's exports are made of."""

from __future__ import annotations

from pathlib import Path

import onnx

from lcomp.errors import UserError
from lcomp.export import space_to_depth
from lcomp.packed.network import Network
from lcomp.packed.nodes import NODES, bounded
from lcomp.packed.sentence_nodes import Encoder
from lcomp.packed.stateless_operators import STATELESS
from lcomp.packed.translation import Translation
from lcomp.record import limits
from lcomp.record.untrusted import read_onnx


def from_onnx(path: Path, rewritten: bool = False) -> Network:
    """The network of an artifact, from its input to its logits.

    Args:
        rewritten: of what `lcomp.export.space_to_depth` makes of the artifact.

    Raises:
        UserError: an operator or a setting that has no place in a packed network.
    """
    model = space_to_depth.rewritten(path) if rewritten else read_onnx(path, limits.WHOLE, linked=True)
    try:
        onnx.checker.check_model(model)  # each node behind what it reads: without cycles
        stated = {entry.key: entry.value for entry in model.metadata_props}
        return translate_graph(model.graph, int(stated["length"]) if stated.get("length", "").isdecimal() else None)
    except onnx.checker.ValidationError as error:
        raise UserError(f"{path}: no whole ONNX model ({' '.join(str(error).split())[:200]})") from None
    except UserError as error:
        raise UserError(f"{path}: has no place in a packed network: {error}; docs/format.md lists what has") from None


def translate_graph(graph: onnx.GraphProto, length: int | None = None) -> Network:
    """The network of a graph, translated node by node.

    Args:
        length: of a sentence, where it reads sentences.
    """
    to = Translation(graph) if length is None else Encoder(graph, length)
    to.levels = bounded(to.nodes, to.producers, to.constants)
    for node in to.nodes:
        settings = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
        if isinstance(to, Encoder) and to.translates(node, settings):
            continue
        if node.op_type in NODES:
            NODES[node.op_type](to, node, settings)
        elif node.op_type in STATELESS:
            to.add(node, STATELESS[node.op_type](settings))
        else:
            raise UserError(f"the operator {node.op_type}")
    return to.network()
