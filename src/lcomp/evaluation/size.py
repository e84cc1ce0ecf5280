"""How large: bytes, parameters, operations and memory of an artifact and its network."""

from __future__ import annotations

import gzip
import logging
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from lcomp import packed
from lcomp.errors import UserError
from lcomp.evaluation import macs
from lcomp.evaluation.figures import FileSize, GraphSize, NetworkSize
from lcomp.packed import state_codec
from lcomp.techniques.inspection import used_tensors
from lcomp.techniques.pruning.adaptive import pq_index
from lcomp.techniques.quantization.integer_layers import CodedWeight

log = logging.getLogger(__name__)
LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")  # operators whose second input may be a weight


def of_file(path: Path, packed_bytes: int | None = None) -> FileSize:
    """The file's size, beside that of its packed form."""
    content = path.read_bytes()
    return FileSize(len(content), len(gzip.compress(content, 9, mtime=0)), packed_bytes)


def of_packed(path: Path, version: int = 1) -> int | None:
    """Bytes of the artifact's packed form, which this leaves beside it; None, and a line in the log, where it has an
    operator without a place in one."""
    target = path.with_suffix(packed.SUFFIX)
    try:
        packed.pack(path, target, version)
    except UserError as error:
        log.warning("no packed_bytes: %s", error)
        return None
    return target.stat().st_size


def of_graph(path: Path) -> GraphSize:
    """Operations and memory of one example, of the lengths that the metadata state, and the share of zeros, from the
    graph; a line in the log where operations cannot be told."""
    model = onnx.load(path)
    stated = {entry.key: entry.value for entry in model.metadata_props}
    for value in (*model.graph.input, *model.graph.output):
        first, *others = value.type.tensor_type.shape.dim
        first.dim_value = 1
        for size in others:
            if size.dim_param:
                size.dim_value = int(stated[size.dim_param])
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    weights = {name: numpy_helper.to_array(tensor) for name, tensor in constants.items()}
    values = inferred(graph)

    for node in graph.node:  # a decoded weight is a constant too: its integers count, its float copy does not
        stored = node.input[1 if node.op_type == "Gather" else 0] if node.input else ""
        if node.op_type in ("DequantizeLinear", "Cast", "Gather", "Reshape") and set(node.input) <= set(constants):
            constants[node.output[0]] = constants[stored]
    read = {name for node in graph.node if node.op_type in LAYERS for name in node.input[1:2] if name in constants}
    looked_up = {node.input[0] for node in graph.node if node.op_type == "Gather"}  # of embeddings; (rows, 1): scales
    read |= {name for name in looked_up if name in weights and math.prod(weights[name].shape[1:]) > 1}
    layers = {constants[name].name: numpy_helper.to_array(constants[name]) for name in read}
    if any(name not in values for node in graph.node for name in node.output if name and name not in constants):
        values |= observed(model)

    def shape(name: str) -> Sequence[int]:
        return constants[name].dims if name in constants else values[name][0]

    operations = None
    try:
        operations = sum(macs.of_node(node, shape) for node in graph.node)
    except macs.Unknown as error:
        log.warning("no macs: %s", error)

    last_use = {name: index for index, node in enumerate(graph.node) for name in node.input}
    last_use |= {value.name: len(graph.node) for value in graph.output}
    live = {value.name for value in graph.input}
    largest = 0
    for index, node in enumerate(graph.node):
        live |= set(node.output) - set(constants)
        largest = max(largest, sum(math.prod(values[name][0]) * values[name][1] for name in live if name in values))
        live = {name for name in live if last_use.get(name, -1) > index}
    copied = [node.input[0] for node in graph.node if node.op_type == "Reshape" and node.input[0] in weights]
    held = sum(weight.nbytes for weight in weights.values()) + sum(weights[name].nbytes for name in copied)
    zeros = sum(weight.size - int(np.count_nonzero(weight)) for weight in layers.values())
    sparsity = zeros / max(1, sum(weight.size for weight in layers.values()))
    return GraphSize(operations, held + largest, sparsity)


Values = dict[str, tuple[tuple[int, ...], int]]  # of a graph, by name: its shape, the bytes of one number


def inferred(graph: onnx.GraphProto) -> Values:
    """The values whose shapes follow from the graph alone."""
    found: Values = {}
    for value in (*graph.value_info, *graph.input, *graph.output):
        tensor = value.type.tensor_type
        if tensor.HasField("shape") and all(size.HasField("dim_value") for size in tensor.shape.dim):
            item = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).itemsize
            found[value.name] = tuple(size.dim_value for size in tensor.shape.dim), item
    return found


def observed(model: onnx.ModelProto) -> Values:
    """Every value that a node gives, from running the model on one empty example."""
    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    names = [name for node in model.graph.node for name in node.output if name]
    known = {value.name for value in model.graph.output}
    whole.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(whole.SerializeToString(), options, providers=["CPUExecutionProvider"])
    kinds = {value.name: value.type.tensor_type.elem_type for value in model.graph.input}
    empty = {
        given.name: np.zeros(given.shape, onnx.helper.tensor_dtype_to_np_dtype(kinds[given.name]))
        for given in session.get_inputs()
    }
    arrays = session.run(names, empty)
    return {name: (array.shape, array.itemsize) for name, array in zip(names, arrays, strict=True)}


def of_network(network: nn.Module, *example: Tensor) -> NetworkSize:
    """What the network's forward uses, in numbers and in bytes.

    Args:
        example: a batch to ask it with, input by input.
    """
    used = used_tensors(network, *example)
    coded = {id(m.integers): m for m in network.modules() if isinstance(m, CodedWeight) and id(m.integers) in used}
    own = [parameter.detach() for parameter in network.parameters() if id(parameter) in used]
    stored = [module.integers for module in coded.values()] + own
    matrices = [module() for module in coded.values()] + [parameter for parameter in own if parameter.dim() > 1]
    return NetworkSize(
        parameters=sum(t.numel() for t in stored),
        nonzero_parameters=sum(int(t.count_nonzero()) for t in stored),
        stream_bytes=len(state_codec.encode(network.state_dict())),
        pq_index=pq_index(torch.cat([one.detach().float().flatten() for one in matrices])) if matrices else None,
    )
