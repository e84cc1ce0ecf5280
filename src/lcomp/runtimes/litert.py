"""LiteRT (formerly TensorFlow Lite): its own file, with the artifact's integers, scales and zero points."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lcomp.errors import UserError, needing
from lcomp.packed.artifact import from_onnx
from lcomp.packed.network import Network
from lcomp.record.files import write_atomically
from lcomp.runtimes.runtime import Converting, Session
from lcomp.tasks.split import Arrays
from lcomp.techniques.quantization.integer_layers import CodedWeight, DynamicInput, Input, IntegerWeight

LEAST, MOST = -128, 127  # of int8, in which LiteRT has activations: those of ONNX, less 128


class LiteRT(Converting):
    """Converts the artifact with litert-torch; answers one example at a time, the batch that the file is made for.

    Args:
        space_to_depth: convert what `lcomp.export.space_to_depth` makes of the artifact.
    """

    packages = ("ai-edge-litert", "litert-torch")

    def __init__(self, space_to_depth: bool = False):
        self.space_to_depth = space_to_depth
        self.suffix = ".space_to_depth.tflite" if space_to_depth else ".tflite"

    def convert(self, artifact: Path, path: Path) -> None:
        decomposed_network(artifact, self.space_to_depth)  # what cannot be translated is said here
        # In a process of its own: the converter brings JAX along, sets loggers, and speaks to standard error.
        command = [sys.executable, "-m", "lcomp.runtimes.litert", str(artifact), str(path)]
        command += ["space_to_depth"] * self.space_to_depth
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            cause = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise UserError(f"{artifact}: litert-torch cannot translate it: {cause}")

    def session(self, path: Path) -> Session:
        with needing("litert", "runtime=litert"):
            from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(str(path), num_threads=1)
        interpreter.allocate_tensors()
        [read], [written] = interpreter.get_input_details(), interpreter.get_output_details()
        read_at, written_at = read["index"], written["index"]

        def run_one(example: NDArray[np.float32]) -> NDArray[np.float32]:
            interpreter.set_tensor(read_at, example)
            interpreter.invoke()
            outputs: NDArray[np.float32] = interpreter.get_tensor(written_at)
            return outputs

        def answer(inputs: Arrays) -> NDArray[np.float32]:
            [values] = inputs.values()  # a packed network has one input
            if len(values) == 1:
                return run_one(values)
            return np.concatenate([run_one(values[index : index + 1]) for index in range(len(values))])

        return answer


def decomposed_network(artifact: Path, rewritten: bool) -> Network:
    """The network of an artifact, or of what `lcomp.export.space_to_depth` makes of it, ready to be converted."""
    return with_decomposed_quantizers(from_onnx(artifact, rewritten))


def flatbuffer(network: Network) -> bytes:
    """The file of a network of floats and of decomposed quantizers."""
    with needing("litert", "runtime=litert"):
        import litert_torch
        from litert_torch.quantize.pt2e_quantizer import PT2EQuantizer, get_symmetric_quantization_config
        from litert_torch.quantize.quant_config import QuantConfig

    integers = PT2EQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    example = (torch.zeros(1, *network.input_shape),)
    content: bytes = litert_torch.convert(
        network, example, quant_config=QuantConfig(pt2e_quantizer=integers)
    ).model_content()
    return content


def with_decomposed_quantizers(network: Network) -> Network:
    """The network, its quantizers as the operators that litert-torch translates.

    Raises:
        UserError: a quantizer that measures each batch, which LiteRT has not.
    """
    for name, module in list(network.named_modules()):
        if isinstance(module, DynamicInput):
            raise UserError("runtime=litert: has no activations quantized by their own range; choose quant=static")
        if isinstance(module, Input):
            network.set_submodule(name, DecomposedInput(module, is_first=name == "steps.0"))
        elif isinstance(module, IntegerWeight):
            network.set_submodule(name, DecomposedWeight(module))
        elif isinstance(module, CodedWeight):
            network.set_submodule(name, FloatWeight(module()))
    return network


class DecomposedInput(nn.Module):
    """`Input` in quantized_decomposed operators.

    Args:
        is_first: a ReLU is before it, which changes no input of 0 or more: LiteRT would take int8 ones otherwise.
    """

    def __init__(self, quantizer: Input, is_first: bool):
        super().__init__()
        self.scale, self.zero_point = float(quantizer.scale), int(quantizer.zero_point) + LEAST
        self.highest = quantizer.highest if quantizer.levels < 255 else None
        self.is_first = is_first

    def forward(self, x: Tensor) -> Tensor:
        x = x.relu() if self.is_first else x
        x = x if self.highest is None else x.clamp(max=self.highest)
        grid = (self.scale, self.zero_point, LEAST, MOST, torch.int8)
        integers = torch.ops.quantized_decomposed.quantize_per_tensor(x, *grid)
        decoded: Tensor = torch.ops.quantized_decomposed.dequantize_per_tensor(integers, *grid)
        return decoded


class DecomposedWeight(nn.Module):
    """`IntegerWeight` in quantized_decomposed operators, which the converter folds back into the same integers."""

    def __init__(self, weight: IntegerWeight):
        super().__init__()
        self.register_buffer("weight", weight())
        self.register_buffer("scale", weight.scale)
        self.register_buffer("zero_point", weight.zero_point.long())

    def forward(self) -> Tensor:
        grid = (self.scale, self.zero_point, 0, LEAST + 1, MOST, torch.int8)
        integers = torch.ops.quantized_decomposed.quantize_per_channel(self.weight, *grid)
        decoded: Tensor = torch.ops.quantized_decomposed.dequantize_per_channel(integers, *grid)
        return decoded


class FloatWeight(nn.Module):
    """A weight that is what it is."""

    def __init__(self, weight: Tensor):
        super().__init__()
        self.register_buffer("weight", weight)

    def forward(self) -> Tensor:
        weight: Tensor = self.weight  # type: ignore[assignment]
        return weight


if __name__ == "__main__":
    source, target, *settings = sys.argv[1:]
    write_atomically(Path(target), flatbuffer(decomposed_network(Path(source), "space_to_depth" in settings)))
