"""What counts as an equal result."""

import json

import pytest

from lcomp.environment import cpu
from lcomp.result import Result
from lcomp.reuse import adopt

METRICS = {"val_accuracy": 0.9, "accuracy/rotation": 0.5, "latency_us_p50": 3.0, "latency_ratio": 1.5}


@pytest.fixture
def kept(tmp_path):
    """A finished run in a sweep, with its files."""
    folder = tmp_path / "sweep-a" / "0"
    folder.mkdir(parents=True)
    (folder / "artifact.onnx").write_text("artifact")
    (folder / "predictions.npz").write_text("predictions")
    (folder / "artifact.lcomp").write_text("packed")
    result = Result("ok", config_hash="c", code_hash="k", metrics=dict(METRICS), baseline=dict(METRICS))
    result.environment = {"cpu": cpu()}
    result.artifact, result.baseline_artifact = {"path": "artifact.onnx"}, {"path": "../../.cache/artifact.onnx"}
    result.write(folder)
    return folder


@pytest.fixture
def mine(tmp_path):
    folder = tmp_path / "sweep-b" / "7"
    folder.mkdir(parents=True)
    return folder


def test_an_equal_result_brings_its_files(kept, mine, tmp_path):
    result = Result(config_hash="c", code_hash="k", name="mine", overrides=["x=1"])
    assert adopt(tmp_path, mine, result, ["rotation"])
    assert result.metrics == METRICS and result.reused == "../../sweep-a/0"
    assert result.name == "mine" and result.overrides == ["x=1"]  # what was asked for is its own
    assert (mine / "artifact.onnx").read_text() == "artifact" and (mine / "predictions.npz").exists()
    assert (mine / "artifact.lcomp").read_text() == "packed"
    assert (mine / result.baseline_artifact["path"]).resolve() == (tmp_path / ".cache/artifact.onnx").resolve()


@pytest.mark.parametrize("hashes", [("c", "other"), ("other", "k")])
def test_another_experiment_or_other_code_is_not_taken(kept, mine, tmp_path, hashes):
    assert not adopt(tmp_path, mine, Result(config_hash=hashes[0], code_hash=hashes[1]))


@pytest.mark.parametrize("changed", [{"status": "failed"}, {"artifact": {"path": "gone.onnx"}}])
def test_a_result_without_an_artifact_is_not_taken(kept, mine, tmp_path, changed):
    path = kept / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    assert not adopt(tmp_path, mine, Result(config_hash="c", code_hash="k"))


def test_a_result_that_was_not_measured_under_the_perturbation_is_not_taken(kept, mine, tmp_path):
    assert not adopt(tmp_path, mine, Result(config_hash="c", code_hash="k"), ["occlusion"])


def test_latencies_of_another_processor_are_not_taken(kept, mine, tmp_path):
    path = kept / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"environment": {"cpu": "another"}}))
    result = Result(config_hash="c", code_hash="k")
    assert adopt(tmp_path, mine, result)
    assert result.metrics == result.baseline == {"val_accuracy": 0.9, "accuracy/rotation": 0.5}


def test_a_run_does_not_take_itself(kept, tmp_path):
    assert not adopt(tmp_path, kept, Result(config_hash="c", code_hash="k"))
