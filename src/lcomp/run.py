"""The story of one run: train, compress, export, measure, record."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from onnxruntime import InferenceSession
from torch import nn

from lcomp import config, identity, measure, parts
from lcomp.baseline import Baseline
from lcomp.environment import environment
from lcomp.errors import UserError
from lcomp.export import export
from lcomp.files import sha256
from lcomp.result import Result
from lcomp.training import NotFinite, fit, save

log = logging.getLogger(__name__)
ARTIFACT = "artifact.onnx"


def run(cfg: DictConfig, folder: Path, overrides: list[str], choices: dict[str, Any] | None = None) -> Result:
    """Carries out the run that `cfg` describes; leaves checkpoint, artifact and record in `folder`.

    A run that fails has a record too, with its status and the cause; only an interruption is raised again.
    """
    result = Result(name=cfg.name, overrides=overrides, seed=cfg.seed, choices=choices or {})
    result.params, result.environment = config.params(cfg), environment(cfg.threads)
    try:
        carry_out(cfg, folder, result)
        result.status = "ok"
    except Exception as error:  # whatever a user's network, data or technique raises: recorded, not lost
        result.status = "nan" if isinstance(error, NotFinite) else "failed"
        result.error = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        log.debug("the run failed", exc_info=True)
    except BaseException as interruption:
        result.error = type(interruption).__name__
        raise
    finally:
        result.write(folder)
    return result


def carry_out(cfg: DictConfig, folder: Path, result: Result) -> None:
    """The way of one run; fills `result` as it goes."""
    config.check(cfg)
    torch.set_num_threads(cfg.threads)
    with timed(result, "total"):
        objective, techniques = parts.make_techniques(cfg)
        data = parts.make_data(cfg)
        describe(cfg, data, result)
        student = parts.make_network(config.student(cfg), data, cfg.seed)
        for technique in techniques:
            technique.check(student)

        baseline = parts.make_baseline(cfg, data)
        result.seconds["baseline"] = baseline.seconds
        network = copy.deepcopy(baseline.network) if config.starts_from_baseline(cfg) else student
        module = parts.make_module(cfg, data, network, baseline.network, objective, techniques)
        with timed(result, "train"):
            if objective is not None or any(technique.trains for technique in techniques):
                result.steps = fit(module, data, cfg.trainer.max_epochs, cfg.seed, cfg.progress)
            else:
                for technique in techniques:
                    technique.prepare(network)
        save(module, folder)
        network = module.finalize(batch[0] for batch in data.train_dataloader())

        with timed(result, "export"):
            artifact = folder / ARTIFACT
            export(network, artifact, data.input_shape, data.num_classes, result.config_hash or "")
        result.artifact = {"path": ARTIFACT, "sha256": sha256(artifact)}
        with timed(result, "measure"):
            compare(cfg, data, baseline, network, artifact, result)


def describe(cfg: DictConfig, data: Any, result: Result) -> None:
    """Names the data and the experiment in the record."""
    result.dataset = identity.dataset(data)
    defining = config.plain(cfg) | {
        "student": config.plain(config.student(cfg)),
        "teacher": parts.teacher_identity(cfg),
    }
    result.config_hash = identity.config_hash(defining, result.dataset["sha256"])
    result.code_hash = identity.code_hash(defining)


def compare(cfg: DictConfig, data: Any, baseline: Baseline, network: nn.Module, artifact: Path, result: Result) -> None:
    """Measures the artifact beside the baseline's, in one process; the test split is read here, once."""
    validation, test = measure.split_of(data.val_dataloader()), measure.split_of(data.test_dataloader())
    evaluated = getattr(data, "eval_perturbations", {})
    perturbed = measure.perturbed(test, evaluated)
    sessions = [measure.session(path) for path in (baseline.artifact, artifact)]
    latencies = measure.latencies(sessions, test.pixels, cfg.measure.latency_runs)

    def figures(path: Path, session: InferenceSession, network: nn.Module) -> dict[str, float]:
        found = measure.quality(session, validation, test) | measure.sizes(path) | measure.counts(path)
        found |= measure.weights(network) | measure.fidelity(session, network, test.pixels)
        return found | measure.robustness(session, perturbed)

    cached = baseline.figures(evaluated, lambda: figures(baseline.artifact, sessions[0], baseline.network))
    result.baseline = cached | latencies[0] | {"latency_ratio": 1.0}
    ratio = latencies[1]["latency_us_p50"] / latencies[0]["latency_us_p50"]
    result.metrics = figures(artifact, sessions[1], network) | latencies[1] | {"latency_ratio": ratio}
    if not math.isfinite(result.metrics["test_loss"]):
        raise NotFinite("the artifact's logits are not finite")


@contextmanager
def timed(result: Result, part: str) -> Iterator[None]:
    """Notes the seconds that a part of the run takes."""
    start = time.monotonic()
    try:
        yield
    finally:
        result.seconds[part] = time.monotonic() - start
