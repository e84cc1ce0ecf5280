"""The files that a sweep is composed from: read once, at its start, and the same when it is resumed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import IConfigRepository
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.plugins.config_source import ConfigResult
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from lcomp.config.quoting import resume_advice
from lcomp.config.renamed import original
from lcomp.config.repository import CachedRepository
from lcomp.errors import UserError
from lcomp.record.containers import plain_mapping
from lcomp.record.plain import PlainValue
from lcomp.sweeps.grid_points import is_choice, representative_points

NOT_DEFINING = ("hydra", "logger")  # groups of files that change no result
NAMING = ("student", "teacher", "assistants")  # keys whose values may be names of models


def read_all_files(
    loader: ConfigLoader, name: str, hydras: Sequence[str], points: Iterable[Sequence[str]]
) -> dict[str, str]:
    """Reads every file that the points are composed from, so that `loader` reads none of them again.

    Args:
        name: the primary configuration's.
        hydras: the overrides of Hydra itself.

    Returns:
        A digest of what each file says of the run, by its name.
    """
    if not isinstance(loader, ConfigLoaderImpl):
        return {}
    cached = loader.repository = CachedRepository(loader.config_search_path)
    _, repository = loader._parse_overrides_and_create_caching_repo(name, list(hydras))  # hydra.searchpath included
    groups: dict[str, bool] = {}
    used: set[str] = set()
    named: set[str] = set()
    for point in representative_points({file_choices(point, repository, groups, named): None for point in points}):
        overrides = [*hydras, *point]
        try:
            defaults = loader.compute_defaults_list(name, overrides, RunMode.RUN)
            paths = [str(default.config_path) for default in defaults.defaults]
            for path in paths:
                repository.load_config(path)
        except HydraException:  # nor will it be composed: whoever runs the point says why
            continue
        used |= set(paths)
    for path in used & cached.read.keys():
        named |= set(model_names(loaded_mapping(cached.read[path])))
    for model in sorted(f"model/{model_name}" for model_name in named):
        if repository.config_exists(model):
            repository.load_config(model)
            used.add(model)
    defining = sorted(path for path in used & cached.read.keys() if path.partition("/")[0] not in NOT_DEFINING)
    return {path: content_digest(cached.read[path]) for path in defining}


def file_choices(
    point: Sequence[str], repository: IConfigRepository, groups: dict[str, bool], named: set[str]
) -> tuple[str, ...]:
    """The overrides of a point that choose files; the names of models that others have are added to `named`."""
    chosen = []
    for override in point:
        key, _, value = override.lstrip("+~").partition("=")
        group = key.partition("@")[0]
        if group not in groups:
            groups[group] = repository.group_exists(group)
        if groups[group]:
            chosen.append(override)
        elif key.rpartition(".")[2] in NAMING:
            named |= {model_name.strip(" '\"") for model_name in value.strip("[]").split(",")}
    return tuple(chosen)


def model_names(node: PlainValue, key: str = "") -> Iterator[str]:
    """What stands under a key that may name models."""
    if isinstance(node, dict):
        for inside, value in node.items():
            yield from model_names(value, str(inside))
    elif isinstance(node, list):
        for value in node:
            yield from model_names(value, key)
    elif key in NAMING and isinstance(node, str):
        yield node


def loaded_mapping(loaded: ConfigResult) -> dict[str, PlainValue]:
    """What stands in a file; nothing where that is no dictionary."""
    return plain_mapping(loaded.config) if isinstance(loaded.config, DictConfig) else {}


def content_digest(loaded: ConfigResult) -> str:
    """A digest of a file's content: where its keys go, what it chooses, what it sets."""
    content = OmegaConf.to_container(loaded.config)
    if isinstance(content, dict):
        content = {str(key): value for key, value in content.items() if key != "hydra"}
    defining = [loaded.header, [str(default) for default in loaded.defaults_list or ()], original(content)]
    return hashlib.sha256(json.dumps(defining, sort_keys=True, default=str).encode()).hexdigest()[:16]


def compose_points(loader: ConfigLoader, config: DictConfig, points: Iterable[Sequence[str]]) -> Iterator[DictConfig]:
    """The configuration of each point, to be looked at before the next is asked for: points of the same choices share
    one, to which their other overrides are applied, some twenty times as fast.

    Raises:
        HydraException: one cannot be composed.
    """
    parser = OverridesParser.create()
    by_choices: dict[tuple[str, ...], tuple[DictConfig, set[str]]] = {}
    for point in points:
        chosen = tuple(override for override in point if is_choice(override) or override[:1] in "+~")
        rest = [override for override in point if override not in chosen]
        if chosen not in by_choices:
            by_choices[chosen] = (loader.load_sweep_config(config, list(point)), set(rest))
        cfg, applied = by_choices[chosen]
        new = [override for override in rest if override not in applied]
        ConfigLoaderImpl._apply_overrides_to_config(parser.parse_overrides(new), cfg)
        applied.update(new)
        yield cfg


def check_unchanged(folder: Path, before: Mapping[str, PlainValue], now: Mapping[str, str]) -> None:
    """Raises UserError where a file is no longer what it was when the sweep began."""
    changed = [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
    if changed:
        files = ", ".join(f"{name}.yaml" for name in changed)
        raise UserError(
            f"{resume_advice(folder)}: {files} changed since the sweep began, and its points would not be of one kind; "
            "put back what was there, or start anew"
        )
