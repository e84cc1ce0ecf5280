"""An artifact beside its baseline's: figures, predictions and latencies of both, measured in one process."""

from __future__ import annotations

import math
import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import nn

from lcomp.config.instantiation import build
from lcomp.config.run_spec import RunSpec
from lcomp.config.settings import Settings
from lcomp.data import content_hash
from lcomp.data.protocol import Data
from lcomp.errors import UserError
from lcomp.evaluation import measurement, size
from lcomp.evaluation.corruptions import Corruptions
from lcomp.evaluation.figures import Figures, known
from lcomp.evaluation.measurement import Outputs
from lcomp.record import folders, predictions
from lcomp.record.environment import cpu
from lcomp.record.files import sha256, write_atomically
from lcomp.record.predictions import Predictions
from lcomp.record.result import ARTIFACT, FILE_NAME, Result, read_result, timing
from lcomp.runtimes import ONNXRuntime, Runtime
from lcomp.tasks import Task
from lcomp.tasks.split import Split, Splits
from lcomp.training import components
from lcomp.training.baseline_cache import Baseline


@dataclass(frozen=True)
class ArtifactFile:
    """What a record says of a deployed file: its path from the run's folder, its SHA-256."""

    path: str
    sha256: str


@dataclass(frozen=True)
class Comparison:
    """An artifact beside its baseline's: the files that were measured, and the figures of each by name."""

    artifact: ArtifactFile
    baseline_artifact: ArtifactFile
    metrics: dict[str, float]
    baseline: dict[str, float]

    def enter(self, result: Result) -> None:
        """Enters it in a run's record."""
        result.artifact, result.baseline_artifact = dict(vars(self.artifact)), dict(vars(self.baseline_artifact))
        result.metrics, result.baseline = self.metrics, self.baseline

    @property
    def is_finite(self) -> bool:
        return math.isfinite(self.metrics["test_loss"])


@dataclass(frozen=True)
class Evaluator:
    """Measures artifacts on the validation and the test split of the data, each read once.

    Attributes:
        robustness: what is measured beside clean and perturbed inputs.
        packed_version: of the format of packed files.
    """

    data: Data
    robustness: Corruptions | None
    runtime: Runtime
    packed_version: int = 1

    @cached_property
    def splits(self) -> Splits:
        return measurement.splits_of(self.data)

    @cached_property
    def perturbed(self) -> dict[str, Split]:
        """The test split under each of the data's perturbations, and what the data have beside it."""
        further = {
            name: measurement.split_of(of, self.data.task) for name, of in self.data.further_dataloaders().items()
        }
        return further | measurement.perturbed(self.splits.test, self.data.eval_perturbations)

    def compare(self, baseline: Baseline, network: nn.Module, trained: Outputs | None, folder: Path) -> Comparison:
        """Measures the artifact in `folder` beside the baseline's; keeps the predictions of both beside them.

        Its outputs are held against those of `trained`, or of `network` where they are the same.
        """
        own, base = folder / ARTIFACT, baseline.artifact
        self.runtime.see(self.splits.validation.inputs)
        setting = [
            self.data.eval_perturbations,
            self.robustness.setting if self.robustness else None,
            self.runtime.setting(),
        ]
        figures = baseline.figures(setting, lambda: self.figures(base, baseline.network, None).flat())
        metrics = self.figures(own, network, trained, predictions.read_predictions(base.parent)).flat()
        own_file, base_file = self.runtime.file(own), self.runtime.file(base)
        found = Comparison(
            ArtifactFile(own_file.name, sha256(own_file)),
            ArtifactFile(os.path.relpath(base_file.resolve(), folder.resolve()), sha256(base_file)),
            metrics,
            figures,
        )
        if self.robustness and found.is_finite:
            test, session = self.splits.test, self.runtime.session
            reference = self.robustness.measured(figures, session(base_file), baseline.network, test)
            measured = self.robustness.measured(metrics, session(own_file), network, test)
            figures |= self.robustness.compared_to_baseline(reference, reference, test)
            metrics |= self.robustness.compared_to_baseline(measured, reference, test)
        return found

    def figures(
        self, path: Path, network: nn.Module, trained: Outputs | None, beside: Predictions | None = None
    ) -> Figures:
        """The figures of one artifact; its predictions are kept in its folder.

        Args:
            network: that it was exported from.
            beside: predictions of the baseline.
        """
        task, splits, file = self.data.task, self.splits, self.runtime.file(path)
        session, test = self.runtime.session(file), splits.test.inputs
        own = measurement.artifact_outputs(session, test)
        if kept := task.predictions(own, splits.test, beside):
            write_atomically(path.parent / predictions.FILE, kept.packed())
        expected = measurement.predict_outputs(network, test) if trained is None else trained
        changed = measurement.robustness(task, session, self.perturbed)
        if self.robustness:
            changed |= self.robustness.accuracies(self.runtime.session_for_many(file), splits, self.data)
        return Figures(
            quality=measurement.quality(task, session, splits, own, expected) | self.fidelity_to_onnx(path, own),
            file=size.of_file(file, size.of_packed(path, self.packed_version)),
            graph=size.of_graph(path),
            network=size.of_network(network, *(torch.from_numpy(values[:2]) for values in test.values())),
            robustness=changed,
            engine=self.runtime.figures(path),
        )

    def fidelity_to_onnx(self, path: Path, own: Outputs) -> dict[str, float]:
        """How well another engine's outputs match what ONNX Runtime makes of the artifact."""
        if isinstance(self.runtime, ONNXRuntime) and self.runtime.file(path) == path:
            return {}
        answers = measurement.artifact_outputs(ONNXRuntime().session_for_many(path), self.splits.test.inputs)
        return {f"onnx_{name}": value for name, value in self.data.task.fidelity(own, answers).items()}


