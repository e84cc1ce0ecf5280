"""A network becomes its artifact: one ONNX file."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path

import onnx
import torch
from torch import nn

from lcomp import __version__, graph
from lcomp.causes import innermost
from lcomp.errors import UserError
from lcomp.files import write_atomically
from lcomp.models.layers import Normalize, folded_bias
from lcomp.techniques.quantization.layers import GATHER, OPSET, CodedWeight, DynamicInput, Input


def export(
    network: nn.Module, path: Path | str, input_shape: Sequence[int], classes: int, config_hash: str = ""
) -> None:
    """Writes `network` to `path` as ONNX: pixels (batch, *input_shape) in [0, 1] to logits, any batch size.

    No external data, no debris of the exporter; metadata: classes, configuration hash, version of lcomp.

    Args:
        network: finalized, see `Technique.finalize`.
        path: the file, written whole or not at all.
        input_shape: (channels, height, width) of an image.
        classes: how many logits there are.
        config_hash: of the run that made the network.

    Raises:
        UserError: the exporter refuses the network.
    """
    network = fold_normalization(copy.deepcopy(network).cpu().eval())
    for module in network.modules():
        if isinstance(module, Input | DynamicInput | CodedWeight):
            module.exporting = True
    example = torch.zeros(2, *input_shape)
    exporter_log = logging.getLogger("torch.onnx")
    level = exporter_log.level
    exporter_log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                network,
                (example,),
                dynamo=True,
                external_data=False,
                opset_version=OPSET,
                input_names=["pixels"],
                output_names=["logits"],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                verbose=False,
            )
    except Exception as error:  # whatever the exporter says of a user's network
        raise UserError(
            f"{type(network).__name__} cannot be exported: {innermost(error)}; write that with operations on tensors "
            "that ONNX has, without Python's branches on their values"
        ) from error
    finally:
        exporter_log.setLevel(level)
    assert program is not None
    model = strip(program.model_proto)
    own_zero_points(model)
    gather(model)
    for key, value in {
        "classes": json.dumps(classes),
        "config_hash": config_hash,
        "lcomp_version": __version__,
    }.items():
        model.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(model, full_check=True)
    write_atomically(Path(path), model.SerializeToString(deterministic=True))


def own_zero_points(model: onnx.ModelProto) -> None:
    """Gives every DequantizeLinear a zero point of its own: the exporter shares equal ones, and ONNX Runtime 1.32 then
    fails on processors without VNNI ("Attempt to replace the existing tensor") when asked for exact kernels."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    taken: set[str] = set()
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in constants:
            if node.input[2] in taken:
                own = model.graph.initializer.add()
                own.CopyFrom(constants[node.input[2]])
                own.name = node.input[2] = f"{node.input[0]}.zero_point"
            taken.add(node.input[2])


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
    """Folds the `Normalize` that takes the pixels into the layer it feeds, where that is exact."""
    for name, source in graph.foldable(network).items():
        layer, normalize = network.get_submodule(name), network.get_submodule(source)
        assert isinstance(layer, nn.Conv2d | nn.Linear) and isinstance(normalize, Normalize)
        layer.weight.div_(normalize.std)
        layer.bias = folded_bias(normalize, layer.weight, layer.bias)
        graph.replace(network, source, nn.Identity())
    return network
