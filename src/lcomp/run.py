"""The story of one run: train, compress, export, measure, record."""

from __future__ import annotations

import copy
import logging
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import hydra.utils
import pytorch_lightning as pl
import torch
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf
from torch import nn

from lcomp import baseline as baselines
from lcomp import config, identity, measure
from lcomp.export import export
from lcomp.files import sha256
from lcomp.modules import BaselineModule, DistillationModule
from lcomp.result import Result

log = logging.getLogger(__name__)


def run(cfg: DictConfig, folder: Path, overrides: list[str]) -> Result:
    """Carries out the run that `cfg` describes and leaves its artifact and its record in `folder`.

    The record is written for every run; one that fails has its status and the error's first line.
    """
    result = Result(name=cfg.name, overrides=overrides, seed=cfg.seed, choices=config.choices(cfg))
    try:
        carry_out(cfg, folder, result)
    except BaseException as raised:
        error = raised.__cause__ if isinstance(raised, InstantiationException) and raised.__cause__ else raised
        result.error = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        result.write(folder)
        raise error from None
    result.write(folder)
    return result


def carry_out(cfg: DictConfig, folder: Path, result: Result) -> None:
    start = time.monotonic()
    torch.set_num_threads(cfg.threads)
    resolved: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
    objective = hydra.utils.instantiate(config.without(cfg.kd, "student")) if cfg.kd else None
    data = hydra.utils.instantiate(cfg.data)
    result.dataset = {
        "name": data.name,
        "sha256": data.sha256,
        "train": len(data.train),
        "val": len(data.validation),
        "test": len(data.test),
    }
    result.config_hash = identity.config_hash(resolved, data.sha256)
    result.code_hash = identity.code_hash()
    result.environment = environment(cfg)
    result.params = resolved["kd"] or {}

    baseline = train_baseline(cfg, data)
    result.seconds["baseline"] = baseline.seconds

    if objective is not None:
        network = build(config.student(cfg), data, cfg.seed) if cfg.kd.student != "same" else None
        network = network or copy.deepcopy(baseline.network)
        training = time.monotonic()
        data.train.extra = (teacher_logits(baseline.network, data),)
        module = DistillationModule(network, baseline.network, objective, learning_rate=cfg.trainer.learning_rate)
        result.steps = fit(module, data, cfg, cfg.trainer.max_epochs, folder)
        result.seconds["train"] = time.monotonic() - training
        artifact = folder / "artifact.onnx"
        exporting = time.monotonic()
        export(network, artifact, data.input_shape, data.num_classes, result.config_hash)
        result.seconds["export"] = time.monotonic() - exporting
        torch.save(network.state_dict(), folder / "checkpoint.pt")
    else:
        network, artifact = baseline.network, baseline.artifact

    measuring = time.monotonic()
    result.artifact = {"path": str(artifact), "sha256": sha256(artifact)}
    both = [measure.session(baseline.artifact), measure.session(artifact)]
    timed = measure.latencies(both, data.test, cfg.measure.latency_runs)
    for place, one, path, trained, seen in zip(
        (result.baseline, result.metrics),
        both,
        (baseline.artifact, artifact),
        (baseline.network, network),
        timed,
        strict=True,
    ):
        place |= measure.quality(one, data.validation, data.test)
        place |= measure.sizes(path) | measure.counts(path) | weights(trained) | seen
    result.metrics["latency_ratio"] = result.metrics["latency_us_p50"] / result.baseline["latency_us_p50"]
    result.baseline["latency_ratio"] = 1.0
    result.seconds["measure"] = time.monotonic() - measuring
    result.seconds["total"] = time.monotonic() - start
    result.status = "ok"


def train_baseline(cfg: DictConfig, data: Any) -> baselines.Baseline:
    """The cached baseline of this model, data and seed."""
    defining = {
        "model": OmegaConf.to_container(cfg.model, resolve=True),
        "trainer": OmegaConf.to_container(cfg.baseline.trainer, resolve=True),
        "data": [data.name, data.sha256, data.batch_size, data.seed],
        "seed": cfg.seed,
        "threads": cfg.threads,
        "code": identity.code_hash(),
    }
    name = identity.digest(defining)

    def train(network: nn.Module) -> None:
        log.info("training the baseline on %s (%d epochs)", data.name, cfg.baseline.trainer.max_epochs)
        module = BaselineModule(network, learning_rate=cfg.baseline.trainer.learning_rate)
        fit(module, data, cfg, cfg.baseline.trainer.max_epochs, Path(cfg.baseline.cache))

    def write(network: nn.Module, path: Path) -> None:
        export(network, path, data.input_shape, data.num_classes, name)

    return baselines.cached(Path(cfg.baseline.cache), name, build(cfg.model, data, cfg.seed), train, write)


def build(model: DictConfig, data: Any, seed: int) -> nn.Module:
    """The network of a model's YAML, its weights drawn from `seed`; classes and input shape come from the data."""
    pl.seed_everything(seed, verbose=False)
    network: nn.Module = hydra.utils.instantiate(
        model, num_classes=data.num_classes, input_shape=list(data.input_shape)
    )
    return network


def fit(module: pl.LightningModule, data: Any, cfg: DictConfig, epochs: int, folder: Path) -> int:
    """One fit; returns the optimizer's steps."""
    bar = sys.stderr.isatty() if cfg.progress == "auto" else cfg.progress
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=bar,
        enable_model_summary=False,
        deterministic=True,
        num_sanity_val_steps=0,
        default_root_dir=str(folder),
    )
    trainer.fit(module, data)
    return trainer.global_step


@torch.no_grad()
def teacher_logits(teacher: nn.Module, data: Any) -> torch.Tensor:
    """The teacher's logits (N, classes) of the training set, computed once: its inputs do not change."""
    teacher.eval()
    return torch.cat([teacher(images.float().div(255)) for images in data.train.images.split(1_000)])


def weights(network: nn.Module) -> dict[str, float]:
    """Parameters, those that are not zero, and the share of zeros among the weights (tensors of two or more axes)."""
    tensors = [p.detach() for p in network.parameters()]
    matrices = [t for t in tensors if t.dim() > 1]
    zeros = sum(int((t == 0).sum()) for t in matrices)
    return {
        "parameters": sum(t.numel() for t in tensors),
        "nonzero_parameters": sum(int(t.count_nonzero()) for t in tensors),
        "sparsity": zeros / sum(t.numel() for t in matrices),
    }


def environment(cfg: DictConfig) -> dict[str, Any]:
    """Where the figures were measured."""

    def git(*arguments: str) -> str | None:
        done = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), *arguments], capture_output=True, text=True, check=False
        )
        return done.stdout.strip() if done.returncode == 0 else None

    status = git("status", "--porcelain")
    packages = ("lcomp", "torch", "pytorch-lightning", "onnx", "onnxruntime", "numpy")
    return {
        "git_sha": git("rev-parse", "HEAD"),
        "git_dirty": None if status is None else bool(status),
        "versions": {name: version(name) for name in packages} | {"python": platform.python_version()},
        "cpu": cpu_model(),
        "threads": cfg.threads,
        "device": "cpu",
    }


def cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
