"""The specification of a run: parsed once, frozen, from what Hydra composed; errors first."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from omegaconf import DictConfig

from lcomp.config.composition import KD_RUN_KEYS
from lcomp.config.run_config import check_keys, model_settings, resolved_dict
from lcomp.config.settings import Rule, Settings, checked, is_count, is_texts, section
from lcomp.errors import UserError
from lcomp.record.plain import PlainValue


@dataclass(frozen=True)
class TrainerSettings:
    """How long and how fast a network learns."""

    max_epochs: Annotated[int, Rule("a whole number, 1 or more", lambda v: v >= 1)]
    learning_rate: Annotated[float, Rule("a number above 0; 0.001 is usual", lambda v: v > 0)]
    schedule: Annotated[str, Rule("constant or cosine", lambda v: v in ("constant", "cosine"))]
    warmup: Annotated[float, Rule("a share of training, from 0 to below 1", lambda v: 0 <= v < 1)]
    gradient_clip_val: Annotated[
        float | None, Rule("a norm above 0, or null: gradients as they are", lambda v: v is None or v > 0)
    ] = None
    accumulate_grad_batches: Annotated[int, Rule("a whole number, 1 or more", lambda v: v >= 1)] = 1
    precision: Annotated[
        str,
        Rule("32-true, bf16-mixed or 16-mixed", lambda v: v in ("32-true", "bf16-mixed", "16-mixed")),
    ] = "32-true"
    memory_format: Annotated[
        str | None,
        Rule(
            "channels_last, contiguous, or null: the network's own",
            lambda v: v in (None, "channels_last", "contiguous"),
        ),
    ] = None
    checkpoint_minutes: Annotated[
        float | None,
        Rule("minutes between checkpoints, above 0, or null: at epochs' ends", lambda v: v is None or v > 0),
    ] = None


@dataclass(frozen=True)
class TrainingSpec:
    """How a network is trained.

    Attributes:
        scheduler: of the learning rate; empty: `trainer.schedule` with `trainer.warmup`.
        callbacks: Lightning's, or a user's, by names of their own.
    """

    trainer: TrainerSettings
    optimizer: Settings
    scheduler: Settings
    callbacks: Settings


@dataclass(frozen=True)
class PackSettings:
    """What is rounded after training, so that the packed file is smaller, None: nothing; and the file's format."""

    bias_bits: Annotated[int | None, Rule("a width, 2 to 12, or null: float32", lambda v: v is None or 2 <= v <= 12)]
    scale_bits: Annotated[int | None, Rule("a width, 1 to 16, or null: float32", lambda v: v is None or 1 <= v <= 16)]
    version: Annotated[int | None, Rule("1, 2, or null: 1", lambda v: v in (None, 1, 2))]


@dataclass(frozen=True)
class MeasureSettings:
    """How an artifact is measured."""

    latency_runs: Annotated[int, Rule("a whole number of calls, 1 or more", lambda v: v >= 1)]


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """What holds for the whole run."""

    seed: Annotated[int, Rule("a whole number, 0 to 4294967295", lambda v: 0 <= v < 2**32)]
    threads: Annotated[int, Rule("a whole number, 1 or more", lambda v: v >= 1)]
    device: Annotated[str, Rule("cpu or gpu", lambda v: v in ("cpu", "gpu"))]
    reuse: Annotated[bool, Rule("true or false")]
    report: Annotated[bool, Rule("true or false")]
    progress: Annotated[bool | str, Rule("true, false or auto", lambda v: v in (True, False, "auto"))]
    checkpoint: Annotated[str, Rule("last or best", lambda v: v in ("last", "best"))] = "last"
    speed: Annotated[str, Rule("exact or auto", lambda v: v in ("exact", "auto"))] = "exact"


@dataclass(frozen=True)
class BaselineSpec(TrainingSpec):
    """The network that is compressed, or teaches.

    Attributes:
        cache: the folder of trained baselines.
        weights: the file that it is read from, and not trained; None: it is trained.
        data: what it is trained on; the training examples may be perturbed otherwise than the run's.
    """

    cache: Path
    weights: Path | None
    data: Settings


@dataclass(frozen=True)
class DistillationSpec:
    """Who learns what from whom.

    Attributes:
        objective: empty where there is no distillation.
        student: the model to train; the baseline's own where none is named.
        starts_from_baseline: whether the student is a copy of the trained baseline, not one with fresh weights.
        student_seed: of the student's fresh weights.
        checkpoints: of the teachers; none: the baseline teaches.
        ensemble: baselines that teach together.
        chain: the models between the first teacher and the student: assistants, then the student's earlier generations.
        chain_seed: of the first of these; each later one has the next.
    """

    objective: Settings
    student: Settings
    starts_from_baseline: bool
    student_seed: int
    checkpoints: tuple[Path, ...]
    ensemble: int
    chain: tuple[Settings, ...]
    chain_seed: int


@dataclass(frozen=True, kw_only=True)
class RunSpec(RunSettings, TrainingSpec):
    """One run.

    Attributes:
        config: the whole configuration, resolved: what identifies the run.
    """

    data: Settings
    task: Settings
    model: Settings
    baseline: BaselineSpec
    distillation: DistillationSpec
    prune: Settings
    quant: Settings
    pack: PackSettings
    runtime: Settings
    robustness: Settings
    measure: MeasureSettings
    config: Settings


