"""Weights of an artifact, for pictures: histograms and masks."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import numpy_helper
from PIL import Image

from lcomp.record.untrusted import read_onnx

Weights = dict[str, NDArray[np.float32]]
BINS = 61
WIDEST = 512  # of a mask's picture; a wider one is folded into rows


def weights(path: Path) -> Weights:
    """The weights of the convolutions and linear layers of an artifact, by layer, as the numbers they stand for."""
    graph = read_onnx(path).graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in constants:
            integers, scale = constants[node.input[0]], constants[node.input[1]]
            if scale.size not in (1, *integers.shape[:1]):
                raise ValueError(f"{scale.size} scales beside {integers.shape} integers")
            shape = [-1] + [1] * (integers.ndim - 1) if scale.ndim else []
            constants[node.output[0]] = integers.astype(np.float32) * scale.reshape(shape)
    by_layer = {}
    for node in graph.node:
        if node.op_type in ("Conv", "Gemm", "MatMul") and node.input[1] in constants:
            name = next(
                (input_name for input_name in node.input if input_name.endswith(".bias")), node.name
            ).removesuffix(".bias")
            by_layer[name] = constants[node.input[1]].astype(np.float32)
    return by_layer


def histogram(before: Weights, after: Weights) -> dict[str, list[float]]:
    """Counts of both in the same bins, over all layers."""
    both = [np.concatenate([w.ravel() for w in side.values()]) for side in (before, after)]
    limit = max(float(np.abs(side).max()) for side in both) or 1.0
    edges = np.linspace(-limit, limit, BINS + 1)
    centres = (edges[:-1] + edges[1:]) / 2
    return {
        "centres": [round(float(c), 5) for c in centres],
        "before": [int(n) for n in np.histogram(both[0], edges)[0]],
        "after": [int(n) for n in np.histogram(both[1], edges)[0]],
    }


def mask(weight: NDArray[np.float32]) -> str:
    """A picture of which weights are not zero, a row per output, as a data URI: dark is kept, light is zero."""
    nonzero = (weight.reshape(len(weight), -1) != 0).astype(np.uint8)
    rows, columns = nonzero.shape
    folds = -(-columns // WIDEST)
    padded = np.pad(nonzero, ((0, 0), (0, folds * -(-columns // folds) - columns)))
    picture = padded.reshape(rows, folds, -1).transpose(1, 0, 2).reshape(rows * folds, -1)
    return data_uri(Image.fromarray(np.where(picture > 0, 30, 225).astype(np.uint8)).convert("P"))


def data_uri(picture: Image.Image) -> str:
    """A picture as it stands in a page."""
    stream = io.BytesIO()
    picture.save(stream, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
