"""Configuration becomes objects; what the user can mend becomes a UserError."""

from __future__ import annotations

import collections.abc
import inspect
import logging
import typing
from collections.abc import Callable
from typing import Any

import hydra.utils
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf

from lcomp import config
from lcomp.errors import UserError, nearest

log = logging.getLogger(__name__)
KINDS: dict[Any, tuple[tuple[type, ...], str]] = {  # what a parameter's annotation accepts, and its name in messages
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
    str: ((str,), "a text"),
    bool: ((bool,), "true or false"),
    collections.abc.Sequence: ((list, tuple), "a list, such as [a,b]"),
    collections.abc.Callable: ((dict,), "a choice of a file: write a slash, as in prune/schedule=linear"),
}


def build(node: DictConfig | dict[str, Any], group: str, **given: Any) -> Any:
    """The object that `node._target_` describes.

    A class of the user's own behind `_target_` gets the keys that were set for it; those left over from the choice that
    it replaces are taken away, see `own_keys`.

    Args:
        node: a group's configuration.
        group: its name, for messages.
        given: further arguments, passed where the constructor names them.

    Raises:
        UserError: there is no class, it cannot be imported, or not be made from these keys.
    """
    plain: Any = OmegaConf.to_container(node, resolve=True) if isinstance(node, DictConfig) else dict(node)
    target = plain.get("_target_")
    if target is None:
        keys = ", ".join(f"{group}.{key}" for key in plain)
        raise UserError(
            f"{keys}: set, but nothing takes them, as with {group}=none; choose another {group}, or leave them out"
        )
    try:
        made: Callable[..., Any] = hydra.utils.get_object(target)
        parameters = inspect.signature(made).parameters
    except Exception as error:  # whatever importing a user's module raises
        reason = " ".join(str(error.__cause__ or error).split())
        raise UserError(
            f"{group}._target_={target}: cannot be imported ({reason}); name an installed class, package.module.Class"
        ) from error
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    plain = own_keys(plain, group, None if takes_any else list(parameters))
    check_kinds(made, plain, group)
    given = {key: value for key, value in given.items() if takes_any or key in parameters}
    try:
        return hydra.utils.instantiate(plain | given, _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__ or error
        if isinstance(cause, UserError):
            raise cause from None
        raise UserError(f"{group}: {target} cannot be made ({type(cause).__name__}: {cause})") from error


def own_keys(plain: dict[str, Any], group: str, parameters: list[str] | None) -> dict[str, Any]:
    """`plain` without what is left over from a choice that `_target_` replaces: the values that stand in that YAML.

    Args:
        parameters: the names that the constructor takes; None where it takes any.

    Raises:
        UserError: another key that the constructor does not take.
    """
    left_over: dict[str, list[Any]] = {}
    files: list[Any] = [OmegaConf.to_container(OmegaConf.load(p)) for p in (config.folder() / group).glob("*.yaml")]
    if not any(file.get("_target_") == plain["_target_"] for file in files):
        for file in files:
            for key, value in file.items():
                left_over.setdefault(key, []).append(value)
    kept = {}
    for key, value in plain.items():
        taken = key.startswith("_") or parameters is None or key in parameters
        written = left_over.get(key, [])
        if value in written and not key.startswith("_"):
            continue
        if not taken and any("${" in str(one) for one in written):
            continue
        if not taken:
            raise UserError(
                f"{group}.{key}={value}: {plain['_target_']} takes {', '.join(parameters or [])}"
                f"{nearest(key, parameters or [])}"
            )
        kept[key] = value
    return kept


def check_kinds(made: Callable[..., Any], values: dict[str, Any], group: str) -> None:
    """Raises UserError for a value that the annotation of its parameter refuses."""
    try:
        hints = typing.get_type_hints(made.__init__ if isinstance(made, type) else made)  # type: ignore[misc]
    except NameError:  # a user's annotation that exists for type checkers alone
        return
    for key, value in values.items():
        hint = hints.get(key)
        kinds, name = KINDS.get(typing.get_origin(hint) or hint, ((object,), ""))
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds and object not in kinds):
            raise UserError(f"{group}.{key}={value}: must be {name}")
