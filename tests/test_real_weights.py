"""The residual networks of CIFAR-10, where LCOMP_DATA points to the data: those of records/, and the public ones, where
their files lie beside it or LCOMP_WEIGHTS names their folder."""

import os
from pathlib import Path

import pytest

from lcomp.config.composition import compose
from lcomp.config.run_spec import parse
from lcomp.runtimes.onnxruntime import ONNXRuntime
from lcomp.training import components

DATA = Path(os.environ.get("LCOMP_DATA", "data"))
WEIGHTS = Path(os.environ.get("LCOMP_WEIGHTS", DATA.parent / "weights"))
OWN = Path(__file__).parents[1] / "records" / "cifar10"
ACCURACIES = {  # on test images
    WEIGHTS / "resnet20-12fca82f.th": 0.9173,
    WEIGHTS / "resnet32-d509ac18.th": 0.9263,
    WEIGHTS / "resnet56-4bfd9763.th": 0.9339,
    OWN / "resnet8.safetensors": 0.8857,
    OWN / "resnet20.safetensors": 0.9202,
}


@pytest.mark.slow
@pytest.mark.parametrize("file", ACCURACIES, ids=lambda file: file.name)
def test_an_exported_network_has_the_accuracy_of_its_file(file, tmp_path):
    if not ((DATA / "cifar-10-batches-py").is_dir() and file.is_file()):
        pytest.skip(f"{file} or CIFAR-10 under {DATA} is not there; set LCOMP_DATA and LCOMP_WEIGHTS")
    model = file.stem.partition("-")[0]
    overrides = [f"model={model}", "data=cifar10", f"data.root={DATA}", f"baseline.cache={tmp_path}"]
    spec = parse(compose([*overrides, f"baseline.weights={file}"]))
    data = components.make_data(spec)
    session, right, seen = ONNXRuntime().session(components.make_baseline(spec, data).artifact), 0, 0
    for images, labels, *_ in data.test_dataloader():
        right += int((session({"pixels": images.numpy()}).argmax(1) == labels.numpy()).sum())
        seen += len(labels)
    assert seen == 10_000 and right / seen == pytest.approx(ACCURACIES[file], abs=0.0005)
