"""The examples run as their README says, each in a copy of its folder, and give what it says."""

import gzip
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from onnx_graphs import integer_weights

from lcomp.models import SmallCNN
from lcomp.techniques.quantization import QuantizationAwareTraining

EXAMPLES = Path(__file__).parents[1] / "examples"
README = (EXAMPLES / "README.md").read_text()


def commands(folder):
    """What the README says to type in that folder."""
    [block] = re.findall(rf"^## [^\n]*`{folder}/?`\n[^#]*?```bash\n(.*?)```", README, re.MULTILINE | re.DOTALL)
    return [shlex.split(line) for line in block.replace("\\\n", " ").splitlines()]


@pytest.fixture
def typed(tmp_path):
    """Runs a command of the README, by its number, in a copy of the folder; returns the copy and what was printed."""

    def call(folder, number=0):
        copied = tmp_path / folder
        left_out = shutil.ignore_patterns("multirun", "*.onnx", "__pycache__")
        shutil.copytree(EXAMPLES / folder, copied, ignore=left_out, dirs_exist_ok=True)
        program, *arguments = commands(folder)[number]
        assert program == "python"
        environment = {key: value for key, value in os.environ.items() if key != "LCOMP_DATA"}
        done = subprocess.run(
            [sys.executable, *arguments], cwd=copied, env=environment, capture_output=True, text=True, timeout=500
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return copied, done.stdout + done.stderr

    return call


def records(folder):
    """Those of its only run or sweep, in order."""
    found = [*folder.glob("multirun/run-*/result.json"), *sorted(folder.glob("multirun/sweep-*/*/result.json"))]
    return [path.parent for path in found], [json.loads(path.read_text()) for path in found]


def accuracy(path, images, labels):
    """Of the file in ONNX Runtime, 0 to 1."""
    [logits] = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"pixels": images})
    return float(np.mean(logits.argmax(1) == labels))


def test_every_example_is_in_the_readme_and_the_repositorys_readme_leads_there():
    for path in EXAMPLES.iterdir():
        if path.name not in ("README.md", "multirun") and not path.name.startswith("."):
            assert f"`{path.name}" in README, path
    for name in ("README.md", "CONTRIBUTING.md"):
        assert "(examples/README.md)" in (EXAMPLES.parent / name).read_text(), name


@pytest.mark.slow
def test_own_network(typed, digits):
    folder, printed = typed("own_network")
    [run], [record] = records(folder)
    assert record["choices"]["model"] == "residual" and record["metrics"]["sparsity"] == pytest.approx(0.8, abs=1e-4)
    assert record["metrics"]["gzip_bytes"] < 0.4 * record["baseline"]["gzip_bytes"]
    seen = accuracy(run / "artifact.onnx", digits.test.images.numpy() / np.float32(255), digits.test.labels.numpy())
    assert seen == pytest.approx(record["metrics"]["test_accuracy"]) and seen > 0.8
    assert f"test accuracy {100 * seen:.2f}%" in printed and "model=residual" in printed


@pytest.mark.slow
def test_own_network_without_a_yaml(typed):
    _, [record] = records(typed("own_network", 1)[0])
    assert record["metrics"]["parameters"] == (16 + 1) * 8 + 2 * (9 * 8 + 1) * 8 + (8 * 7 * 7 + 1) * 10  # width 8
    assert record["metrics"]["test_accuracy"] > 0.8
    assert record["metrics"]["gzip_bytes"] < 0.6 * record["baseline"]["gzip_bytes"]


