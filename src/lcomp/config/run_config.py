"""The configuration: where it lies, what its choices are, what it may hold."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf

from lcomp.config import composition
from lcomp.config.composition import CHOSEN, GROUPS, KD_RUN_KEYS, folder
from lcomp.config.instantiation import find
from lcomp.config.renamed import renewed
from lcomp.errors import UserError, suggestion
from lcomp.record.metric import Metric

__all__ = ["CHOSEN", "GROUPS", "KD_RUN_KEYS", "folder"]  # which this module is asked for
FAMILIES = {"kd": "logit", "prune": "scheduled", "quant": "qat"}  # what naming a key of the family chooses
HEADED = ("experiment", "hparams_search")  # groups whose files state keys of the whole run
HIDDEN = ("hydra", "defaults", "_target_")  # in a configuration, but not a key to set
PATHS = ("data.root", "data.mnist_c_root", "baseline.cache")
Rule = tuple[str, Any, Callable[[Any], bool], str]  # key, type, what is allowed, and in words


def choices(cfg: Any) -> dict[str, Any]:
    """Which choice of each group was made, from Hydra's record of the job."""
    return {group: cfg.runtime.choices.get(group) for group in GROUPS}


def overrides(cfg: Any) -> list[str]:
    """What was asked for beside the defaults, from Hydra's record of the job; it escapes colons in sweeps."""
    return [str(override).replace("\\:", ":") for override in cfg.overrides.task]


def shows_progress(cfg: Any) -> bool | str:
    """What `progress` is for a sweep, whose runs check their own."""
    return cfg.progress if cfg.progress in (True, False) else "auto"


def check_settings(cfg: DictConfig) -> None:
    """Raises UserError for a setting of the run itself that cannot be; groups check their own keys."""
    check_keys(cfg)
    fits: list[Rule] = [
        ("max_epochs", int, lambda v: v >= 1, "a whole number, 1 or more"),
        ("learning_rate", (int, float), lambda v: v > 0, "a number above 0; 0.001 is usual"),
        ("schedule", str, lambda v: v in ("constant", "cosine"), "constant or cosine"),
        ("warmup", (int, float), lambda v: 0 <= v < 1, "a share of training, from 0 to below 1"),
    ]
    rules: list[Rule] = [
        *((f"{prefix}.{key}", *rule) for prefix in ("trainer", "baseline.trainer") for key, *rule in fits),
        ("seed", int, lambda v: 0 <= v < 2**32, "a whole number, 0 to 4294967295"),
        ("threads", int, lambda v: v >= 1, "a whole number, 1 or more"),
        ("device", str, lambda v: v in ("cpu", "gpu"), "cpu or gpu"),
        ("reuse", bool, lambda v: True, "true or false"),
        ("report", bool, lambda v: True, "true or false"),
        ("progress", (bool, str), lambda v: v in (True, False, "auto"), "true, false or auto"),
        (
            "pack.bias_bits",
            (int, type(None)),
            lambda v: v is None or 2 <= v <= 12,
            "a width, 2 to 12, or null: float32",
        ),
        (
            "pack.scale_bits",
            (int, type(None)),
            lambda v: v is None or 1 <= v <= 16,
            "a width, 1 to 16, or null: float32",
        ),
        ("measure.latency_runs", int, lambda v: v >= 1, "a whole number of calls, 1 or more"),
    ]
    if "ensemble" in cfg.kd:
        hint = " (kd.teacher names the teachers)" if cfg.kd.get("teacher") else ""
        rules.append(("kd.ensemble", int, lambda v: v == 1 or (v > 1 and not hint), f"a whole number, 1 or more{hint}"))
    for key, kind, allowed, words in rules:
        value = OmegaConf.select(cfg, key)
        if not isinstance(value, kind) or not allowed(value):
            raise UserError(f"{key}={value}: must be {words}")
    if cfg.kd:
        check_teacher_chain(cfg.kd)


def check_keys(cfg: DictConfig, overrides: Sequence[str] = ()) -> None:
    """Raises UserError for a key that was added where nothing reads it, in whatever file or override.

    Args:
        overrides: what `cfg` was composed from, for the file's name; Hydra's record of the job where there are none.
    """
    whole = OmegaConf.load(folder() / "config.yaml")
    fits = OmegaConf.load(folder() / "trainer" / "default.yaml")
    sections = {"baseline": [*whole.baseline, "optimizer"], "baseline.trainer": fits, "trainer": fits}
    sections |= {"pack": whole.pack, "measure": whole.measure, "": [*whole, *CHOSEN]}
    written = str(OmegaConf.to_container(cfg, resolve=False))
    for section, known in sections.items():
        for key in OmegaConf.select(cfg, section) if section else cfg:
            path, prefix = f"{section}.{key!s}".lstrip("."), f"{section}." if section else ""
            named = re.search(rf"\$\{{{re.escape(path)}[.\[}}]", written)  # a value of its own, for other keys to name
            if key in known or named:
                continue
            file = composition.file_stating(path, overrides)
            where = f" (in {file})" if file else ""
            if not section and key in HEADED:
                raise UserError(
                    f"{path}{where}: nothing reads a section of this name; begin the file with '# @package _global_', "
                    "so that its keys are the run's own"
                )
            allowed = [f"{prefix}{known_key!s}" for known_key in known if known_key not in HIDDEN]
            hint = suggestion(path, allowed)
            raise UserError(f"{path}{where}: nothing reads this key; allowed are {', '.join(allowed)}{hint}")


