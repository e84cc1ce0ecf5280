"""What Hydra composes, less what a replaced `_target_` leaves behind: a user's class is given what was asked for."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, flag_override

from lcomp.config.choices import folder
from lcomp.config.instantiation import find, names_of
from lcomp.config.renamed import current
from lcomp.config.repository import CachedRepository
from lcomp.errors import UserError
from lcomp.record.containers import plain_mapping

GROUPS = ("data", "task", "perturb", "model", "kd", "prune", "quant", "runtime", "robustness")
CHOSEN = (*GROUPS, "trainer", "optimizer", "scheduler", "callbacks", "logger")  # of which a run has choices
STUDENTS = {"lcomp.tasks.TextClassification": "same"}  # what `kd` trains where nothing names it, by the task
KD_RUN_KEYS = ("student", "teacher", "ensemble", "assistants", "generations")  # the others make the objective

OmegaConf.register_new_resolver("small_student", lambda task: STUDENTS.get(task, "small_cnn"), replace=True)


def compose(overrides: Sequence[str], config_dir: Path | str | None = None) -> DictConfig:
    """The configuration of a command line.

    Args:
        config_dir: a folder of the user's own choices, as with `--config-dir`.
    """
    given = list(overrides)
    if config_dir is not None:
        given.append(f"hydra.searchpath=['file://{Path(config_dir).resolve()}']")
    with hydra.initialize_config_dir(str(folder().resolve()), version_base="1.3"):
        return without_leftovers(hydra.compose("config", given), given)


def without_leftovers(cfg: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """`cfg` less the keys that are left over from a choice of lcomp's whose `_target_` was replaced.

    What the command line, an experiment or a file of the user's own states stays, whatever its value, for the class to
    take or to refuse; so does what interpolates the run's own settings (`seed: ${seed}`) where the class names it.

    Args:
        overrides: what `cfg` was composed from.

    Raises:
        UserError: `perturb` is asked for, and the data's class does not take it.
    """
    loader = config_loader()
    replaced = not only_own_files(loader) or any(word in o for o in overrides for word in ("_target_", "searchpath"))
    if not replaced and not perturbs_past_data(cfg):
        return cfg  # as nearly always
    try:
        origin = ValueSources.of(loader, overrides)
    except HydraException:  # not composed here: then every key is taken, or refused
        return cfg
    cfg = copy.deepcopy(cfg)
    with flag_override(cfg, ["struct", "readonly"], False):
        for path, node in list(target_nodes(cfg)):
            origin.drop_leftovers(path, node)
        pass_perturb_to_data(cfg)
    return cfg


def file_stating(key: str, overrides: Sequence[str] = ()) -> str:
    """The file that states `key`, of those that are composed; an empty text where none does, or that is not known.

    Args:
        overrides: what chooses the files; none: Hydra's record of the job.
    """
    given = list(overrides) or (list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else [])
    stating = ""
    for config_path, loaded in loaded_files(config_loader(), given)[1] if given else ():
        node: Any = loaded.config
        for part in key.split("."):
            node = node._get_node(part) if isinstance(node, DictConfig) else None
        if node is not None and loaded.path:
            stating = f"{loaded.path.removeprefix('file://')}/{config_path}.yaml"
    return stating


def loaded_files(loader: ConfigLoaderImpl, overrides: Sequence[str]) -> tuple[Any, list[tuple[str, Any]]]:
    """Hydra's list of defaults for `overrides`, and each file of it, as it was loaded, by its path."""
    _, repository = loader._parse_overrides_and_create_caching_repo("config", list(overrides))
    defaults = loader.compute_defaults_list("config", list(overrides), RunMode.RUN)
    return defaults, [(str(d.config_path), loader._load_single_config(d, repository)) for d in defaults.defaults]


