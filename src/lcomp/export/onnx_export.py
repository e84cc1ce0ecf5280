"""A network becomes its artifact: one ONNX file."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import re
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn

from lcomp.errors import UserError
from lcomp.export.integer_moves import average_integers, decode_late
from lcomp.export.transposed_weights import store_transposed
from lcomp.models.blocks import Normalize, Subtract, folded_bias
from lcomp.record.causes import innermost_message
from lcomp.record.files import write_atomically
from lcomp.tasks import Task
from lcomp.techniques import layer_graph
from lcomp.techniques.quantization.integer_layers import GATHER, OPSET, CodedWeight, DynamicInput, Input

SINCE = "0.1.0"  # the release since which equal networks have equal artifacts, byte for byte; not the one that runs


def export(network: nn.Module, path: Path | str, task: Task, config_hash: str = "") -> None:
    """Writes `network` to `path` as ONNX: the task's named inputs to its outputs, any batch size.

    No external data, no debris of the exporter; metadata: what the task says, configuration hash, `SINCE`.

    Args:
        network: finalized, see `Technique.finalize`.
        path: the file, written whole or not at all.
        task: such as `ImageClassification(10, (1, 28, 28))`: inputs (batch, 1, 28, 28) to logits (batch, 10).
        config_hash: of the run that made the network.

    Raises:
        UserError: the exporter refuses the network.
    """
    network = fold_normalization(copy.deepcopy(network).cpu().eval())
    for module in network.modules():
        if isinstance(module, Input | DynamicInput | CodedWeight):
            module.exporting = True
    example = task.example_inputs(2)
    exporter_log = logging.getLogger("torch.onnx")
    level = exporter_log.level
    exporter_log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                network,
                tuple(example.values()),
                dynamo=True,
                external_data=False,
                opset_version=OPSET,
                input_names=list(example),
                output_names=[task.output],
                dynamic_shapes=(dict(enumerate(map(torch.export.Dim, task.dimensions))),) * len(example),
                verbose=False,
            )
    except Exception as error:  # whatever the exporter says of a user's network
        raise UserError(
            f"{type(network).__name__} cannot be exported: {innermost_message(error)}; write that with operations on "
            "tensors that ONNX has, without Python's branches on their values"
        ) from error
    finally:
        exporter_log.setLevel(level)
    assert program is not None
    model = strip(program.model_proto)
    decode_late(model)
    average_integers(model)
    store_transposed(model)
    name_weights(model)
    drop_signs_of_zeros(model)
    own_decoders(model)
    gather(model)
    said = {**task.metadata(), "config_hash": config_hash, "lcomp_version": SINCE}
    for key, value in said.items():
        model.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(model, full_check=True)
    write_atomically(Path(path), model.SerializeToString(deterministic=True))


def name_weights(model: onnx.ModelProto) -> None:
    """Calls what a layer's weight is stored as by that: `conv1.weight.integers`."""
    parts = re.compile(r"\.coded(?=\.(integers|scale|zero_point|codebook)$)")
    for tensor in model.graph.initializer:
        tensor.name = parts.sub(".weight", tensor.name)
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = parts.sub(".weight", name)


def drop_signs_of_zeros(model: onnx.ModelProto) -> None:
    """Makes every zero among the weights +0. The exporter folds batch norms into them, whose negative factors leave -0
    of what was pruned: another value for whatever compresses the file."""
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) > 1:
            values = onnx.numpy_helper.to_array(tensor)
            if (np.signbit(values) & (values == 0)).any():
                tensor.CopyFrom(onnx.numpy_helper.from_array(values + np.float32(0), tensor.name))


