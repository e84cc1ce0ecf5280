"""Engines that run artifacts: each makes its own file of the ONNX artifact, and answers examples on one CPU thread."""

from lcomp.runtimes.c import C as C
from lcomp.runtimes.litert import LiteRT as LiteRT
from lcomp.runtimes.onnxruntime import ONNXRuntime as ONNXRuntime
from lcomp.runtimes.openvino import OpenVINO as OpenVINO
from lcomp.runtimes.runtime import Runtime as Runtime
from lcomp.runtimes.runtime import Session as Session
from lcomp.runtimes.torch import Torch as Torch
