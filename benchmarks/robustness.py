"""What robustness=mnist_c costs in training epochs, in one process.

    LCOMP_DATA=... python benchmarks/robustness.py BASELINE.onnx ARTIFACT.onnx

An epoch of LeNet-5 (Trainer.fit, validation included), then the fifteen corruptions of the test split: drawing them,
the baseline's inference on them and the artifact's, each whole, one after another as in a run; processor seconds, the
least of three rounds. The baseline's is done once and kept in its cache; a process draws once. Validation images, which
a search chooses on, come to six tenths of that; integrated gradients are of 100 images.

Intel Xeon (AVX512-VNNI), nothing beside, LeNet-5 in float and int8, seconds: an epoch 3.4, drawing 1.7, the baseline
1.8, the artifact 1.9 in float and 2.6 in int8 (4.7 to 5.5 in the form of its file), gradients 0.4. In epochs: an
artifact 1.1 and 1.3; with its baseline, the first time, 1.6 and 1.8; where the images are drawn 0.6 and 0.8.
"""

import os
import sys
import time
from collections import defaultdict
from pathlib import Path

import torch

from lcomp.data import MNISTDataModule
from lcomp.data.corrupted_images import corrupted, hashed_images
from lcomp.data.mnist_c import CORRUPTIONS, PUBLISHED
from lcomp.evaluation.attributions import integrated_gradients
from lcomp.evaluation.image_corruptions import accuracy
from lcomp.models import LeNet5
from lcomp.modules import BaselineModule
from lcomp.runtimes import ONNXRuntime
from lcomp.training.fit import fit

ROUNDS, LOOKED_AT = 3, 100


def parts(baseline, artifact, data):
    """What is timed, by name, in the order of a run."""
    images, labels = data.test.images, data.test.labels
    pixels, network, drawn = images.float() / 255, LeNet5(), {}
    clean = hashed_images(pixels.numpy())

    def draw():
        drawn.update({name: corrupted(clean, name, PUBLISHED[name]) for name in CORRUPTIONS})

    def inference(path):
        session = ONNXRuntime().session_for_many(path)
        return lambda: [accuracy(session, changed, labels.numpy()) for changed in drawn.values()]

    return {
        "epoch": lambda: fit(BaselineModule(LeNet5()), data, 1, 0, False),
        "draw": draw,
        "baseline": inference(baseline),
        "artifact": inference(artifact),
        "gradients": lambda: integrated_gradients(network, pixels[:LOOKED_AT], labels[:LOOKED_AT]),
    }


def main():
    torch.set_num_threads(1)
    seen = defaultdict(list)
    timed = parts(*map(Path, sys.argv[1:3]), MNISTDataModule(root=os.environ.get("LCOMP_DATA", "data")))
    for _ in range(ROUNDS):
        for name, part in timed.items():
            start = time.process_time()
            part()
            seen[name].append(time.process_time() - start)
    cost = {name: min(values) for name, values in seen.items()}
    print("seconds: " + ", ".join(f"{name} {seconds:.2f}" for name, seconds in cost.items()))
    for what, names in (
        ("an artifact: drawing and inference", ("draw", "artifact")),
        ("and its baseline, the first time", ("draw", "artifact", "baseline")),
        ("an artifact, images drawn before", ("artifact",)),
    ):
        print(f"{what}: {sum(cost[name] for name in names) / cost['epoch']:.2f} epochs")


if __name__ == "__main__":
    main()
