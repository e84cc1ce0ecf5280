"""What ONNX Runtime's kernels for uint8 x int8 do on this processor: asked of them, not of a list of processors."""

from __future__ import annotations

from functools import cache

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession, SessionOptions

CHANNELS, SIZE = 16, 8
LARGEST, LEAST = 127, -128  # of weights: with inputs of 255, two products in a row are more than 16 bits hold
CONVOLUTIONS = {"dense": (3, 1), "pointwise": (1, 1), "depthwise": (3, CHANNELS)}  # width of the filters, groups


@cache
def saturate() -> bool:
    """Whether sums of two products stop at 16 bits in any of the kernels, as they do without VNNI."""
    options = SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = InferenceSession(probe().SerializeToString(), options, providers=["CPUExecutionProvider"])
    inputs = {given.name: np.full(given.shape, 255, np.uint8) for given in session.get_inputs()}
    names = [given.name for given in session.get_outputs()]
    return any(
        not np.array_equal(found, expected(name, found))
        for name, found in zip(names, session.run(names, inputs), strict=True)
    )


def probe() -> onnx.ModelProto:
    """Convolutions, and products of one row and of several, whose sums are as large as they can be: all weights of the
    even outputs are the largest, those of the odd ones the least."""
    nodes, constants, outputs = [], [], []
    shared = {"one": np.float32(1), "zero": np.uint8(0), "middle": np.uint8(128)}
    constants += [numpy_helper.from_array(np.asarray(value), name) for name, value in shared.items()]
    for name, (width, groups) in CONVOLUTIONS.items():
        weights = signs() * np.ones((CHANNELS, CHANNELS // groups, width, width), np.int8)
        scale = np.float32(255 * LARGEST * weights[0].size / 100)  # of the output: 100 above the middle
        own = {"w": weights, "middle": np.asarray(np.int8(0)), "scale": np.asarray(scale)}
        constants += [numpy_helper.from_array(np.asarray(value), f"{name}_{key}") for key, value in own.items()]
        given = ["maps", "one", "zero", f"{name}_w", "one", f"{name}_middle", f"{name}_scale", "middle"]
        nodes.append(helper.make_node("QLinearConv", given, [name], group=groups))
        side = SIZE - width + 1
        outputs.append(helper.make_tensor_value_info(name, TensorProto.UINT8, [1, CHANNELS, side, side]))
    inputs = [helper.make_tensor_value_info("maps", TensorProto.UINT8, [1, CHANNELS, SIZE, SIZE])]
    for rows in (1, 8):
        inputs.append(helper.make_tensor_value_info(f"rows_{rows}", TensorProto.UINT8, [rows, 64]))
        constants.append(numpy_helper.from_array(np.tile(signs().ravel(), (64, 1)), f"matrix_{rows}"))
        nodes.append(helper.make_node("MatMulInteger", [f"rows_{rows}", f"matrix_{rows}"], [f"product_{rows}"]))
        outputs.append(helper.make_tensor_value_info(f"product_{rows}", TensorProto.INT32, [rows, CHANNELS]))
    graph = helper.make_graph(nodes, "probe", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def signs() -> NDArray[np.int8]:
    """The weight of each output, (CHANNELS, 1, 1, 1)."""
    return np.where(np.arange(CHANNELS) % 2, LEAST, LARGEST).astype(np.int8).reshape(-1, 1, 1, 1)


def expected(name: str, found: NDArray[np.generic]) -> NDArray[np.int64]:
    """The exact answer, of the shape of what was found."""
    weights = signs().astype(np.int64)
    if name.startswith("product"):
        return np.broadcast_to(255 * 64 * weights.ravel(), found.shape)
    scaled = np.round(100 * weights / LARGEST).astype(np.int64) + 128
    return np.broadcast_to(scaled.reshape(1, -1, 1, 1), found.shape)
