"""Each engine gives the network's own logits, and has integer kernels where the artifact has integers."""

import importlib.util

import numpy as np
import pytest
import torch
from torch import nn
from training import compose, train

from lcomp import packed, runtimes
from lcomp.errors import UserError
from lcomp.evaluation import measurement
from lcomp.export.onnx_export import export
from lcomp.models import LeNet5, resnet18
from lcomp.modules import BaselineModule
from lcomp.run import run
from lcomp.runtimes.torch import IntegerLayer, with_integer_kernels
from lcomp.tasks import ImageClassification
from lcomp.techniques.pruning import Pruning
from lcomp.techniques.quantization import (
    DynamicQuantization,
    HybridQuantization,
    QuantizationAwareTraining,
    WeightSharing,
)

ENGINES = {
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
    "litert": "litert_torch",
    "torch": "torch",
}  # and what it imports


def made(name, **settings):
    if importlib.util.find_spec(ENGINES[name]) is None:
        pytest.skip(f"{ENGINES[name]} is not installed")
    return {"onnxruntime": runtimes.ONNXRuntime, "openvino": runtimes.OpenVINO, "litert": runtimes.LiteRT,
            "torch": runtimes.Torch}[name](**settings)  # fmt: skip


def signed():
    """A network whose linear layer reads values of both signs, so that zero is not the lowest integer."""
    return nn.Sequential(nn.Conv2d(1, 4, 5, stride=3), nn.Flatten(), nn.Linear(256, 10))


@pytest.fixture(scope="module")
def exported(digits, tmp_path_factory):
    """By technique: the finalized network, and its artifact."""
    found = {}
    for name, techniques in {
        "fp32": [],
        "int8": [QuantizationAwareTraining(8)],
        "signed": [QuantizationAwareTraining(8)],
        "bits": [Pruning(0.5, end=0.5, interval=2), QuantizationAwareTraining(3, 4)],
        "hybrid": [HybridQuantization(8)],
        "dynamic": [DynamicQuantization(8)],
        "shared": [WeightSharing(4, begin=0.5)],
    }.items():
        torch.manual_seed(0)
        network = signed() if name == "signed" else LeNet5()
        module = BaselineModule(network, techniques, learning_rate=0.003)
        train(module, digits, steps=20)
        network = module.finalize(module.calibration(digits))
        path = tmp_path_factory.mktemp(name) / "artifact.onnx"
        export(network, path, ImageClassification())
        found[name] = network, path
    return found


SUFFIXES = {"litert": ".tflite", "torch": ".lcomp"}
CASES = [
    (engine, technique)
    for engine in ENGINES
    for technique in ("fp32", "int8", "signed", "bits", "hybrid", "dynamic", "shared")
    if engine != "litert" or technique not in ("hybrid", "shared")  # a conversion takes ten seconds
]
CLOSE = {"int8": 0.05, "signed": 0.05, "bits": 0.2, "dynamic": 0.05}  # an integer kernel may round a half otherwise


@pytest.mark.parametrize(("engine", "technique"), CASES)
def test_every_engine_gives_the_logits_of_the_network(exported, digits, engine, technique):
    runtime, (network, artifact) = made(engine), exported[technique]
    pixels = measurement.split_of(digits.test_dataloader(), digits.task).pixels[:300]
    if (engine, technique) == ("litert", "dynamic"):
        with pytest.raises(UserError, match=r"runtime=litert: .*choose quant=static"):
            runtime.file(artifact)
        return
    file = runtime.file(artifact)
    assert file.suffix == SUFFIXES.get(engine, ".onnx") and file.is_file()
    session = runtime.session(file)
    own, expected = (
        measurement.artifact_outputs(session, {"pixels": pixels}),
        measurement.predict_outputs(network, {"pixels": pixels}),
    )
    assert own.shape == (300, 10) and own.dtype == np.float32
    step = CLOSE.get(technique, 1e-4)
    assert np.abs(own - expected).max() < step * np.abs(expected).max()
    assert (own.argmax(1) == expected.argmax(1)).mean() >= (1 if step < 0.01 else 0.98)
    one = session({"pixels": pixels[7:8]})
    assert np.abs(one - own[7:8]).max() < step * np.abs(expected).max()


