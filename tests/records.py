"""Records made by hand, with the files that a real run leaves beside them."""

import numpy as np

from lcomp.record import predictions
from lcomp.record.result import Result

DATA = {"name": "mnist5k", "sha256": "a" * 64, "train": 3500, "val": 500, "test": 1000}
LATENCIES = {"latency_us_p50": 20.5, "latency_us_p90": 22.0, "latency_ratio": 0.6, "test_set_seconds": 0.1}


def metrics(accuracy=0.9, size=40_000, **more):
    found = {"val_accuracy": accuracy - 0.01, "test_accuracy": accuracy, "test_loss": 1 - accuracy, "gzip_bytes": size}
    return found | {"file_bytes": size + 3000, "parameters": 11_042, "sparsity": 0.0} | LATENCIES | more


def record(folder, *overrides, status="ok", seed=0, accuracy=0.9, size=40_000, baseline=0.95, error=None, **more):
    """A run's record in `folder`, with predictions, and its baseline's beside it; `more` are fields of the record, and
    `extra` metrics of its artifact, and of its baseline's where `of_baseline` names no others."""
    choices = {"data": "mnist5k", "model": "lenet5", "kd": "none", "prune": "none", "quant": "none", "perturb": "none"}
    own = more.pop("choices", {})
    extra = more.pop("extra", {})
    of_baseline = more.pop("of_baseline", extra)
    made = Result(
        status, error, overrides=list(overrides), choices=choices | own, seed=seed, dataset=dict(DATA), **more
    )
    made.environment = {"cpu": "a processor", "git_sha": "abc", "threads": 1, "versions": {}}
    made.seconds = {"train": 3.0, "baseline": 5.0, "total": 9.5}
    folder.mkdir(parents=True, exist_ok=True)
    if status == "ok":
        made.metrics, made.baseline = metrics(accuracy, size, **extra), metrics(baseline, 165_000, **of_baseline)
        base = folder.parent / f"base-{baseline}"
        base.mkdir(exist_ok=True)
        made.artifact = {"path": "artifact.onnx", "sha256": "b" * 64}
        made.baseline_artifact = {"path": f"../{base.name}/artifact.onnx", "sha256": f"{baseline}".ljust(64, "c")}
        answers(base, baseline, seed)
        answers(folder, accuracy, seed, predictions.read_predictions(base))
    made.write(folder)
    return made


def answers(place, share, seed=0, beside=None):
    """Predictions on 200 images, `share` of them right; `beside` are the baseline's."""
    labels = np.random.default_rng(0).integers(0, 10, 200)  # the same test images for every seed
    random = np.random.default_rng(seed)
    logits = np.eye(10, dtype=np.float32)[(labels + (np.arange(200) >= share * 200)) % 10]
    pixels = random.random((200, 1, 28, 28), dtype=np.float32)
    kept = predictions.predictions_of(logits, labels, pixels, beside)
    (place / predictions.FILE).write_bytes(kept.packed())
    (place / "artifact.onnx").write_bytes(b"an artifact")


EXPERIMENT = {
    "test_accuracy": 0.97, "gzip_bytes": 43_210, "test_set_seconds": 0.1234, "val_accuracy": 0.96, "test_loss": 0.1,
    "parameters": 44_426, "sparsity": 0.0, "file_bytes": 45_000,
}  # fmt: skip
SIZES = {"train": 54_000, "val": 6_000, "test": 10_000}


def experiment(folder, name, seed, right, data="mnist", perturb="none", **metrics):
    """The record of an experiment whose artifact was right on `right` (0 to 1) of 1,000 images, the first ones."""
    place = folder / f"{name}-{seed}-{perturb}"
    place.mkdir()
    versions = dict.fromkeys(("python", "torch", "onnxruntime", "lcomp"), "1")
    result = Result(
        "ok",
        name=name,
        seed=seed,
        metrics=EXPERIMENT | metrics,
        baseline=EXPERIMENT,
        dataset={"name": data, "sha256": data, **SIZES},
    )
    result.environment = {"cpu": "a processor", "threads": 1, "git_sha": "abc", "versions": versions}
    result.overrides = [f"perturb={perturb}"]
    result.seconds = {"train": 30, "baseline": 75}
    result.write(place)
    labels = np.ones(1000, np.int16)
    answers = np.where(np.arange(1000) < right * 1000, 1, 0).astype(np.int16)
    np.savez(place / predictions.FILE, predictions=answers, labels=labels)
