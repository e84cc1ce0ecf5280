"""What a setting may be, and whether it is: sections of a configuration checked against typed classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias, TypeGuard, TypeVar, get_args, get_type_hints

from lcomp.errors import UserError
from lcomp.record.plain import PlainValue

Settings: TypeAlias = Mapping[str, PlainValue]  # of what its `_target_` makes; empty where nothing was chosen
Section = TypeVar("Section")


class Rule(NamedTuple):
    """What a setting may be, in words and as a test of a value of its type."""

    words: str
    allows: Callable[[Any], bool] = lambda value: True


def section(config: Settings, *path: str) -> Settings:
    """The settings under a path of keys; none where nothing was chosen.

    Raises:
        UserError: something else stands there.
    """
    found: PlainValue | Settings = config
    for key in path:
        found = found.get(key) if isinstance(found, Mapping) else found
    if found is not None and not isinstance(found, Mapping):
        raise UserError(f"{'.'.join(path)}={found}: must be a choice of a file, or settings under it")
    return found or {}


def checked(kind: type[Section], values: Settings, prefix: str) -> Section:
    """The section of that kind; a field with a default may be missing, as in files of before there was such a key.

    Args:
        prefix: of its keys in messages.

    Raises:
        UserError: a value of another type, or one that its rule does not allow.
    """
    found = {}
    for name, hint in get_type_hints(kind, include_extras=True).items():
        if name not in values and hasattr(kind, name):
            continue
        allowed, rule = get_args(hint)
        value = found[name] = values.get(name)
        if not is_of(value, allowed) or not rule.allows(value):
            raise UserError(f"{prefix}{name}={value}: must be {rule.words}")
    return kind(**found)


def is_of(value: PlainValue, hint: Any) -> bool:
    """Whether a value has a field's type; a whole number is a number, and true or false are neither."""
    kinds = get_args(hint) or (hint,)
    if isinstance(value, bool):
        return bool in kinds
    return isinstance(value, (*kinds, int) if float in kinds else kinds)


def is_count(value: PlainValue) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def is_texts(value: PlainValue) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)