@dataclass
class ValueSources:
    """Where a configuration's values come from.

    Attributes:
        chosen: what the chosen files of lcomp's own say.
        requested: every key, with those above it, that anything else states.
        own_logger: whether a file of the user's own that was chosen as `logger` has a class directly under it: it goes
            beside what else is chosen, where a class that is only stated takes its place.
    """

    chosen: DictConfig = field(default_factory=lambda: OmegaConf.create({}))
    requested: set[str] = field(default_factory=set)
    own_logger: bool = False

    @classmethod
    def of(cls, loader: ConfigLoaderImpl, overrides: Sequence[str]) -> ValueSources:
        """Loads what `overrides` choose, file by file."""
        sources = cls()
        defaults, files = loaded_files(loader, overrides)
        for config_path, loaded in files:
            if is_group_choice(config_path) and loaded.path == f"file://{folder().resolve()}":
                sources.chosen.merge_with(loaded.config)
            else:
                sources.note_requested(OmegaConf.to_container(loaded.config))
                if config_path.startswith("logger/") and OmegaConf.select(loaded.config, "logger._target_"):
                    sources.own_logger = True
        for override in defaults.config_overrides:
            sources.note_requested(override.value(), override.key_or_group)
        for group, by in defaults.overrides.override_metadata.items():
            if by.external_override or not is_group_choice(by.containing_config_path):
                sources.note_requested(None, group.replace("/", "."))
        return sources

    def note_requested(self, value: Any, key: str = "") -> None:
        """Notes `key`, those above it, and those inside `value`."""
        parts = key.split(".")
        self.requested |= {".".join(parts[:length]) for length in range(1, len(parts) + 1)}
        for name, inside in value.items() if isinstance(value, dict) else ():
            self.note_requested(inside, f"{key}.{name}" if key else str(name))

    def drop_leftovers(self, path: str, node: DictConfig) -> None:
        """Takes out of `node` what the choice says whose `_target_` it has no more."""
        before = OmegaConf.select(self.chosen, path)
        replaceable = path == "logger" and not self.own_logger  # whose files name their classes one level below
        if not isinstance(before, DictConfig) or before.get("_target_") == current(str(node._target_)):
            return
        if before.get("_target_") is None and not replaceable:
            return
        former, now = plain_mapping(before), plain_mapping(node)
        for key, value in now.items():
            run_reads = key.startswith("_") or (path == "kd" and key in KD_RUN_KEYS)
            if run_reads or f"{path}.{key}" in self.requested or key not in former or former[key] != value:
                continue
            if "${" not in str(value) or key not in names_of(find(node._target_, f"{path}._target_")):
                del node[key]


def only_own_files(loader: ConfigLoaderImpl) -> bool:
    """Whether it finds files in lcomp's folder alone."""
    return {source.path for source in loader.get_sources() if source.scheme() == "file"} == {str(folder().resolve())}


def is_group_choice(path: str | None) -> bool:
    """Whether the file is a choice of a part of the run, not an experiment or the like."""
    return str(path).partition("/")[0] in CHOSEN


def target_nodes(cfg: DictConfig, path: str = "") -> Iterator[tuple[str, DictConfig]]:
    """Every node with a `_target_`, and its path."""
    if not cfg._is_none() and cfg.get("_target_") is not None:
        yield path, cfg
    for key, value in list(cfg.items_ex(resolve=False)) if not cfg._is_none() else ():
        if isinstance(value, DictConfig) and not value._is_interpolation():
            yield from target_nodes(value, f"{path}.{key!s}" if path else str(key))


def pass_perturb_to_data(cfg: DictConfig) -> None:
    """Sees to it that perturbations which are asked for reach the data.

    Raises:
        UserError: their class does not take them.
    """
    if not (keys := perturbs_past_data(cfg)):
        return
    if "perturb" not in names_of(find(cfg.data._target_, "data._target_")):
        names = ",".join(OmegaConf.select(cfg, keys[0]))
        raise UserError(
            f"{keys[0]}={names}: {cfg.data._target_} takes no `perturb`: its training examples would stay as they are; "
            "leave it out, or give the class an argument `perturb` (name to settings: "
            "lcomp.data.augmentation.make_augmentations)"
        )
    cfg.data.perturb = "${perturb}"


def perturbs_past_data(cfg: DictConfig) -> list[str]:
    """The keys that ask for perturbations, where the data's configuration does not take them over."""
    if "_target_" not in cfg.data or "perturb" in cfg.data:
        return []
    return [key for key in ("perturb", "baseline.perturb") if OmegaConf.select(cfg, key)]


def config_loader() -> ConfigLoaderImpl:
    """Hydra's, over the folders in which this process looks for configurations."""
    Plugins.instance()  # finds what reads them, in a process that Hydra did not start
    if HydraConfig.initialized():  # in a job: with --config-dir and hydra.searchpath
        path = ConfigSearchPathImpl()
        for source in HydraConfig.get().runtime.config_sources:
            path.append(source.provider, f"{source.schema}://{source.path}")
        loader = ConfigLoaderImpl(path)
        if GlobalHydra.instance().is_initialized():  # in a sweep, files are as they were when it began
            kept = getattr(getattr(GlobalHydra.instance().config_loader(), "repository", None), "read", None)
            loader.repository = loader.repository if kept is None else CachedRepository(path, kept)
        return loader
    if GlobalHydra.instance().is_initialized():
        return ConfigLoaderImpl(GlobalHydra.instance().config_loader().get_search_path())
    return ConfigLoaderImpl(create_config_search_path(str(folder().resolve())))
