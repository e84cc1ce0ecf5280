"""What robustness=mnist_c costs in training epochs: its parts and LeNet-5's training steps in turns, in one process.

    LCOMP_DATA=... python benchmarks/robustness.py BASELINE.onnx ARTIFACT.onnx

Parts are timed on 1,000 images, in processor seconds, and the least of all rounds is scaled to full MNIST: fifteen
corruptions of 10,000 test and 6,000 validation images. A process draws them once, and a baseline is measured once.

Intel Xeon (AVX512-VNNI), two cores with much other work beside, artifacts of LeNet-5 in float and after
quant=qat: an epoch of 211 steps 4.4 s; drawing 2.3 s for the test split and 1.4 s for validation; inference on the test
split 2.6 s in float and 5.9 s in int8 (exact kernels), on validation six tenths of that; integrated gradients 0.5 s for
each network. So drawing and both inferences on the test split cost 1.7 epochs of a float artifact, 2.4 of an int8 one;
all of it, as a sweep's later run pays it, 1.2 and 2.4.
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
from lcomp.runtimes import ONNXRuntime

ROUNDS, STEPS, IMAGES, LOOKED_AT = 25, 211, 1_000, 25


def parts(paths, data):
    """What is timed, by name."""
    images, labels = data.test.images[:IMAGES], data.test.labels[:IMAGES]
    pixels, network = images.float() / 255, LeNet5()
    optimizer, clean = torch.optim.Adam(network.parameters(), fused=True), images_of((images.float() / 255).numpy())

    def step():
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(pixels[:256]), labels[:256]).backward()
        optimizer.step()

    found = {"step": step}
    found["draw"] = lambda: [corrupted(clean, name, PUBLISHED[name]) for name in CORRUPTIONS]
    for name, path in zip(("baseline", "artifact"), paths, strict=True):
        session = ONNXRuntime().session(path)
        found[name] = lambda session=session: accuracy(session, images.numpy(), labels.numpy())
    found["gradients"] = lambda: integrated_gradients(network, pixels[:LOOKED_AT], labels[:LOOKED_AT])
    return found


def main():
    torch.set_num_threads(1)
    seen = defaultdict(list)
    timed = parts([Path(path) for path in sys.argv[1:3]], MNISTDataModule(root=os.environ.get("LCOMP_DATA", "data")))
    for _ in range(ROUNDS):
        for name, part in timed.items():
            start = time.process_time()
            part()
            seen[name].append(time.process_time() - start)
    least = {name: min(values) for name, values in seen.items()}
    epoch, drawing, looks = least["step"] * STEPS, 10 * least["draw"], 100 / LOOKED_AT * least["gradients"]
    base, own = (150 * least[name] for name in ("baseline", "artifact"))
    print(f"seconds: epoch {epoch:.2f}; of the test split: draw {drawing:.2f}, baseline {base:.2f}, artifact {own:.2f}")
    print(f"integrated gradients of a network: {looks:.2f}")
    whole = 1.6 * (drawing + base + own) + 2 * looks
    for what, cost in (
        ("test split, drawn, both artifacts", drawing + base + own),
        ("all of it, first run", whole),
        ("all of it, a sweep's later run", 1.6 * own + 2 * looks),
    ):
        print(f"{what}: {cost / epoch:.2f} epochs")


if __name__ == "__main__":
    main()
