"""Every engine on the artifacts of finished runs, one thread, interleaved in one process: docs/runtimes.md.

    python -m lcomp -m seed=0 experiment=robustness_static_8,robustness_filter,robustness_student_t4
    python -m lcomp seed=0 experiment=robustness_filter quant=static
    python benchmarks/runtimes.py RUN RUN RUN RUN

Each round asks every engine about one image through every artifact, in an order drawn anew, 100 times in a row after 20
that warm its caches up; then the whole test split in batches of 250 (LiteRT: image by image), five times. PyTorch's
eager network of the baseline is what ratios are over.
"""

import argparse
import os
import random
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch

from lcomp import runtimes
from lcomp.data import MNISTDataModule
from lcomp.errors import UserError
from lcomp.evaluation import measurement
from lcomp.models import LeNet5
from lcomp.record.result import ARTIFACT, FILE_NAME, read_result

ENGINES = {
    "onnxruntime": runtimes.ONNXRuntime,
    "onnxruntime, space-to-depth": partial(runtimes.ONNXRuntime, space_to_depth=True),
    "openvino": runtimes.OpenVINO,
    "openvino, space-to-depth": partial(runtimes.OpenVINO, space_to_depth=True),
    "litert": runtimes.LiteRT,
    "litert, space-to-depth": partial(runtimes.LiteRT, space_to_depth=True),
    "torch": runtimes.Torch,
}
WARM_UP, CALLS, PASSES = 20, 100, 5


def eager(weights):
    """The baseline as its author would call it, image in, logits out."""
    network = LeNet5().eval()
    network.load_state_dict(torch.load(weights, weights_only=True))

    @torch.inference_mode()
    def answer(pixels):
        return network(torch.from_numpy(pixels)).numpy()

    return answer


def sessions(folders, names):
    """(artifact, engine, session) of everything that is installed and can be translated."""
    baseline = read_result(folders[0] / FILE_NAME).baseline_artifact["path"]
    base = (folders[0] / baseline).resolve().parent
    found = [("baseline", "PyTorch eager", eager(base / "weights.pt"))]
    artifacts = {"baseline": base / ARTIFACT}
    for folder, name in zip(folders, names, strict=True):
        artifacts[name] = folder / ARTIFACT
    for label, path in artifacts.items():
        for engine, kind in ENGINES.items():
            try:
                runtime = kind()
                runtime.versions()
                found.append((label, engine, runtime.session(runtime.file(path))))
            except UserError as error:
                print(f"left out: {label} in {engine}: {error}")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=30)
    given = parser.parse_args()
    torch.set_num_threads(1)
    folders = [folder for folder in given.runs if (folder / FILE_NAME).is_file()]
    names = [label(read_result(folder / FILE_NAME)) for folder in folders]
    asked = sessions(folders, names)
    test = measurement.split_of(MNISTDataModule(root=os.environ.get("LCOMP_DATA", "data")).test_dataloader())
    one, batches = test.pixels[:1].copy(), measurement.batches_of(test.pixels)
    answers = [measurement.artifact_outputs(session, test.inputs) for *_, session in asked]

    single = [[] for _ in asked]
    order = list(range(len(asked)))
    for _ in range(given.rounds):
        random.shuffle(order)
        for place in order:
            session = asked[place][2]
            for call in range(WARM_UP + CALLS):
                start = time.perf_counter_ns()
                session(one)
                if call >= WARM_UP:
                    single[place].append((time.perf_counter_ns() - start) / 1e3)
    whole = [[] for _ in asked]
    for _ in range(PASSES):
        for place in order:
            start = time.perf_counter_ns()
            for batch in batches:
                asked[place][2](batch)
            whole[place].append((time.perf_counter_ns() - start) / 1e9)

    reference = np.median(single[0])
    columns = (
        "artifact",
        "engine",
        "test acc %",
        "us an image",
        "10th to 90th",
        "x eager",
        "test set s",
        "least to most",
    )
    print(f"| {' | '.join(columns)} |\n|---|---|{'---:|' * 6}")
    for (artifact, engine, _), own, seen, sets in zip(asked, answers, single, whole, strict=True):
        accuracy = 100 * (own.argmax(1) == test.labels).mean()
        low, middle, high = np.percentile(seen, [10, 50, 90])
        cells = [artifact, engine, f"{accuracy:.2f}", f"{middle:.1f}", f"{low:.1f} to {high:.1f}"]
        cells += [f"{reference / middle:.1f}", f"{np.median(sets):.3f}", f"{min(sets):.3f} to {max(sets):.3f}"]
        print(f"| {' | '.join(cells)} |")


def label(result):
    """A run by what was asked for."""
    idle = ("seed", "logger", "report", "progress", "launcher")
    asked = [override for override in result.overrides if override.partition("=")[0].partition(".")[0] not in idle]
    return ", ".join(override.removeprefix("experiment=") for override in asked) or "baseline"


if __name__ == "__main__":
    main()
