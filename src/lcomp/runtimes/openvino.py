"""OpenVINO: reads the ONNX file itself, and has integer kernels wherever inputs and weights are integers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lcomp.errors import needing
from lcomp.runtimes.runtime import ReadsONNX, Session
from lcomp.tasks.split import Arrays

SETTINGS = {  # one thread, and float32 where nothing was quantized: bfloat16 is the default on some processors
    "INFERENCE_NUM_THREADS": 1,
    "NUM_STREAMS": 1,
    "PERFORMANCE_HINT": "LATENCY",
    "INFERENCE_PRECISION_HINT": "f32",
    "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,  # and activations that stay float are not rounded beside integer weights
}


class OpenVINO(ReadsONNX):
    """Runs the ONNX file, compiled for each batch size that it is asked with."""

    packages = ("openvino",)

    def session(self, path: Path) -> Session:
        with needing("openvino", "runtime=openvino"):
            import openvino

        core = openvino.Core()
        requests: dict[tuple[tuple[int, ...], ...], tuple[openvino.InferRequest, Arrays]] = {}

        def answer(inputs: Arrays) -> NDArray[np.float32]:
            shapes = tuple(values.shape for values in inputs.values())
            if shapes not in requests:
                model = core.read_model(path)
                model.reshape({name: list(values.shape) for name, values in inputs.items()})
                request = core.compile_model(model, "CPU", SETTINGS).create_infer_request()
                for name, values in inputs.items():
                    request.set_tensor(name, openvino.Tensor(np.zeros_like(values)))
                requests[shapes] = request, {name: request.get_tensor(name).data for name in inputs}
            request, tensors = requests[shapes]
            for name, values in inputs.items():
                tensors[name][...] = values
            request.infer()  # on tensors that were set: its own handling of arguments takes 76 microseconds and more
            outputs: NDArray[np.float32] = request.get_output_tensor().data.copy()
            return outputs

        return answer