def parse(cfg: DictConfig) -> RunSpec:
    """The run that a composed configuration describes.

    Raises:
        UserError: a key that nothing reads, or a setting of the run itself that cannot be. What a group's `_target_`
            takes is checked when it is made.
    """
    check_keys(cfg)
    config = resolved_dict(cfg)
    run = checked(RunSettings, config, "")
    if not isinstance(cache := section(config, "baseline").get("cache"), str):
        raise UserError(f"baseline.cache={cache}: must be the path of a folder")
    trained_on = resolved_dict(trained_for_baseline(cfg).data)
    weights = parse_weights(section(config, "baseline"), section(config, "kd").get("ensemble"))
    return RunSpec(
        **vars(run),
        **vars(parse_training(config, run.device)),
        baseline=BaselineSpec(
            **vars(parse_training(config, run.device, "baseline")), cache=Path(cache), weights=weights, data=trained_on
        ),
        distillation=parse_distillation(cfg, section(config, "kd"), run.seed),
        pack=checked(PackSettings, section(config, "pack"), "pack."),
        measure=checked(MeasureSettings, section(config, "measure"), "measure."),
        data=section(config, "data"),
        task=section(config, "task"),
        model=section(config, "model"),
        prune=section(config, "prune"),
        quant=section(config, "quant"),
        runtime=section(config, "runtime"),
        robustness=section(config, "robustness"),
        config=config,
    )


def parse_weights(baseline: Settings, ensemble: PlainValue) -> Path | None:
    """The file that the baseline is read from.

    Raises:
        UserError: it is no path, or something is asked for besides that only training gives.
    """
    path = baseline.get("weights")
    if path is None:
        return None
    if not isinstance(path, str) or not path:
        raise UserError(f"baseline.weights={path}: must be the path of a file of weights")
    given = f"baseline.weights={path}: the baseline is read from it"
    if baseline.get("perturb") is not None:
        raise UserError(f"{given}, and not trained on what baseline.perturb says; leave one of the two out")
    if is_count(ensemble) and ensemble > 1:
        raise UserError(f"{given}, and kd.ensemble={ensemble} needs more; name files as teachers by kd.teacher=[a,b]")
    return Path(path)


def parse_training(config: Settings, device: str, *owner: str) -> TrainingSpec:
    """How a network is trained.

    Args:
        device: `cpu` or `gpu`.
        owner: the key under which the settings stand; none: the run's own.

    Raises:
        UserError: a setting that cannot be.
    """
    prefix = "".join(f"{key}." for key in owner)
    trainer = checked(TrainerSettings, section(config, *owner, "trainer"), f"{prefix}trainer.")
    if trainer.precision == "16-mixed" and device == "cpu":
        raise UserError(
            f"{prefix}trainer.precision=16-mixed: processors do not train in float16; write device=gpu, or "
            f"{prefix}trainer.precision=bf16-mixed"
        )
    chosen = {group: section(config, *owner, group) for group in ("optimizer", "scheduler", "callbacks")}
    return TrainingSpec(trainer, **chosen)


def trained_for_baseline(cfg: DictConfig) -> DictConfig:
    """`cfg` with the perturbation of training examples that `baseline.perturb` names."""
    if cfg.baseline.perturb is None:
        return cfg
    perturbed = copy.deepcopy(cfg)
    perturbed.perturb = cfg.baseline.perturb
    return perturbed


def parse_distillation(cfg: DictConfig, kd: Settings, seed: int) -> DistillationSpec:
    """What `kd` says, with the models that it names.

    Raises:
        UserError: teachers, models or numbers that cannot be.
    """
    objective = {key: value for key, value in kd.items() if key not in KD_RUN_KEYS}
    if kd and not objective:
        raise UserError(f"kd.{next(iter(kd))}: set, but kd=none takes nothing; choose another kd, or leave it out")
    teacher, ensemble = kd.get("teacher"), kd.get("ensemble", 1)
    hint = " (kd.teacher names the teachers)" if teacher else ""
    if not is_count(ensemble) or (ensemble > 1 and hint):
        raise UserError(f"kd.ensemble={ensemble}: must be a whole number, 1 or more{hint}")
    if not isinstance(teacher, str | None) and not is_texts(teacher):
        raise UserError(f"kd.teacher={teacher}: must be the path of a checkpoint, or a list of them, such as [a,b]")
    paths = [teacher] if isinstance(teacher, str) else teacher or []
    assistants, generations = kd.get("assistants", []), kd.get("generations", 1)
    if not isinstance(assistants, list):
        raise UserError(f"kd.assistants={assistants}: must be a list of models, such as [lenet5_half]")
    if not is_count(generations):
        raise UserError(f"kd.generations={generations}: must be a whole number, 1 or more")
    name = kd.get("student", "same")
    if name == "same":
        for key, value, idle in (("assistants", assistants, []), ("generations", generations, 1)):
            if value != idle:
                raise UserError(
                    f"kd.{key}={value}: kd.student=same starts from the baseline's weights, and has nothing to learn "
                    "from smaller or later teachers; name a student with fresh ones (kd.student=fresh, small_cnn ...)"
                )
    own = name in ("same", "fresh")
    student = resolved_dict(cfg.model) if own else model_settings(cfg, "kd.student", name, "same", "fresh")
    chain = [model_settings(cfg, "kd.assistants", assistant) for assistant in assistants]
    chain += [student] * (generations - 1)
    is_another = name == "fresh" or generations > 1  # of the baseline's own kind, drawn after all the chain's
    return DistillationSpec(
        objective=objective,
        student=student,
        starts_from_baseline=name == "same",
        student_seed=seed + ensemble + len(chain) if is_another else seed,
        checkpoints=tuple(Path(path) for path in paths),
        ensemble=ensemble,
        chain=tuple(chain),
        chain_seed=seed + ensemble,
    )
