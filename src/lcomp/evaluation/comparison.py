"""An artifact beside its baseline's: figures, predictions and latencies of both, measured in one process."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig
from torch import nn

from lcomp.data import content_hash
from lcomp.errors import UserError
from lcomp.evaluation import measurement, size
from lcomp.evaluation.mnist_c import MNISTC
from lcomp.record import folders, predictions
from lcomp.record.environment import cpu
from lcomp.record.files import sha256, write_atomically
from lcomp.record.predictions import Predictions
from lcomp.record.result import ARTIFACT, FILE_NAME, Result, read_result, timing
from lcomp.runtimes import Runtime
from lcomp.runtimes.runtime import make_runtime
from lcomp.training import components
from lcomp.training.baseline_cache import Baseline
from lcomp.training.fit import NotFinite

Answers = NDArray[np.float32]  # logits (images, classes)


def compare(
    data: Any,
    splits: measurement.Splits,
    robustness: MNISTC | None,
    runtime: Runtime,
    baseline: Baseline,
    network: nn.Module,
    trained: Answers | None,
    folder: Path,
    result: Result,
) -> None:
    """Measures the artifact beside the baseline's; keeps the predictions of both beside them.

    Its logits are held against those of `trained`, or of `network` where they are the same.
    """
    evaluated = getattr(data, "eval_perturbations", {})
    perturbed = measurement.perturbed(splits.test, evaluated)
    example = torch.from_numpy(splits.test.pixels[:2])

    def figures(
        path: Path, network: nn.Module, trained: Answers | None, beside: Predictions | None = None
    ) -> dict[str, float]:
        file = runtime.file(path)
        session = runtime.session(file)
        own = measurement.logits(session, splits.test.pixels)
        kept = predictions.predictions_of(own, splits.test.labels, splits.test.pixels, beside)
        write_atomically(path.parent / predictions.FILE, kept.packed())
        expected = measurement.answers(network, splits.test.pixels) if trained is None else trained
        found = measurement.quality(session, splits, own, expected) | size.of_file(file) | size.of_packed(path)
        found |= size.of_graph(path) | size.of_network(network, example) | measurement.robustness(session, perturbed)
        return found | (robustness.accuracies(runtime.session_for_many(file), splits) if robustness else {})

    artifact = baseline.artifact
    engine = runtime.versions() | {"space_to_depth": runtime.space_to_depth}
    setting = [evaluated, robustness.setting if robustness else None, engine]
    result.baseline = baseline.figures(setting, lambda: figures(artifact, baseline.network, None))
    deployed, own_file = runtime.file(artifact), runtime.file(folder / ARTIFACT)
    result.baseline_artifact = {
        "path": os.path.relpath(deployed.resolve(), folder.resolve()),
        "sha256": sha256(deployed),
    }
    result.artifact = {"path": own_file.name, "sha256": sha256(own_file)}
    result.metrics = figures(folder / ARTIFACT, network, trained, predictions.read_predictions(artifact.parent))
    if not math.isfinite(result.metrics["test_loss"]):
        raise NotFinite("the artifact's logits are not finite")
    if robustness:
        base = robustness.measured(result.baseline, runtime.session(deployed), baseline.network, splits.test)
        own = robustness.measured(result.metrics, runtime.session(own_file), network, splits.test)
        result.baseline |= robustness.beside(base, base, splits.test)
        result.metrics |= robustness.beside(own, base, splits.test)


def measure_latencies(
    cfg: DictConfig, runtime: Runtime, splits: measurement.Splits, folder: Path, result: Result
) -> None:
    """Measures latencies of the run's artifact and its baseline's, in turns, in this process."""
    own = folders.verified_file(folders.artifact_file(folder, result.artifact), result.artifact.get("sha256"))
    base_file = folders.baseline_file(folder, result.baseline_artifact, folder.parent)
    sessions = [runtime.session(path) for path in (base_file, own)]
    base, found = measurement.latencies(sessions, splits.test.pixels, cfg.measure.latency_runs)
    result.baseline |= base | {"latency_ratio": 1.0}
    result.metrics |= found | {"latency_ratio": found["latency_us_p50"] / base["latency_us_p50"]}


def clock(cfg: DictConfig, folder: Path) -> None:
    """Measures the latencies that a run beside others left out, and completes its record.

    Raises:
        UserError: the data is no longer what the run was measured on.
    """
    torch.set_num_threads(cfg.threads)
    result = read_result(folder / FILE_NAME)
    data = components.make_data(cfg)
    if content_hash.dataset_record(data)["sha256"] != result.dataset["sha256"]:
        raise UserError(f"{folder}: measured on another data set than this command's ({result.dataset['name']})")
    with timing(result, "latency"):
        measure_latencies(cfg, make_runtime(cfg), measurement.splits_of(data), folder, result)
    result.environment["cpu"] = cpu()  # latencies are this processor's
    result.write(folder)
