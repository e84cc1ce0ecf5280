"""What is inside an artifact, for the tests."""

from collections import Counter
from pathlib import Path

import onnx
import onnxruntime
from onnx import numpy_helper


def operators(path: Path) -> Counter:
    """How often each operator stands in the file's graph."""
    return Counter(node.op_type for node in onnx.load(path).graph.node)


def optimized(path: Path) -> Counter:
    """How often each operator stands in the graph that ONNX Runtime makes of the file."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.optimized_model_filepath = str(path.with_suffix(".optimized.onnx"))
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return operators(Path(options.optimized_model_filepath))


def initializers(path: Path) -> dict:
    """The file's constants as arrays."""
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}


def integer_weights(path: Path) -> list:
    """The 8-bit constants of more than one dimension: int8 weights, or uint8 indices of shared ones."""
    return [array for array in initializers(path).values() if array.dtype.itemsize == 1 and array.ndim > 1]


def logits(path: Path, pixels):
    """What ONNX Runtime answers, with exact integer kernels."""
    from lcomp.evaluation import measurement
    from lcomp.runtimes import ONNXRuntime

    return measurement.artifact_outputs(ONNXRuntime().session(path), {"pixels": pixels})