def with_absolute_paths(cfg: DictConfig) -> DictConfig:
    """`cfg` with its paths as they are here and now, so that whoever reads them later, from whatever folder and in
    whatever environment, finds the same."""
    cfg = copy.deepcopy(cfg)
    for key in PATHS:
        path = OmegaConf.select(cfg, key)
        if isinstance(path, str) and "://" not in path:
            OmegaConf.update(cfg, key, str(Path(path).absolute()))
    return cfg


def check_teacher_chain(kd: DictConfig) -> None:
    """Raises UserError for teachers that are no paths, and for a chain of teachers that cannot be."""
    teacher, assistants, generations = kd.get("teacher"), kd.get("assistants", []), kd.get("generations", 1)
    if not isinstance(teacher, str | None) and not (
        isinstance(teacher, ListConfig) and all(isinstance(path, str) for path in teacher)
    ):
        raise UserError(f"kd.teacher={teacher}: must be the path of a checkpoint, or a list of them, such as [a,b]")
    if not isinstance(assistants, list | ListConfig):
        raise UserError(f"kd.assistants={assistants}: must be a list of models, such as [lenet5_half]")
    if not isinstance(generations, int) or isinstance(generations, bool) or generations < 1:
        raise UserError(f"kd.generations={generations}: must be a whole number, 1 or more")
    if kd.get("student") == "same":
        for key, value, idle in (("assistants", assistants, []), ("generations", generations, 1)):
            if value != idle:
                raise UserError(
                    f"kd.{key}={value}: kd.student=same starts from the baseline's weights, and has nothing to learn "
                    "from smaller or later teachers; name a student with fresh ones (kd.student=fresh, small_cnn ...)"
                )


def plain_dict(cfg: DictConfig) -> dict[str, Any]:
    """The resolved configuration as a dictionary, classes by their present names."""
    resolved: dict[str, Any] = renewed(OmegaConf.to_container(cfg, resolve=True))
    return resolved


def technique_params(cfg: DictConfig) -> dict[str, Any]:
    """The technique parameters in force, flat: `{"kd.temperature": 3, "prune.schedule": "cubic", ...}`."""
    params: dict[str, Any] = {}

    def flatten(node: dict[str, Any], prefix: str) -> None:
        for key, value in node.items():
            if isinstance(value, dict):
                if "_target_" in value:
                    params[f"{prefix}.{key}"] = value["_target_"].rpartition(".")[2]
                flatten(value, f"{prefix}.{key}")
            elif not key.startswith("_"):
                params[f"{prefix}.{key}"] = value

    for family in FAMILIES:
        flatten(plain_dict(cfg)[family], family)
    for group in ("robustness", "pack", "runtime", "perturb"):
        flatten(plain_dict(cfg)[group], group)
    return params


def training_data_settings(cfg: DictConfig) -> dict[str, Any]:
    """What of `data` a network's weights depend on beside the examples themselves: neither where these lie nor what the
    network is measured on."""
    return without(cfg.data, "root", "download", "dataset", "eval_perturbations", "mnist_c_root")


def student_config(cfg: DictConfig) -> DictConfig:
    """The model to train: the one that `kd.student` names, or the baseline's own."""
    name = cfg.kd.get("student", "same")
    if name in ("same", "fresh"):
        node = cfg.model
        assert isinstance(node, DictConfig)
        return node
    return model_config(cfg, "kd.student", name, "same", "fresh")


def model_config(cfg: DictConfig, key: str, name: str, *words: str) -> DictConfig:
    """The model that `key` names, as a part of `cfg`: a file model/NAME.yaml wherever Hydra looks for one, or a class,
    package.Class, with its own defaults.

    Raises:
        UserError: there is none (`words` are what else is allowed).
    """
    if not isinstance(name, str):
        raise UserError(f"{key}={name}: must be the name of a model, such as small_cnn, or package.Class")
    loader = composition.config_loader()
    allowed = loader.get_group_options("model")
    if name in allowed:
        override = [f"model={name}"]
        composed = loader.load_configuration("config", override, RunMode.RUN, from_shell=False)
        node = composition.without_leftovers(composed, override).model
    elif "." in name:
        find(name, key)
        node = OmegaConf.create({"_target_": name})
    else:
        everything = [*words, *allowed]
        raise UserError(
            f"{key}={name}: allowed are {', '.join(everything)}, or a class as package.Class"
            + suggestion(name, everything)
        )
    assert isinstance(node, DictConfig)
    node._set_parent(cfg)  # what it interpolates is this run's
    return node


def intermediate_models(cfg: DictConfig) -> list[DictConfig]:
    """The models between the first teacher and the student: assistants, then the student's earlier generations."""
    assistants = [model_config(cfg, "kd.assistants", name) for name in cfg.kd.get("assistants", [])]
    return assistants + [student_config(cfg)] * (cfg.kd.get("generations", 1) - 1)


def starts_from_baseline(cfg: DictConfig) -> bool:
    """Whether the network to compress is a copy of the trained baseline, not a student with fresh weights."""
    return bool(cfg.kd.get("student", "same") == "same")


def without(node: DictConfig, *keys: str) -> dict[str, Any]:
    """`node` as a plain dictionary less `keys`."""
    return {key: value for key, value in plain_dict(node).items() if key not in keys}


def metric_of_task(node: Any) -> Metric:
    """The metric of the task that a configuration names, without making it.

    Raises:
        UserError: it names none.
    """
    target = str(node.get("_target_")) if node else "none"
    made = find(target, "task._target_")
    metric = getattr(made, "metric", None)
    if not isinstance(metric, Metric):
        raise UserError(f"task._target_={target}: not a Task of lcomp.tasks: it has no metric")
    return metric
