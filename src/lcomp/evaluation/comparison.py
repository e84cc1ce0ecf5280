"""An artifact beside its baseline's: figures, predictions and latencies of both, measured in one process."""

from __future__ import annotations

import math
import os
from pathlib import Path

import torch
from torch import nn

from lcomp.config.run_spec import RunSpec
from lcomp.data import content_hash
from lcomp.data.protocol import Data
from lcomp.errors import UserError
from lcomp.evaluation import measurement, size
from lcomp.evaluation.figures import Figures, known
from lcomp.evaluation.measurement import Outputs
from lcomp.evaluation.mnist_c import MNISTC
from lcomp.record import folders, predictions
from lcomp.record.environment import cpu
from lcomp.record.files import sha256, write_atomically
from lcomp.record.predictions import Predictions
from lcomp.record.result import ARTIFACT, FILE_NAME, Result, read_result, timing
from lcomp.runtimes import Runtime
from lcomp.runtimes.runtime import make_runtime
from lcomp.tasks.split import Splits
from lcomp.training import components
from lcomp.training.baseline_cache import Baseline
from lcomp.training.fit import NotFinite


def compare(
    data: Data,
    splits: Splits,
    robustness: MNISTC | None,
    runtime: Runtime,
    baseline: Baseline,
    network: nn.Module,
    trained: Outputs | None,
    folder: Path,
    result: Result,
) -> None:
    """Measures the artifact beside the baseline's; keeps the predictions of both beside them.

    Its outputs are held against those of `trained`, or of `network` where they are the same.
    """
    task, evaluated = data.task, data.eval_perturbations
    perturbed = measurement.perturbed(splits.test, evaluated)
    example = [torch.from_numpy(values[:2]) for values in splits.test.inputs.values()]

    def figures(
        path: Path, network: nn.Module, trained: Outputs | None, beside: Predictions | None = None
    ) -> dict[str, float]:
        file = runtime.file(path)
        session = runtime.session(file)
        own = measurement.artifact_outputs(session, splits.test.inputs)
        if kept := task.predictions(own, splits.test, beside):
            write_atomically(path.parent / predictions.FILE, kept.packed())
        expected = measurement.predict_outputs(network, splits.test.inputs) if trained is None else trained
        changed = measurement.robustness(task, session, perturbed)
        if robustness:
            changed |= robustness.accuracies(runtime.session_for_many(file), splits)
        return Figures(
            quality=measurement.quality(task, session, splits, own, expected),
            file=size.of_file(file, size.of_packed(path)),
            graph=size.of_graph(path),
            network=size.of_network(network, *example),
            robustness=changed,
        ).flat()

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
        raise NotFinite("the artifact's outputs are not finite")
    if robustness:
        base = robustness.measured(result.baseline, runtime.session(deployed), baseline.network, splits.test)
        own = robustness.measured(result.metrics, runtime.session(own_file), network, splits.test)
        result.baseline |= robustness.compared_to_baseline(base, base, splits.test)
        result.metrics |= robustness.compared_to_baseline(own, base, splits.test)


def measure_latencies(calls: int, runtime: Runtime, splits: Splits, folder: Path, result: Result) -> None:
    """Measures latencies of the run's artifact and its baseline's, in turns, in this process.

    Args:
        calls: at batch 1, of each.
    """
    own = folders.verified_file(folders.artifact_file(folder, result.artifact), result.artifact.get("sha256"))
    base_file = folders.baseline_file(folder, result.baseline_artifact, folder.parent)
    sessions = [runtime.session(path) for path in (base_file, own)]
    base, found = measurement.latencies(sessions, splits.test.inputs, calls)
    result.baseline |= known(base) | {"latency_ratio": 1.0}
    result.metrics |= known(found) | {"latency_ratio": found.latency_us_p50 / base.latency_us_p50}


def complete_latencies(spec: RunSpec, folder: Path) -> None:
    """Measures the latencies that a run beside others left out, and completes its record.

    Raises:
        UserError: the data is no longer what the run was measured on.
    """
    torch.set_num_threads(spec.threads)
    result = read_result(folder / FILE_NAME)
    data = components.make_data(spec)
    if content_hash.dataset_record(data)["sha256"] != result.dataset["sha256"]:
        raise UserError(f"{folder}: measured on another data set than this command's ({result.dataset['name']})")
    with timing(result, "latency"):
        calls, runtime = spec.measure.latency_runs, make_runtime(spec.runtime)
        measure_latencies(calls, runtime, measurement.splits_of(data), folder, result)
    result.environment["cpu"] = cpu()  # latencies are this processor's
    result.write(folder)
