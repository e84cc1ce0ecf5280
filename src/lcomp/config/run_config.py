"""The configuration: where it lies, what its choices are, what it may hold."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lcomp.config import composition
from lcomp.config.choices import folder
from lcomp.config.composition import CHOSEN, GROUPS, KD_RUN_KEYS
from lcomp.config.instantiation import find
from lcomp.config.renamed import renewed, tell_renamed
from lcomp.errors import UserError, suggestion
from lcomp.record.containers import plain_list, plain_mapping
from lcomp.record.metric import Metric
from lcomp.record.plain import PlainValue

__all__ = ["CHOSEN", "GROUPS", "KD_RUN_KEYS", "folder"]  # which this module is asked for
OPTIONAL = ("scheduler", "callbacks")  # parts of a run, and of its baseline, of which there may be none
FAMILIES = {"kd": "logit", "prune": "scheduled", "quant": "qat"}  # what naming a key of the family chooses
HEADED = ("experiment", "hparams_search")  # groups whose files state keys of the whole run
HIDDEN = ("hydra", "defaults", "_target_")  # in a configuration, but not a key to set
PATHS = ("data.root", "data.mnist_c_root", "data.cache", "baseline.cache", "baseline.weights")


def choices(cfg: Any) -> dict[str, Any]:
    """Which choice of each group was made, from Hydra's record of the job."""
    return {group: cfg.runtime.choices.get(group) for group in GROUPS}


def overrides(cfg: Any) -> list[str]:
    """What was asked for beside the defaults, from Hydra's record of the job; it escapes colons in sweeps."""
    return [str(override).replace("\\:", ":") for override in cfg.overrides.task]


def overrides_of_hydra(cfg: Any) -> list[str]:
    """What was asked of Hydra itself, from its record of the job."""
    return [str(override) for override in plain_list(cfg.overrides.hydra)]


def shows_progress(cfg: Any) -> bool | str:
    """What `progress` is for a sweep, whose runs check their own."""
    return cfg.progress if cfg.progress in (True, False) else "auto"


def check_keys(cfg: DictConfig, overrides: Sequence[str] = ()) -> None:
    """Raises UserError for a key that was added where nothing reads it, in whatever file or override.

    Args:
        overrides: what `cfg` was composed from, for the file's name; Hydra's record of the job where there are none.
    """
    whole = OmegaConf.load(folder() / "config.yaml")
    fits = OmegaConf.load(folder() / "trainer" / "default.yaml")
    sections = {"baseline": [*whole.baseline, "optimizer", *OPTIONAL], "baseline.trainer": fits, "trainer": fits}
    sections |= {"pack": whole.pack, "measure": whole.measure, "": [*whole, *CHOSEN]}
    written = str(OmegaConf.to_container(cfg, resolve=False))
    for section, known in sections.items():
        node = OmegaConf.select(cfg, section) if section else cfg
        for key in node if isinstance(node, DictConfig) else ():
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
            place = place_of(path)
            hint = f"; write {place}" if place else suggestion(path, allowed)
            raise UserError(f"{path}{where}: nothing reads this key; allowed are {', '.join(allowed)}{hint}")


def keys_of(group: str) -> dict[str, list[str]]:
    """The keys that each choice of a group has."""
    files = sorted((folder() / group).glob("*.yaml")) if group else []
    return {path.stem: [str(key) for key in OmegaConf.load(path) if key not in HIDDEN] for path in files}


def place_of(key: str) -> str:
    """Where a setting stands that `key` looks for among the trainer's; empty where nothing of how networks learn is so
    called."""
    owner, section, name = key.rpartition("trainer.")
    if not section or owner not in ("", "baseline."):
        return ""
    if name in ("optimizer", *OPTIONAL):
        return f"{owner}{name}=..., one of {', '.join(choice for choice in keys_of(name) if choice != 'none')}"
    for group, place in (("optimizer", owner), ("scheduler", owner), ("task", "")):
        choices = [choice for choice, keys in keys_of(group).items() if name in keys]
        if choices:
            return f"{place}{group}.{name}, of {place}{group}={','.join(choices)}"
    return f"{owner}trainer.learning_rate" if name == "lr" else ""


def with_absolute_paths(cfg: DictConfig) -> DictConfig:
    """`cfg` with its paths as they are here and now, so that whoever reads them later, from whatever folder and in
    whatever environment, finds the same."""
    cfg = copy.deepcopy(cfg)
    for key in PATHS:
        path = OmegaConf.select(cfg, key)
        if isinstance(path, str) and "://" not in path:
            OmegaConf.update(cfg, key, str(Path(path).absolute()))
    return cfg


def resolved_dict(cfg: DictConfig) -> dict[str, PlainValue]:
    """The resolved configuration as a dictionary, classes by their present names; former ones are told."""
    container = OmegaConf.to_container(cfg, resolve=True)
    tell_renamed(container)
    resolved: dict[str, PlainValue] = renewed(container)
    return resolved


def resolved_where_possible(cfg: DictConfig) -> dict[str, PlainValue]:
    """The configuration as a dictionary; as it is written, where it cannot be resolved."""
    try:
        return resolved_dict(cfg)
    except OmegaConfBaseException:
        return plain_mapping(cfg)


def technique_params(config: Mapping[str, PlainValue]) -> dict[str, PlainValue]:
    """The technique parameters in force, flat: `{"kd.temperature": 3, "prune.schedule": "cubic", ...}`."""
    params: dict[str, PlainValue] = {}

    def flatten(node: PlainValue, prefix: str) -> None:
        for key, value in node.items() if isinstance(node, dict) else ():
            if isinstance(value, dict):
                if "_target_" in value:
                    params[f"{prefix}.{key}"] = str(value["_target_"]).rpartition(".")[2]
                flatten(value, f"{prefix}.{key}")
            elif not key.startswith("_"):
                params[f"{prefix}.{key}"] = value

    for group in (*FAMILIES, "robustness", "pack", "runtime", "perturb", *OPTIONAL):
        flatten(config.get(group), group)
    return params


def model_settings(cfg: DictConfig, key: str, name: PlainValue, *words: str) -> dict[str, PlainValue]:
    """The model that `key` names, resolved as a part of `cfg`: a file model/NAME.yaml wherever Hydra looks for one, or
    a class, package.Class, with its own defaults.

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
    return resolved_dict(node)


def without(settings: Mapping[str, PlainValue], *keys: str) -> dict[str, PlainValue]:
    """`settings` less `keys`."""
    return {key: value for key, value in settings.items() if key not in keys}


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
