"""Integer weights of matrix products, stored as these read them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
from onnx import numpy_helper


def store_transposed(model: onnx.ModelProto) -> None:
    """Transposes int8 weights that a DequantizeLinear decodes and a Transpose turns, as the exporter writes a linear
    layer of sequences: a runtime's integer products are of decoded weights, and few see through what turns these."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    readers = Counter(name for node in model.graph.node for name in node.input)
    decoders = {
        node.output[0]: node
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in constants and readers[node.input[0]] == 1
    }
    turned: dict[str, str] = {}
    for node in model.graph.node:
        decoder = decoders.get(node.input[0]) if node.op_type == "Transpose" else None
        if decoder is None or readers[decoder.output[0]] > 1 or [*node.attribute[0].ints] != [1, 0]:
            continue
        weight = constants[decoder.input[0]]
        weight.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(numpy_helper.to_array(weight).T), weight.name))
        for attribute in decoder.attribute:
            if attribute.name == "axis":
                attribute.i = 1 - attribute.i
        turned[node.output[0]] = decoder.output[0]
    kept = [node for node in model.graph.node if node.output[0] not in turned]
    for node in kept:
        node.input[:] = [turned.get(name, name) for name in node.input]
    made = [onnx.NodeProto.FromString(node.SerializeToString()) for node in kept]
    del model.graph.node[:]
    model.graph.node.extend(made)
