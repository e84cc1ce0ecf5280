"""An artifact becomes figures: accuracy, size, latency, operations, memory."""

from __future__ import annotations

import gzip
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from onnxruntime import InferenceSession, SessionOptions
from torch import Tensor, nn

from lcomp.data.perturbations import perturb
from lcomp.techniques.quantization.layers import IntegerWeight

BATCH = 250
WARM_UP = 20


def session(path: Path) -> InferenceSession:
    """The artifact in ONNX Runtime, on one CPU thread."""
    options = SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Without VNNI, x64 kernels for uint8 x int8 saturate at 16 bits and change the logits; this picks exact ones.
    options.add_session_config_entry("session.x64quantprecision", "1")
    return InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


@dataclass(frozen=True)
class Split:
    """A whole split: pixels (N, C, H, W) float32 in [0, 1], labels (N,) int64."""

    pixels: NDArray[np.float32]
    labels: NDArray[np.int64]


def split_of(loader: Iterable[Sequence[Tensor]]) -> Split:
    """Every batch of a loader, in its order."""
    batches = [(batch[0].numpy(), batch[1].numpy()) for batch in loader]
    return Split(np.concatenate([b[0] for b in batches]), np.concatenate([b[1] for b in batches]))


def logits(artifact: InferenceSession, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """The artifact's logits (N, classes) for every image."""
    return np.concatenate([artifact.run(None, {"pixels": batch})[0] for batch in batches_of(pixels)])


def batches_of(pixels: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    return [pixels[start : start + BATCH] for start in range(0, len(pixels), BATCH)]


def accuracy_and_loss(values: NDArray[np.float32], labels: NDArray[np.int64]) -> tuple[float, float]:
    """Share of right answers (0 to 1) and mean cross-entropy (nats)."""
    wide = values.astype(np.float64)
    shifted = wide - wide.max(1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    loss = -log_probabilities[np.arange(len(labels)), labels].mean()
    return float((values.argmax(1) == labels).mean()), float(loss)


def sizes(path: Path) -> dict[str, int]:
    """Bytes of the file, and of the file gzip'd at level 9 with mtime 0."""
    content = path.read_bytes()
    return {"file_bytes": len(content), "gzip_bytes": len(gzip.compress(content, 9, mtime=0))}


def counts(path: Path) -> dict[str, Any]:
    """Operations and memory of one image, from the graph: multiply-accumulates of its convolutions and linear layers;
    weights plus the largest set of live activations, in bytes."""
    model = onnx.load(path)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    weights = {name: numpy_helper.to_array(tensor) for name, tensor in constants.items()}
    values = {value.name: value.type.tensor_type for value in (*graph.value_info, *graph.input, *graph.output)}

    for node in graph.node:  # a dequantized weight is a constant too: its integers count, its float copy does not
        if node.op_type == "DequantizeLinear" and node.input[0] in weights:
            constants[node.output[0]] = constants[node.input[0]]

    def shape(name: str) -> list[int]:
        if name in constants:
            return list(constants[name].dims)
        return [dimension.dim_value or 1 for dimension in values[name].shape.dim]

    def nbytes(name: str) -> int:
        item = onnx.helper.tensor_dtype_to_np_dtype(values[name].elem_type).itemsize
        return int(np.prod(shape(name), dtype=np.int64)) * item

    macs = 0
    for node in graph.node:
        if node.op_type in ("Conv", "Gemm", "MatMul"):
            weight = shape(node.input[1])
            outputs = int(np.prod(shape(node.output[0]), dtype=np.int64))
            transposed = any(a.name == "transB" and a.i for a in node.attribute)
            per_output = np.prod(weight[1:]) if node.op_type == "Conv" else weight[1] if transposed else weight[0]
            macs += outputs * int(per_output)

    last_use = {name: index for index, node in enumerate(graph.node) for name in node.input}
    last_use |= {value.name: len(graph.node) for value in graph.output}
    live = {value.name for value in graph.input}
    largest = 0
    for index, node in enumerate(graph.node):
        live |= set(node.output) - set(constants)
        largest = max(largest, sum(nbytes(name) for name in live if name in values))
        live = {name for name in live if last_use.get(name, -1) > index}
    return {"macs": macs, "memory_bytes": sum(w.nbytes for w in weights.values()) + largest}


def latencies(artifacts: Sequence[InferenceSession], pixels: NDArray[np.float32], runs: int) -> list[dict[str, float]]:
    """Latency of each artifact, their calls interleaved: batch 1 (median and 90th percentile, microseconds) and the
    whole set in batches of 250 (median of three passes, seconds)."""
    one = pixels[:1]
    single: list[list[float]] = [[] for _ in artifacts]
    for turn in range(WARM_UP + runs):
        for artifact, seen in zip(artifacts, single, strict=True):
            start = time.perf_counter_ns()
            artifact.run(None, {"pixels": one})
            if turn >= WARM_UP:
                seen.append((time.perf_counter_ns() - start) / 1e3)
    batches = batches_of(pixels)
    whole: list[list[float]] = [[] for _ in artifacts]
    for _ in range(3):
        for artifact, seen in zip(artifacts, whole, strict=True):
            start = time.perf_counter_ns()
            for batch in batches:
                artifact.run(None, {"pixels": batch})
            seen.append((time.perf_counter_ns() - start) / 1e9)
    return [
        {
            "latency_us_p50": float(np.percentile(first, 50)),
            "latency_us_p90": float(np.percentile(first, 90)),
            "test_set_seconds": float(np.median(second)),
        }
        for first, second in zip(single, whole, strict=True)
    ]


def quality(artifact: InferenceSession, validation: Split, test: Split) -> dict[str, float]:
    """Accuracy on both splits and the loss on the test split."""
    val_accuracy, _ = accuracy_and_loss(logits(artifact, validation.pixels), validation.labels)
    test_accuracy, test_loss = accuracy_and_loss(logits(artifact, test.pixels), test.labels)
    return {"val_accuracy": val_accuracy, "test_accuracy": test_accuracy, "test_loss": test_loss}


def robustness(artifact: InferenceSession, perturbed: Mapping[str, Split]) -> dict[str, float]:
    """Accuracy on each perturbed split, as `accuracy/<key>`."""
    return {
        f"accuracy/{key}": accuracy_and_loss(logits(artifact, split.pixels), split.labels)[0]
        for key, split in perturbed.items()
    }


def perturbed(test: Split, evaluated: Mapping[str, tuple[str, int]]) -> dict[str, Split]:
    """The test split under each evaluated perturbation (key to name and severity), the same draw for every run."""
    found = {}
    for key, (name, severity) in evaluated.items():
        batches = torch.from_numpy(test.pixels).split(1_000)
        changed = [perturb(batch, {name: severity}, number) for number, batch in enumerate(batches)]
        found[key] = Split(torch.cat(changed).numpy(), test.labels)
    return found


@torch.no_grad()
def fidelity(artifact: InferenceSession, network: nn.Module, pixels: NDArray[np.float32]) -> dict[str, float]:
    """How well the artifact gives the network's answers, on the same batches: share of equal predictions, largest
    difference of a logit."""
    own = logits(artifact, pixels)
    network.eval()
    batches = [network(torch.from_numpy(batch)).numpy() for batch in batches_of(pixels)]
    expected = np.concatenate(batches)
    return {
        "agreement": float((own.argmax(1) == expected.argmax(1)).mean()),
        "logit_difference": float(np.abs(own - expected).max()),
    }


def weights(network: nn.Module) -> dict[str, float]:
    """Parameters (integer weights too), those that are not zero, and the share of zeros among the weights of layers."""
    matrices: list[Tensor] = []
    others: list[Tensor] = []
    for module in network.modules():
        if isinstance(module, IntegerWeight):
            matrices.append(module.integers)
        for parameter in module.parameters(recurse=False):
            (matrices if parameter.dim() > 1 else others).append(parameter.detach())
    zeros = sum(t.numel() - int(t.count_nonzero()) for t in matrices)
    return {
        "parameters": sum(t.numel() for t in matrices + others),
        "nonzero_parameters": sum(int(t.count_nonzero()) for t in matrices + others),
        "sparsity": zeros / sum(t.numel() for t in matrices),
    }
