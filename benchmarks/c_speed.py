"""LeNet-5 of 8-bit integers as C here, beside ONNX Runtime's fp32: an image at a time, one thread, interleaved.

python benchmarks/c_speed.py [ROUNDS]
"""

import sys
import time

import numpy as np
import onnxruntime
import torch
from torch import nn

from lcomp.c.compiling import Library, host, version
from lcomp.c.model import CModel, integer_network
from lcomp.c.reference import answer
from lcomp.packed.network import Network
from lcomp.techniques.quantization.integer_layers import IntegerWeight, QuantizedConv2d, QuantizedLinear

CALLS = 200


def layer(kind, of):
    """A layer whose weights are rounded to 8 bits, one scale for each output."""
    scale = of.weight.detach().abs().flatten(1).amax(1) / 127
    integers = torch.round(of.weight.detach() / scale.reshape(-1, *[1] * (of.weight.ndim - 1))).to(torch.int8)
    return kind(of, IntegerWeight(integers, scale), nn.Identity())


def lenet5() -> tuple[nn.Sequential, Network]:
    """The paper's LeNet-5 of random weights, of floats and of integers."""
    torch.manual_seed(0)
    convolutions = [nn.Conv2d(1, 6, 5), nn.Conv2d(6, 16, 5)]
    linears = [nn.Linear(256, 120), nn.Linear(120, 84), nn.Linear(84, 10)]
    steps: list[nn.Module] = []
    floats: list[nn.Module] = []
    for one in convolutions:
        steps += [layer(QuantizedConv2d, one), nn.ReLU(), nn.MaxPool2d(2)]
        floats += [one, nn.ReLU(), nn.MaxPool2d(2)]
    for which in (steps, floats):
        which.append(nn.Flatten())
    for number, linear in enumerate(linears):
        behind = [nn.ReLU()] if number < 2 else []
        steps += [layer(QuantizedLinear, linear), *behind]
        floats += [linear, *behind]
    return nn.Sequential(*floats), Network((1, 28, 28), 10, steps, [(n,) for n in range(len(steps))])


def main(rounds: int = 50) -> None:
    floats, integers = lenet5()
    floats.eval()
    random = np.random.default_rng(0)
    examples = random.random((50, 1, 28, 28), dtype=np.float32)
    network = integer_network(integers, examples)
    inputs = random.integers(0, 256, (CALLS, 28, 28, 1)).astype(np.uint8)
    library = Library(CModel(network, "plain", "LeNet-5", inputs, answer(network, inputs)).whole)
    assert np.array_equal(library.answer(inputs), answer(network, inputs))
    program = torch.onnx.export(floats, (torch.zeros(1, 1, 28, 28),), dynamo=True, verbose=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString(), options, ["CPUExecutionProvider"])
    name, given = session.get_inputs()[0].name, examples[:1]
    took: dict[str, list[float]] = {"C": [], "ONNX Runtime": []}
    for _ in range(rounds):
        begun = time.perf_counter()
        library.answer(inputs)
        took["C"].append((time.perf_counter() - begun) / CALLS)
        begun = time.perf_counter()
        for _ in range(CALLS):
            session.run(None, {name: given})
        took["ONNX Runtime"].append((time.perf_counter() - begun) / CALLS)
    best = {what: min(times) * 1e6 for what, times in took.items()}
    ratio = np.median([a / b for a, b in zip(*took.values(), strict=True)])
    print(f"{host()} {version(host())}: C {best['C']:.1f} us, ONNX Runtime {best['ONNX Runtime']:.1f} us")
    print(f"median ratio {ratio:.2f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
