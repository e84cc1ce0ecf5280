"""What a search is given beside its settings: what the command fixes, what families that chooses, a function."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import hydra.utils
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig
from optuna.trial import Trial

from lcomp.config.run_config import FAMILIES
from lcomp.errors import UserError
from lcomp.record.redaction import redacted
from lcomp.search.space import Space


def custom_function(name: str | None) -> Callable[[DictConfig, Trial], None] | None:
    """The user's function that suggests parameters of its own, if one was named."""
    key = f"hydra.sweeper.custom_search_space={name}"
    try:
        custom: Callable[[DictConfig, Trial], None] | None = hydra.utils.get_object(name) if name else None
    except (ImportError, ValueError, TypeError) as error:
        raise UserError(f"{key}: cannot be loaded ({error})") from error
    if custom is not None and not callable(custom):
        raise UserError(f"{key}: must be a function of a configuration and a trial")
    return custom


def fixed_overrides(ready: Sequence[str], typed: Sequence[str], parser: OverridesParser) -> list[str]:
    """What a command asks for in place of what its search's file samples; said, for it is no longer searched."""
    sampled, given = Space(ready, parser).sampled, Space(typed, parser)
    fixed = [f"{name}={given.keys[name]}" for name in sampled if isinstance(given.keys.get(name), str)]
    if fixed:
        print(f"not searched, since the command fixes it: {', '.join(redacted(fixed))}", file=sys.stderr, flush=True)
    return fixed


def with_families(space: Space, overrides: Sequence[str], parser: OverridesParser) -> Space:
    """The space, with the default technique of each family that has keys in it and no choice."""
    chosen = [
        f"{family}={technique}"
        for family, technique in FAMILIES.items()
        if family not in space.keys
        and "experiment" not in space.keys
        and any(name.lstrip("+").startswith((f"{family}.", f"{family}/")) for name in space.keys)
    ]
    for choice in chosen:
        print(f"a key of {choice.partition('=')[0]} chooses {choice}", file=sys.stderr, flush=True)
    return Space([*chosen, *overrides], parser) if chosen else space
