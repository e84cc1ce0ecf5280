"""What robustness=mnist_c costs in training epochs, in one process.

    LCOMP_DATA=... python benchmarks/robustness.py BASELINE.onnx ARTIFACT.onnx

Its parts are timed in turns on 1,000 images, in processor seconds, and the least of all rounds is scaled to full MNIST:
fifteen corruptions of 10,000 test and 6,000 validation images. A process draws them once, and a baseline is measured
once. An epoch is one of Trainer.fit, validation included, of LeNet-5 in float and under quant=qat; the least of three.

Intel Xeon (AVX512-VNNI), two cores with other work beside, artifacts of LeNet-5 in float and after quant=qat: an epoch
3.6 s in float, 5.8 s of qat; drawing the test split 2.0 s, inference on it 2.2 s in float and 5.0 s in int8 (exact
kernels), validation six tenths of that; integrated gradients 0.4 s for each network. So drawing and both inferences on
the test split cost a float artifact 1.75 epochs, an int8 one 1.6 to 1.7 epochs of qat, 2.5 in float; all of it, as a
sweep's later run pays it, 1.2, 1.5 and 2.5.
"""

import os
import sys
import time
from collections import defaultdict
from pathlib import Path

import torch

from lcomp.attributions import integrated_gradients
from lcomp.corrupted import corrupted, images_of
from lcomp.data import MNISTDataModule
from lcomp.data.mnist_c import CORRUPTIONS, PUBLISHED
from lcomp.mnist_c import accuracy
from lcomp.models import LeNet5
from lcomp.modules import BaselineModule
from lcomp.runtimes import ONNXRuntime
from lcomp.techniques.quantization import QuantizationAwareTraining
from lcomp.training import fit

ROUNDS, IMAGES, LOOKED_AT = 25, 1_000, 25


def parts(paths, data):
    """What is timed, by name."""
    images, labels = data.test.images[:IMAGES], data.test.labels[:IMAGES]
    pixels, network = images.float() / 255, LeNet5()
    clean = images_of(pixels.numpy())
    found = {"draw": lambda: [corrupted(clean, name, PUBLISHED[name]) for name in CORRUPTIONS]}
    for name, path in zip(("baseline", "artifact"), paths, strict=True):
        session = ONNXRuntime().session(path)
        found[name] = lambda session=session: accuracy(session, images.numpy(), labels.numpy())
    found["gradients"] = lambda: integrated_gradients(network, pixels[:LOOKED_AT], labels[:LOOKED_AT])
    return found


def epochs(data):
    """An epoch of each kind of training, by name."""

    def epoch(*techniques):
        return lambda: fit(BaselineModule(LeNet5(), techniques), data, 1, 0, False)

    return {"float": epoch(), "qat": epoch(QuantizationAwareTraining(8))}


def least(timed, rounds):
    """Processor seconds of each, called in turns."""
    seen = defaultdict(list)
    for _ in range(rounds):
        for name, part in timed.items():
            start = time.process_time()
            part()
            seen[name].append(time.process_time() - start)
    return {name: min(values) for name, values in seen.items()}


def main():
    torch.set_num_threads(1)
    data = MNISTDataModule(root=os.environ.get("LCOMP_DATA", "data"))
    training = least(epochs(data), 3)
    found = least(parts([Path(path) for path in sys.argv[1:3]], data), ROUNDS)
    drawing, looks = 10 * found["draw"], 100 / LOOKED_AT * found["gradients"]
    base, own = (150 * found[name] for name in ("baseline", "artifact"))
    print(f"seconds of an epoch: float {training['float']:.2f}, qat {training['qat']:.2f}")
    print(f"seconds the test split: draw {drawing:.2f}, baseline {base:.2f}, artifact {own:.2f}")
    print(f"integrated gradients of a network: {looks:.2f}")
    whole = 1.6 * (drawing + base + own) + 2 * looks
    for what, cost in (
        ("test split, drawn, both artifacts", drawing + base + own),
        ("all of it, first run", whole),
        ("all of it, a sweep's later run", 1.6 * own + 2 * looks),
    ):
        print(f"{what}: {cost / training['float']:.2f} epochs in float, {cost / training['qat']:.2f} of qat")


if __name__ == "__main__":
    main()