@pytest.mark.slow
def test_own_data(typed):
    folder, printed = typed("own_data")
    [run], [record] = records(folder)
    assert record["dataset"]["name"] == "SmallDigits" and "[SmallDigits] data=small_digits" in printed
    assert [record["dataset"][split] for split in ("train", "val", "test")] == [3_500, 500, 1_000]
    session = onnxruntime.InferenceSession(run / "artifact.onnx", providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape[1:] == [1, 14, 14]
    assert record["metrics"]["test_accuracy"] > 0.7


@pytest.mark.slow
def test_own_technique_keeps_the_contract(typed):
    assert "4 passed" in typed("own_technique")[1]


@pytest.mark.slow
def test_own_technique_is_swept(typed):
    folder, printed = typed("own_technique", 1)
    runs, swept = records(folder)
    sizes = {"fc1": (256, 120), "fc2": (120, 84), "fc3": (84, 10)}  # of LeNet-5; two factors where they are fewer
    for run, record, rank in zip(runs, swept, (4, 8, 16), strict=True):
        weights = sum(min(ins * outs, rank * (ins + outs)) for ins, outs in sizes.values())
        assert sum(array.size for array in integer_weights(run / "artifact.onnx")) == weights + 150 + 2_400
        assert f"prune.rank={rank}" in printed and record["choices"]["prune"] == "linear_svd"
    accuracies = [record["metrics"]["test_accuracy"] for record in swept]
    assert accuracies[0] > 0.5 and accuracies[-1] > 0.85
    assert (
        swept[0]["metrics"]["gzip_bytes"] < swept[-1]["metrics"]["gzip_bytes"] < swept[0]["baseline"]["gzip_bytes"] / 5
    )


@pytest.fixture
def linear_svd(monkeypatch):
    """The example's class."""
    monkeypatch.syspath_prepend(EXAMPLES / "own_technique")
    from technique import LinearSVD

    yield LinearSVD
    sys.modules.pop("technique")


def test_layers_that_a_technique_has_put_in_are_quantized(linear_svd):
    network, example = SmallCNN(), torch.rand(4, 1, 28, 28)
    techniques = [linear_svd(rank=8), QuantizationAwareTraining(bits=8)]
    for technique in techniques:  # as a run does, before it trains a baseline
        technique.check(network, example)
    for technique in techniques:
        technique.prepare_after_others(network)
    _, left_alone = techniques[1].acted_on(network)
    assert (
        left_alone == {} and hasattr(network.fc1[0], "parametrizations") and hasattr(network.fc1[1], "parametrizations")
    )


@pytest.mark.slow
def test_an_existing_lightning_module(typed):
    folder, printed = typed("lightning_module")
    said = {name: (float(share), int(size.replace(",", ""))) for name, share, size in re.findall(
        r"^(\w+)\.onnx: accuracy (\S+), (\S+) bytes under gzip$", printed, re.MULTILINE
    )}  # fmt: skip
    assert said.keys() == {"plain", "compressed"}
    for name, (_, size) in said.items():
        assert len(gzip.compress((folder / f"{name}.onnx").read_bytes(), mtime=0)) == size
    assert said["plain"][0] > 0.85 and said["compressed"][0] > 0.85 and said["compressed"][1] < said["plain"][1] / 10
    weights = integer_weights(folder / "compressed.onnx")
    assert sum(array.size for array in weights) == 784 * 128 + 128 * 10
    assert sum(int((array == 0).sum()) for array in weights) >= 0.9 * (784 * 128 + 128 * 10) - 1


def cells():
    return json.loads((EXAMPLES / "notebook.ipynb").read_text())["cells"]


def test_the_notebook_is_committed_without_outputs():
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells() if "outputs" in cell)


@pytest.mark.slow
def test_the_notebook_s_cells_run_in_their_order(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.delenv("LCOMP_DATA", raising=False)
    names: dict = {}
    for cell in cells():
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    printed, sweep, frame = capsys.readouterr().out, names["sweep"], names["frame"]
    found = [(run.choices["quant"], run.params["prune.sparsity"]) for run in sweep]
    assert sorted(found) == [(quant, sparsity) for quant in ("none", "qat") for sparsity in (0.5, 0.8, 0.95)]
    assert all(run.is_ok and run.metrics["test_accuracy"] > 0.5 for run in sweep)
    assert frame["metrics.gzip_bytes"].tolist() == [run.metrics["gzip_bytes"] for run in sweep]
    assert "6/6 [mnist5k]" in printed and f"{names['best'].folder.name}: test accuracy 0." in printed
    assert names["best"].metrics["val_accuracy"] == max(run.metrics["val_accuracy"] for run in sweep)
    assert names["network"].classes == 10 and (sweep.folder / "report.html").is_file()
    *curves, baseline = names["axes"].lines
    assert [len(line.get_xdata()) for line in curves] == [3, 3] and baseline.get_ydata()[0] > 0.85
    assert list(curves[0].get_xdata()) == sorted(curves[0].get_xdata(), reverse=True)
    assert (np.asarray(curves[1].get_xdata()) < curves[0].get_xdata()).all()
    assert curves[1].get_ydata()[0] > 0.85
