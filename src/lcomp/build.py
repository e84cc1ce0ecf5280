"""Configuration becomes objects; what the user can mend becomes a UserError."""

from __future__ import annotations

import inspect
import logging
import typing
from collections.abc import Callable
from typing import Any

import hydra.utils
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf

from lcomp.errors import UserError

log = logging.getLogger(__name__)
KINDS: dict[Any, tuple[tuple[type, ...], str]] = {  # what a parameter's annotation accepts, and its name in messages
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
    str: ((str,), "a text"),
    bool: ((bool,), "true or false"),
}


def build(node: DictConfig | dict[str, Any], group: str, **given: Any) -> Any:
    """The object that `node._target_` describes.

    A user's own class behind `model._target_` or `data._target_` gets the keys that its constructor names; the others,
    left over from the choice that it replaces, are dropped with a line in the log.

    Args:
        node: a group's configuration.
        group: its name, for messages.
        given: further arguments, passed where the constructor names them.

    Raises:
        UserError: the class cannot be imported or called so.
    """
    plain: Any = OmegaConf.to_container(node, resolve=True) if isinstance(node, DictConfig) else dict(node)
    target = plain["_target_"]
    try:
        made: Callable[..., Any] = hydra.utils.get_object(target)
        parameters = inspect.signature(made).parameters
    except Exception as error:  # whatever importing a user's module raises
        reason = error.__cause__ or error
        raise UserError(
            f"{group}._target_={target}: cannot be imported ({reason}); name an installed class, package.module.Class"
        ) from error
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        given = {key: value for key, value in given.items() if key in parameters}
        dropped = [key for key in plain if key not in parameters and not key.startswith("_")]
        if dropped:
            log.warning("%s: %s does not take %s: dropped", group, target, ", ".join(dropped))
            plain = {key: value for key, value in plain.items() if key not in dropped}
    check_kinds(made, plain, group)
    try:
        return hydra.utils.instantiate(plain | given, _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, UserError):
            raise cause from None
        if isinstance(cause, TypeError):
            raise UserError(f"{group}: {target} cannot be made from these keys: {cause}") from error
        raise (cause or error) from None


def check_kinds(made: Callable[..., Any], values: dict[str, Any], group: str) -> None:
    """Raises UserError for a value that the annotation of its parameter (a plain number, text or truth) refuses."""
    hints = typing.get_type_hints(made.__init__ if isinstance(made, type) else made)  # type: ignore[misc]
    for key, value in values.items():
        kinds, name = KINDS.get(hints.get(key), ((object,), ""))
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds and object not in kinds):
            raise UserError(f"{group}.{key}={value}: must be {name}")
