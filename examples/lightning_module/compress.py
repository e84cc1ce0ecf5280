"""The project of classifier.py, compressed: 90 % of its weights zero, the others 8-bit, in its own Trainer."""

import gzip
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from classifier import digits, fit
from torch.utils.data import TensorDataset

from lcomp.export import export
from lcomp.tasks import ImageClassification
from lcomp.techniques.pruning import Pruning
from lcomp.techniques.quantization import QuantizationAwareTraining
from lcomp.techniques.technique import Technique, finalize


def accuracy(path: Path, test: TensorDataset) -> float:
    """Of the file as ONNX Runtime executes it, 0 to 1."""
    pixels, labels = test.tensors
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    [logits] = session.run(None, {"pixels": pixels.numpy()})
    return float(np.mean(logits.argmax(1) == labels.numpy()))


def main() -> None:
    torch.set_num_threads(1)
    train, test = digits()
    compressing: list[Technique] = [Pruning(sparsity=0.9, interval=10), QuantizationAwareTraining(bits=8)]
    for name, techniques in {"plain": [], "compressed": compressing}.items():
        module = fit(train, callbacks=list(techniques))
        network = finalize(module.network, techniques)
        path = Path(f"{name}.onnx")
        export(network, path, ImageClassification(num_classes=10, input_shape=(1, 28, 28)))
        size = len(gzip.compress(path.read_bytes(), mtime=0))
        print(f"{path}: accuracy {accuracy(path, test):.3f}, {size:,} bytes under gzip")


if __name__ == "__main__":
    main()
