"""Records made by hand, with the files that a real run leaves beside them."""

import numpy as np

from lcomp.measure import Split, predictions
from lcomp.result import PREDICTIONS, Result

DATA = {"name": "mnist5k", "sha256": "a" * 64, "train": 3500, "val": 500, "test": 1000}
LATENCIES = {"latency_us_p50": 20.5, "latency_us_p90": 22.0, "latency_ratio": 0.6, "test_set_seconds": 0.1}


def metrics(accuracy=0.9, size=40_000, **more):
    found = {"val_accuracy": accuracy - 0.01, "test_accuracy": accuracy, "test_loss": 1 - accuracy, "gzip_bytes": size}
    return found | {"file_bytes": size + 3000, "parameters": 11_042, "sparsity": 0.0} | LATENCIES | more


def record(folder, *overrides, status="ok", seed=0, accuracy=0.9, size=40_000, baseline=0.95, error=None, **more):
    """A run's record in `folder`, with predictions, and its baseline's beside it; `more` are fields of the record."""
    choices = {"data": "mnist5k", "model": "lenet5", "kd": "none", "prune": "none", "quant": "none", "perturb": "none"}
    own = more.pop("choices", {})
    extra = more.pop("extra", {})
    made = Result(
        status, error, overrides=list(overrides), choices=choices | own, seed=seed, dataset=dict(DATA), **more
    )
    made.environment = {"cpu": "a processor", "git_sha": "abc", "threads": 1, "versions": {}}
    made.seconds = {"train": 3.0, "baseline": 5.0, "total": 9.5}
    folder.mkdir(parents=True, exist_ok=True)
    if status == "ok":
        made.metrics, made.baseline = metrics(accuracy, size, **extra), metrics(baseline, 165_000, **extra)
        base = folder.parent / f"base-{baseline}"
        base.mkdir(exist_ok=True)
        made.artifact = {"path": "artifact.onnx", "sha256": "b" * 64}
        made.baseline_artifact = {"path": f"../{base.name}/artifact.onnx", "sha256": f"{baseline}".ljust(64, "c")}
        for place, share in ((folder, accuracy), (base, baseline)):
            answers(place, share, seed)
    made.write(folder)
    return made


def answers(place, share, seed=0):
    """Predictions on 200 images, `share` of them right."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 10, 200)
    logits = np.eye(10, dtype=np.float32)[(labels + (np.arange(200) >= share * 200)) % 10]
    pixels = random.random((200, 1, 28, 28), dtype=np.float32)
    (place / PREDICTIONS).write_bytes(predictions(logits, Split(pixels, labels)))
    (place / "artifact.onnx").write_bytes(b"an artifact")
