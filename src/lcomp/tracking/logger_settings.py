"""Which loggers a configuration chooses, each with its own settings."""

from __future__ import annotations

from collections.abc import Mapping

from lcomp.config.instantiation import find, names_of
from lcomp.config.renamed import renewed
from lcomp.config.settings import Settings
from lcomp.errors import UserError
from lcomp.record.plain import PlainValue


def each_logger(settings: Settings) -> dict[str, Settings]:
    """The settings of each logger, by the key that they stand under.

    Several go together: each has a name of its own, as in `logger.csv`; one may stand directly under `logger`. Any
    other key there, such as `logger.project`, is for each that takes it.

    Raises:
        UserError: a key that none takes, or a class that there is not.
    """
    given: dict[str, PlainValue] = renewed(settings)
    target = given.pop("_target_", None)
    arguments = names_of(find(str(target), "logger._target_")) if target is not None else []
    named = {
        name: value
        for name, value in given.items()
        if isinstance(value, Mapping) and value.get("_target_") is not None and name not in arguments
    }
    shared = {name: value for name, value in given.items() if name not in named}
    found: dict[str, Settings] = {}
    taken: set[str] = set()
    for name, own in named.items():
        takes = names_of(find(str(own["_target_"]), f"logger.{name}._target_"))
        suited = {key: value for key, value in shared.items() if key in takes and value is not None}
        found[f"logger.{name}"] = {**suited, **own}
        taken |= shared.keys() & set(takes)
    left = {key: value for key, value in shared.items() if key not in taken or key in arguments}
    if target is not None:
        return {**found, "logger": {"_target_": target, **left}}
    if left:
        key, value = next(iter(left.items()))
        chosen = ", ".join(found) or "logger=none"
        raise UserError(f"logger.{key}={value}: none of what is chosen takes it ({chosen}); leave it out")
    return found
