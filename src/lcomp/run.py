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
from omegaconf import DictConfig, OmegaConf
from torch import nn

from lcomp import baseline as baselines
from lcomp import config, identity, measure
from lcomp.build import build
from lcomp.environment import environment
from lcomp.export import export
from lcomp.files import sha256
from lcomp.modules import BaselineModule, DistillationModule
from lcomp.result import Result
from lcomp.training import NotFinite, fit, load_checkpoint, save

log = logging.getLogger(__name__)
ARTIFACT = "artifact.onnx"


def run(cfg: DictConfig, folder: Path, overrides: list[str], choices: dict[str, Any] | None = None) -> Result:
    """Carries out the run that `cfg` describes; leaves checkpoint, artifact and record in `folder`.

    The record is written for every run: one that fails has its status and the cause, and the error is raised again.
    """
    result = Result(name=cfg.name, overrides=overrides, seed=cfg.seed, choices=choices or {})
    result.params, result.environment = config.params(cfg), environment(cfg.threads)
    try:
        carry_out(cfg, folder, result)
        result.status = "ok"
    except BaseException as error:
        result.status = "nan" if isinstance(error, NotFinite) else "failed"
        result.error = f"{type(error).__name__}: {error}"
        raise
    finally:
        result.write(folder)
    return result


def carry_out(cfg: DictConfig, folder: Path, result: Result) -> None:
    """The way of one run; fills `result` as it goes."""
    config.check(cfg)
    torch.set_num_threads(cfg.threads)
    with timed(result, "total"):
        objective = build(config.without(cfg.kd, *config.KD_RUN_KEYS), "kd") if cfg.kd else None
        techniques = [build(cfg[family], family) for family in ("prune", "quant") if cfg[family]]
        data = build(cfg.data, "data")
        student = make_network(config.student(cfg), data, cfg.seed)
        for technique in techniques:
            technique.check(student)
        describe(cfg, data, result)

        baseline = baseline_of(cfg, data)
        result.seconds["baseline"] = baseline.seconds
        network = copy.deepcopy(baseline.network) if config.starts_from_baseline(cfg) else student
        module = BaselineModule(network, techniques, cfg.trainer.learning_rate)
        if objective is not None:
            teacher = teacher_of(cfg, data, baseline.network)
            if hasattr(data, "carry_logits"):
                with torch.no_grad():
                    data.carry_logits(teacher.eval())
            module = DistillationModule(network, teacher, objective, techniques, cfg.trainer.learning_rate)
        with timed(result, "train"):
            if objective is not None or any(technique.trains for technique in techniques):
                result.steps = fit(module, data, cfg.trainer.max_epochs, cfg.progress)
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
    result.config_hash = identity.config_hash(config.plain(cfg), result.dataset["sha256"])
    result.code_hash = identity.code_hash(cfg.model._target_, cfg.data._target_)


def baseline_of(cfg: DictConfig, data: Any) -> baselines.Baseline:
    """The cached baseline of this model, data, training perturbation and seed."""
    dataset = identity.dataset(data)
    defining = {
        "model": OmegaConf.to_container(cfg.model, resolve=True),
        "trainer": OmegaConf.to_container(cfg.baseline.trainer, resolve=True),
        "data": config.without(cfg.data, "root", "download", "eval_perturbations", "dataset"),
        "dataset": dataset,
        "seed": cfg.seed,
        "threads": cfg.threads,
        "code": identity.code_hash(cfg.model._target_, cfg.data._target_),
    }
    name = identity.digest(defining)

    def train(network: nn.Module) -> None:
        settings = cfg.baseline.trainer
        log.info("[%s] training the baseline once (%d epochs); it is cached", dataset["name"], settings.max_epochs)
        fit(BaselineModule(network, learning_rate=settings.learning_rate), data, settings.max_epochs, cfg.progress)

    def write(network: nn.Module, path: Path) -> None:
        export(network, path, data.input_shape, data.num_classes, name)

    return baselines.cached(Path(cfg.baseline.cache), name, make_network(cfg.model, data, cfg.seed), train, write)


def teacher_of(cfg: DictConfig, data: Any, baseline: nn.Module) -> nn.Module:
    """The baseline, or the network of the checkpoint that `kd.teacher` points to (of the same model)."""
    path = cfg.kd.teacher
    return baseline if path is None else load_checkpoint(Path(path), make_network(cfg.model, data, cfg.seed))


def make_network(model: DictConfig, data: Any, seed: int) -> nn.Module:
    """The network of a model's YAML, its weights drawn from `seed`; classes and input shape come from the data."""
    torch.manual_seed(seed)
    network: nn.Module = build(model, "model", num_classes=data.num_classes, input_shape=list(data.input_shape))
    return network


def compare(
    cfg: DictConfig, data: Any, baseline: baselines.Baseline, network: nn.Module, artifact: Path, result: Result
) -> None:
    """Measures the artifact beside the baseline's, in one process; the test split is read here, once."""
    validation, test = measure.split_of(data.val_dataloader()), measure.split_of(data.test_dataloader())
    paths, networks = (baseline.artifact, artifact), (baseline.network, network)
    sessions = [measure.session(path) for path in paths]
    latencies = measure.latencies(sessions, test.pixels, cfg.measure.latency_runs)
    perturbed = measure.perturbed(test, getattr(data, "eval_perturbations", {}))
    for metrics, path, session, one, latency in zip(
        (result.baseline, result.metrics), paths, sessions, networks, latencies, strict=True
    ):
        metrics |= measure.quality(session, validation, test) | measure.sizes(path) | measure.counts(path)
        metrics |= measure.weights(one) | measure.fidelity(session, one, test.pixels) | latency
        metrics["latency_ratio"] = latency["latency_us_p50"] / latencies[0]["latency_us_p50"]
        for name, split in perturbed.items():
            values = measure.logits(session, split.pixels)
            metrics[f"accuracy/{name}"] = measure.accuracy_and_loss(values, split.labels)[0]
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
