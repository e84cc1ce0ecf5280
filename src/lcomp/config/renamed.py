"""What a `_target_` of an earlier version is called now: it builds the same, and counts as the same in hashes."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Mapping
from functools import cache
from types import SimpleNamespace
from typing import Any

log = logging.getLogger("lcomp")
RENAMED = {  # since 0.1.0; a name that is renamed once more changes on the right
    "lcomp.ending.Ending": "lcomp.cli.sweep_callback.SweepCallback",
    "lcomp.log.NameData": "lcomp.record.log.NameData",
    "lcomp.mirror.Mirror": "lcomp.tracking.wandb_logger.WandbLogger",
    "lcomp.mnist_c.MNISTC": "lcomp.evaluation.mnist_c.MNISTC",
}
ALIASES = {"lcomp.data.datamodule.MNISTDataModule": "lcomp.data.MNISTDataModule"}  # never in a file of lcomp's
FIRST = {now: first for first, now in RENAMED.items()}


def current(target: str) -> str:
    """The name by which a class is found."""
    return RENAMED.get(target) or ALIASES.get(target, target)


def renewed(node: Any) -> Any:
    """A configuration as plain containers, every `_target_` as it is called now."""
    return with_targets(node, current)


def tell_renamed(node: Any) -> None:
    """Says, once a process, of each former name in a configuration what it is called now."""

    def told(target: str) -> str:
        if target in RENAMED:
            tell(target)
        return target

    with_targets(node, told)


@cache
def tell(former: str) -> None:
    log.warning("_target_=%s: deprecated, write %s; files that have it go on working", former, RENAMED[former])


def original(node: Any) -> Any:
    """The same, every `_target_` as it was called first: what a hash is of, so that renaming a class changes none."""
    return with_targets(node, lambda target: FIRST.get(current(target), current(target)))


def with_targets(node: Any, name: Callable[[str], str]) -> Any:
    if isinstance(node, Mapping):
        return {
            key: name(value) if key == "_target_" and isinstance(value, str) else with_targets(value, name)
            for key, value in node.items()
        }
    if isinstance(node, list | tuple):
        return [with_targets(value, name) for value in node]
    return node


def former_module(name: str) -> SimpleNamespace:
    """What `lcomp.NAME` was, as far as a `_target_` may name it: for Hydra's callbacks and logging's filters, which are
    looked up by others.

    Raises:
        AttributeError: there was none.
    """
    held = [first for first in RENAMED if first.startswith(f"lcomp.{name}.")]
    if not held:
        raise AttributeError(f"module 'lcomp' has no attribute {name!r}")
    places = {first.rpartition(".")[2]: RENAMED[first].rpartition(".") for first in held}
    return SimpleNamespace(
        **{kind: getattr(importlib.import_module(module), now) for kind, (module, _, now) in places.items()}
    )