REWRITTEN = [
    (engine, technique)
    for engine in ("onnxruntime", "openvino", "litert")
    for technique in ("fp32", "int8", "bits", "hybrid", "dynamic", "shared")
    if engine != "litert" or technique in ("fp32", "int8")
]


@pytest.mark.parametrize(("engine", "technique"), REWRITTEN)
def test_a_rewritten_artifact_gives_the_logits_of_the_artifact(exported, digits, engine, technique):
    plain, rewriting = made(engine), made(engine, space_to_depth=True)
    artifact = exported[technique][1]
    pixels = measurement.split_of(digits.test_dataloader(), digits.task).pixels[:300]
    file = rewriting.file(artifact)
    assert file.name == "artifact.space_to_depth" + SUFFIXES.get(engine, ".onnx") and file != plain.file(artifact)
    own, expected = (
        measurement.artifact_outputs(runtime.session(runtime.file(artifact)), {"pixels": pixels})
        for runtime in (rewriting, plain)
    )
    if technique == "int8" and engine != "openvino":  # which chooses kernels by processor and shape
        assert np.array_equal(own, expected)
    assert np.abs(own - expected).max() < CLOSE.get(technique, 1e-4) * np.abs(expected).max()


def test_answers_do_not_change_with_the_next_question(exported, digits):
    pixels = measurement.split_of(digits.test_dataloader(), digits.task).pixels
    for engine in ENGINES:
        if importlib.util.find_spec(ENGINES[engine]) is None:
            continue
        session = made(engine).session(made(engine).file(exported["fp32"][1]))
        first = session({"pixels": pixels[:1]})
        kept = first.copy()
        session({"pixels": pixels[1:2]})
        assert np.array_equal(first, kept), engine


def test_litert_keeps_the_integers_of_the_artifact(exported):
    runtime = made("litert")
    from ai_edge_litert.interpreter import Interpreter
    from onnx_graphs import integer_weights

    _, artifact = exported["int8"]
    interpreter = Interpreter(str(runtime.file(artifact)), num_threads=1)
    interpreter.allocate_tensors()
    tensors = [t for t in interpreter.get_tensor_details() if t["dtype"] == np.int8 and len(t["shape"]) > 1]
    stored = [interpreter.get_tensor(t["index"]) for t in tensors if t["quantization_parameters"]["scales"].size > 1]
    seen = sorted(sorted(np.abs(w.astype(int)).ravel().tolist()) for w in stored)
    expected = sorted(sorted(np.abs(w.astype(int)).ravel().tolist()) for w in integer_weights(artifact))
    assert len(seen) == 4 and all(weights in expected for weights in seen)  # the last layer's output is float


def test_openvino_computes_with_integers(exported):
    made("openvino")
    import openvino

    core = openvino.Core()
    kinds = {}
    for name in ("fp32", "int8"):
        model = core.read_model(exported[name][1])
        model.reshape([1, 1, 28, 28])
        operators = core.compile_model(model, "CPU").get_runtime_model().get_ops()
        kinds[name] = {
            str(op.get_rt_info()["primitiveType"].value if hasattr(op.get_rt_info()["primitiveType"], "value")
                else op.get_rt_info()["primitiveType"])
            for op in operators
        }  # fmt: skip
    assert any("I8" in kind for kind in kinds["int8"]) and not any("I8" in kind for kind in kinds["fp32"])


def test_torch_multiplies_integers(exported):
    path = runtimes.Torch().file(exported["int8"][1])
    network = with_integer_kernels(packed.load(path))
    layers = [step for step in network.steps if isinstance(step, IntegerLayer)]
    assert len(layers) == 5 and not any(isinstance(step, torch.nn.Conv2d | torch.nn.Linear) for step in network.steps)
    assert layers[1].integers(torch.rand(1, 6, 12, 12) * 9 - 3).dtype == torch.uint8


def static(folder, override):
    """The record of a short run with int8 after training, in a folder named after the override's value."""
    overrides = [override, "quant=static", f"baseline.cache={folder / 'cache'}", "measure.latency_runs=3"]
    cfg, choices = compose(*overrides)
    result = run(cfg, folder / override.partition("=")[2], overrides, choices)
    assert result.status == "ok", result.error
    return result


