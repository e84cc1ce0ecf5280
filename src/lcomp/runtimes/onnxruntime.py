"""ONNX Runtime, the default."""

from __future__ import annotations

from pathlib import Path

from onnxruntime import InferenceSession, SessionOptions

from lcomp.runtimes.runtime import Runtime, Session


class ONNXRuntime(Runtime):
    """Runs the ONNX file itself."""

    packages = ("onnxruntime",)

    def session(self, path: Path) -> Session:
        run = inference_session(path).run
        return lambda pixels: run(None, {"pixels": pixels})[0]


def inference_session(path: Path) -> InferenceSession:
    """The artifact in ONNX Runtime, on one CPU thread."""
    options = SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Without VNNI, x64 kernels for uint8 x int8 saturate at 16 bits and change the logits; this picks exact ones.
    options.add_session_config_entry("session.x64quantprecision", "1")
    return InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