def own_decoders(model: onnx.ModelProto) -> None:
    """Gives every reader of integer weights a DequantizeLinear of its own, and that a zero point of its own. ONNX
    Runtime 1.32 converts weights and zero points of int8 in place, and fails ("Attempt to replace the existing tensor")
    on one that it meets twice; the exporter shares what is equal.

    Weights that a network uses in several places stand in the file once: from the second place on they are read through
    a Reshape to their own shape, which a runtime computes as it loads the file.
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    decoders = {
        node.output[0]: node
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in constants
    }
    read: set[str] = set()  # outputs of decoders, weights and zero points that are somebody's already
    nodes: list[onnx.NodeProto] = []
    for reader in model.graph.node:
        if reader.output[0] in decoders:
            continue  # stands before its reader
        for place, name in enumerate(reader.input):
            if name in decoders:
                nodes += decoder(model, decoders[name], read)
                reader.input[place] = nodes[-1].output[0]
        nodes.append(reader)
    made = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(made)


def decoder(model: onnx.ModelProto, shared: onnx.NodeProto, read: set[str]) -> list[onnx.NodeProto]:
    """`shared` for its first reader; for another one a copy, behind a Reshape where the weights were read before."""
    own = onnx.NodeProto.FromString(shared.SerializeToString())
    weight, _, zero_point = own.input
    made = [own]
    if weight in read:
        again = f"{weight}.again{sum(name.startswith(f'{weight}.again') for name in read)}"
        dims = next(tensor.dims for tensor in model.graph.initializer if tensor.name == weight)
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(dims, np.int64), f"{again}.shape"))
        made.insert(0, onnx.helper.make_node("Reshape", [weight, f"{again}.shape"], [again], again))
        read.add(again)
        own.input[0], own.output[0], own.name = again, f"{again}.decoded", f"{again}.decoded"
    if zero_point in read:
        zeros = model.graph.initializer.add()
        zeros.CopyFrom(next(tensor for tensor in model.graph.initializer if tensor.name == zero_point))
        zeros.name = own.input[2] = f"{own.input[0]}.zero_point"
    read |= {weight, own.input[2]}
    return made


def gather(model: onnx.ModelProto) -> None:
    """Replaces the stand-in of shared weights by Cast and Gather: a byte for each weight, and the codebook."""
    domain, _, name = GATHER.partition("::")
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if (node.domain, node.op_type) == (domain, name):
            codebook, integers = node.input
            indices = f"{node.output[0]}.indices"
            nodes.append(onnx.helper.make_node("Cast", [integers], [indices], to=onnx.TensorProto.INT32))
            nodes.append(onnx.helper.make_node("Gather", [codebook, indices], list(node.output), axis=0))
        else:
            nodes.append(node)
    opsets = [opset for opset in model.opset_import if opset.domain != domain]
    del model.graph.node[:], model.opset_import[:]
    model.graph.node.extend(nodes)
    model.opset_import.extend(opsets)


def strip(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without documentation, stack traces and inferred shapes: 35 KB of an 84 KB file otherwise."""
    del model.metadata_props[:], model.graph.metadata_props[:], model.graph.value_info[:]
    model.doc_string = model.graph.doc_string = ""
    for part in (*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.initializer):
        part.doc_string = ""
        del part.metadata_props[:]
    return model


@torch.no_grad()
def fold_normalization(network: nn.Module) -> nn.Module:
    """Folds the `Normalize` that takes the input into the layer it feeds, where that is exact: before a layer that pads
    zeros, which stand for the mean, the subtraction stays."""
    for name, source in layer_graph.normalized_layers(network).items():
        layer, normalize = network.get_submodule(name), network.get_submodule(source)
        assert isinstance(layer, nn.Conv2d | nn.Linear) and isinstance(normalize, Normalize)
        layer.weight.div_(normalize.std)
        if any(layer_graph.padding_amounts(layer)) and normalize.mean.any():
            layer_graph.replace_module(network, source, Subtract(normalize.mean))
        else:
            layer.bias = folded_bias(normalize, layer.weight, layer.bias)
            layer_graph.replace_module(network, source, nn.Identity())
    return network