def make_runtime(settings: Settings) -> Runtime:
    """The engine that runs the artifact and the baseline's.

    Raises:
        UserError: it is something else, or a package that it needs is missing.
    """
    made = build(settings, "runtime")
    if not isinstance(made, Runtime):
        raise UserError(f"runtime._target_={settings.get('_target_')}: not a Runtime of lcomp.runtimes")
    made.versions()
    return made


def measure_latencies(
    calls: int,
    runtime: Runtime,
    task: Task,
    splits: Splits,
    folder: Path,
    result: Result,
    alone: AbstractContextManager[None] | None = None,
) -> None:
    """Measures latencies of the run's artifact and its baseline's, in turns, in this process.

    Args:
        calls: at batch 1, of each.
        task: says on which examples.
        alone: within it they are measured, both files read before.
    """
    own = folders.verified_file(folders.artifact_file(folder, result.artifact), result.artifact.get("sha256"))
    base_file = folders.baseline_file(folder, result.baseline_artifact, folder.parent)
    sessions = [runtime.session(path) for path in (base_file, own)]
    inputs, several = splits.test.inputs, {}
    timed = task.timed_inputs(inputs)
    with alone or nullcontext():
        base, found = measurement.latencies(sessions, inputs, calls, timed.pop(""))
        for name, one in timed.items():
            several[name] = map(np.median, measurement.single_latencies(sessions, one, calls))
    result.baseline |= known(base) | {"latency_ratio": 1.0}
    result.metrics |= known(found) | {"latency_ratio": found.latency_us_p50 / base.latency_us_p50}
    for name, (first, second) in several.items():
        result.baseline |= {f"latency_us_p50/{name}": float(first), f"latency_ratio/{name}": 1.0}
        result.metrics |= {f"latency_us_p50/{name}": float(second), f"latency_ratio/{name}": float(second / first)}
    result.environment["cpu"] = cpu()  # latencies are this processor's


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
        measure_latencies(calls, runtime, data.task, measurement.splits_of(data), folder, result)
    result.write(folder)
