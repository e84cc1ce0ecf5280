import json

import numpy as np
import onnx
import onnxruntime

from lcomp.models import SmallCNN
from lcomp.training import load_checkpoint


def test_sweep_over_temperature_leaves_artifacts_and_records(lcomp, tmp_path, digits):
    done = lcomp("-m", "kd.temperature=1,8")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("[mnist5k]") == 2
    paths = sorted(tmp_path.glob("multirun/sweep-*/*/result.json"))
    first, second = (json.loads(p.read_text()) for p in paths)
    assert first["status"] == second["status"] == "ok"
    assert first["baseline"]["test_accuracy"] == second["baseline"]["test_accuracy"] > 0.9
    assert first["artifact"]["sha256"] != second["artifact"]["sha256"]
    assert first["metrics"]["parameters"] == 11_042 and first["metrics"]["file_bytes"] < 48_000
    assert first["metrics"]["macs"] == 26 * 26 * 4 * 9 + 676 * 16 + 160
    assert first["steps"] == 211 and first["dataset"]["name"] == "mnist5k"

    artifact = paths[0].parent / "artifact.onnx"
    assert artifact.stat().st_size == first["metrics"]["file_bytes"]
    assert {"classes", "config_hash", "lcomp_version"} == {p.key for p in onnx.load(artifact).metadata_props}
    network = load_checkpoint(paths[0].parent / "checkpoint.ckpt", SmallCNN())
    pixels = digits.test.images[:77].float().div(255)
    seen = onnxruntime.InferenceSession(artifact).run(None, {"pixels": pixels.numpy()})[0]
    np.testing.assert_allclose(seen, network(pixels).detach().numpy(), atol=1e-4)


def test_same_command_gives_the_same_artifact(lcomp, tmp_path):
    hashes = set()
    for _ in range(2):
        assert lcomp("kd.temperature=3").returncode == 0
    for path in tmp_path.glob("multirun/run-*/result.json"):
        hashes.add(json.loads(path.read_text())["artifact"]["sha256"])
    assert len(hashes) == 1


def test_a_failed_run_leaves_a_record_and_a_cause(lcomp, tmp_path):
    done = lcomp("kd.temperature=-1")
    assert done.returncode == 1
    [path] = tmp_path.glob("multirun/run-*/result.json")
    record = json.loads(path.read_text())
    assert record["status"] == "failed" and "kd.temperature=-1" in record["error"]
