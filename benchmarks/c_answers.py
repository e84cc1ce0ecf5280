"""Networks as C asked for every test image: accuracy, and how many answer as the network and as its ONNX file do.

python benchmarks/c_answers.py --data mnist records/8kb-seed4.lcomp ...
"""

import argparse
import tempfile
from pathlib import Path

import torch

from lcomp import packed
from lcomp.c.command import artifact_of, validation_examples
from lcomp.c.compiling import Library
from lcomp.c.model import make_model
from lcomp.config.composition import compose
from lcomp.config.instantiation import build
from lcomp.data import loaders
from lcomp.evaluation import measurement
from lcomp.export.onnx_export import export
from lcomp.packed.artifact import from_onnx
from lcomp.runtimes import ONNXRuntime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--data", required=True)
    given = parser.parse_args()
    torch.set_num_threads(1)
    data = build(compose([f"data={given.data}"]).data, "data")
    loaders.begin(data, "data")
    examples, test = validation_examples(data.val_dataloader()), measurement.split_of(data.test_dataloader(), data.task)
    print("| network | in C, % | network, % | ONNX Runtime, % | as the network, % | as ONNX Runtime, % |")
    print("|---|---:|---:|---:|---:|---:|")
    for run in given.runs:
        artifact = artifact_of(run)
        network = packed.load(artifact) if artifact.suffix == packed.SUFFIX else from_onnx(artifact)
        with tempfile.TemporaryDirectory() as folder:
            onnx = artifact
            if artifact.suffix == packed.SUFFIX:
                onnx = Path(folder) / "artifact.onnx"
                export(network, onnx, data.task)
            runtime = measurement.artifact_outputs(ONNXRuntime().session_for_many(onnx), test.inputs).argmax(1)
        [images] = test.inputs.values()
        answers = Library(make_model(artifact, examples).whole).logits(images).argmax(1)
        expected = measurement.predict_outputs(network, test.inputs).argmax(1)
        shares = [
            *((one == test.labels).mean() for one in (answers, expected, runtime)),
            *((one == answers).mean() for one in (expected, runtime)),
        ]
        print(f"| {run.name} | " + " | ".join(f"{share:.2%}" for share in shares) + " |", flush=True)


if __name__ == "__main__":
    main()