@pytest.mark.slow
def test_a_run_measures_its_engines_file_beside_the_baselines(tmp_path):
    result, other = (static(tmp_path, f"runtime={engine}") for engine in ("torch", "onnxruntime"))
    assert (result.choices["runtime"], other.choices["runtime"]) == ("torch", "onnxruntime")
    assert result.config_hash != other.config_hash
    assert result.artifact["path"] == "artifact.lcomp" and other.artifact["path"] == "artifact.onnx"
    assert result.baseline_artifact["path"].endswith("artifact.lcomp")
    packed_bytes = (tmp_path / "torch" / "artifact.lcomp").stat().st_size
    assert result.metrics["file_bytes"] == result.metrics["packed_bytes"] == packed_bytes
    assert result.baseline["file_bytes"] == (tmp_path / "torch" / result.baseline_artifact["path"]).stat().st_size
    for name in ("val_accuracy", "test_accuracy", "macs", "packed_bytes"):
        assert result.metrics[name] == pytest.approx(other.metrics[name], abs=0.002)
    assert result.metrics["onnx_agreement"] == 1 and "onnx_agreement" not in other.metrics
    assert result.baseline["latency_ratio"] == 1 and result.metrics["latency_us_p50"] > other.metrics["latency_us_p50"]


@pytest.mark.slow
def test_a_run_deploys_c_and_measures_flash_and_memory(tmp_path):
    result = static(tmp_path, "runtime=c")
    assert result.artifact["path"] == "artifact.auto.plain.c" and result.metrics["agreement"] > 0.99
    assert result.metrics["onnx_agreement"] >= 0.999 and result.metrics["onnx_logit_difference"] < 0.3
    assert 40_000 < result.metrics["flash_bytes"] < 55_000 and 1_120 < result.metrics["ram_bytes"] < 2_000
    assert result.baseline["flash_bytes"] > 3 * result.metrics["flash_bytes"] and result.baseline["macs"] == 281_640


@pytest.mark.slow
def test_a_run_deploys_a_rewritten_artifact_beside_a_rewritten_baseline(tmp_path):
    plain, result = (static(tmp_path, f"runtime.space_to_depth={chosen}") for chosen in ("false", "true"))
    assert result.params["runtime.space_to_depth"] is True and result.config_hash != plain.config_hash
    assert result.artifact["path"] == "artifact.space_to_depth.onnx"
    assert result.baseline_artifact["path"].endswith("/artifact.space_to_depth.onnx")
    file = tmp_path / "true" / "artifact.space_to_depth.onnx"
    assert result.metrics["file_bytes"] == file.stat().st_size > plain.metrics["file_bytes"]
    assert result.baseline["file_bytes"] > plain.baseline["file_bytes"]  # its cached figures are of the other file
    for name in ("val_accuracy", "test_accuracy", "macs", "packed_bytes", "parameters"):
        assert result.metrics[name] == plain.metrics[name]


def test_a_file_is_made_once_and_again_when_the_artifact_is_new(exported, tmp_path):
    runtime, artifact = runtimes.Torch(), tmp_path / "artifact.onnx"
    artifact.write_bytes(exported["fp32"][1].read_bytes())
    file = runtime.file(artifact)
    made_at = file.stat().st_mtime_ns
    assert runtime.file(artifact) == file and file.stat().st_mtime_ns == made_at
    artifact.write_bytes(exported["int8"][1].read_bytes())
    assert runtime.file(artifact).stat().st_mtime_ns > made_at


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(runtimes.OpenVINO, "packages", ("openvino-that-nobody-has",))
    with pytest.raises(UserError, match=r"runtime=openvino: needs a package: pip install 'lcomp\[openvino\]'"):
        runtimes.OpenVINO().versions()


@pytest.mark.slow
@pytest.mark.parametrize("engine", [engine for engine in ENGINES if engine != "litert"])
def test_a_network_with_branches_runs_in_every_engine(engine, tmp_path):
    runtime, network = made(engine), resnet18()
    export(network.eval(), tmp_path / "artifact.onnx", ImageClassification())
    pixels = np.random.default_rng(0).random((3, 1, 28, 28), np.float32)
    own = measurement.artifact_outputs(runtime.session(runtime.file(tmp_path / "artifact.onnx")), {"pixels": pixels})
    assert np.abs(own - measurement.predict_outputs(network, {"pixels": pixels})).max() < 1e-3
