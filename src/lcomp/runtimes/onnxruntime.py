"""ONNX Runtime, the default."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnxruntime import InferenceSession, SessionOptions

from lcomp.export import space_to_depth
from lcomp.runtimes import integer_kernels
from lcomp.runtimes.runtime import ReadsONNX, Session


class ONNXRuntime(ReadsONNX):
    """Runs the ONNX file itself."""

    packages = ("onnxruntime",)

    def session(self, path: Path) -> Session:
        return session_function(inference_session(path))

    def session_for_many(self, path: Path) -> Session:
        model = onnx.load(path)
        folded = space_to_depth.fold(model, exactly=True)
        return session_function(inference_session(model.SerializeToString())) if folded else self.session(path)


def session_function(session: InferenceSession) -> Session:
    return lambda inputs: session.run(None, inputs)[0]


def inference_session(model: Path | bytes) -> InferenceSession:
    """An artifact, or the content of one, in ONNX Runtime, on one CPU thread."""
    options = SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if integer_kernels.saturate():  # which changes the logits; this picks exact ones, which are slower
        options.add_session_config_entry("session.x64quantprecision", "1")
    return InferenceSession(model, options, providers=["CPUExecutionProvider"])
