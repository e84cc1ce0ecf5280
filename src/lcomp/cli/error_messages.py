"""Errors of composition in the user's words: what was seen, what is nearest, what to do next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hydra.errors import InstantiationException, MissingConfigException, OverrideParseException

from lcomp.cli import shorthand
from lcomp.config import quoting, run_config
from lcomp.config.run_config import HIDDEN, keys_of
from lcomp.errors import UserError, suggestion

WORDS = ("experiment", "launcher", *shorthand.SWEEP_KEYS)  # at the top of a command line, and of no configuration


def explain(error: Exception, arguments: Sequence[str]) -> str:
    """A line or two for an error that Hydra or OmegaConf raised before anything ran."""
    for raised in (error, error.__cause__):  # the cause: of a setting of a launcher or sweeper
        if isinstance(raised, UserError):
            return str(raised)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, choice = error.missing_cfg_file.rpartition("/")
        allowed = [str(option) for option in error.options or ()] or list(keys_of(group))
        return f"{group}={choice}: no such choice; allowed are {', '.join(allowed)}{suggestion(choice, allowed)}"
    if isinstance(error, OverrideParseException):
        return (
            f"{error.override}: not an override ({str(error.message).splitlines()[0]}); "
            "write key=value, and quote what the shell or Hydra would read: 'key=\"a=b\"'"
        )
    if isinstance(error, InstantiationException) and (cause := error.__cause__):
        return f"{str(error).rpartition('full_key: ')[2]}: cannot be made ({type(cause).__name__}: {cause})"
    key, siblings = getattr(error.__cause__, "full_key", None), getattr(error.__cause__, "parent_node", None)
    if key is not None and siblings is not None:
        seen = {str(sibling): value for sibling, value in siblings.items_ex(resolve=False) if sibling not in HIDDEN}
        return unknown_key(key, seen)
    options, _, overrides = shorthand.split_flags(list(arguments))
    if not shorthand.is_multirun(list(arguments)) and any(shorthand.is_sweep(o) for o in overrides if "=" in o):
        shows = f"; --cfg {options.cfg} shows what one run would use" if options.cfg else ""
        again = quoting.shell_command(overrides, ["-m", *shorthand.search_flags(options)])
        return f"several values make a sweep: add -m, as in {again}{shows}"
    return str(error).splitlines()[0]


def unknown_key(key: str, siblings: Mapping[str, object]) -> str:
    """Says where a key that the composed configuration lacks does exist, or which sibling is nearest.

    Args:
        siblings: the keys and values beside which it was looked for.
    """
    parent, _, name = key.rpartition(".")
    if place := run_config.place_of(key):
        return f"{key}: no such key; write {place}"
    group = parent.removeprefix("baseline.")
    owners = [choice for choice, keys in keys_of(group).items() if name in keys]
    if owners:
        return f"{key}: not a key of the chosen {parent}; those with it are {parent}=" + f", {parent}=".join(owners)
    if "/" in key:
        return unknown_group(key)
    if not parent:
        return unknown_word(key, siblings)
    allowed = [f"{parent}.{sibling}" for sibling in siblings]
    if not allowed:
        allowed = sorted({f"{parent}.{child_key}" for keys in keys_of(group).values() for child_key in keys})
        return f"{key}: {parent} has no such key; its choices have {', '.join(allowed)}{suggestion(key, allowed)}"
    own_class = group in ("model", "data", "optimizer", "scheduler")
    hint = f"; a key that your own class takes is added with +{key}=..." if own_class else ""
    return f"{key}: no such key; allowed are {', '.join(allowed)}{hint}{suggestion(key, allowed)}"


def unknown_word(word: str, composed: Mapping[str, object]) -> str:
    """Says which word of a command line is near, where a part of the run has a key of that name, or what there is."""
    if places := [f"{part}.{word}" for part, keys in composed.items() if isinstance(keys, Mapping) and word in keys]:
        return f"{word}: no such key; write " + " or ".join(places)
    for part in (*run_config.FAMILIES, "optimizer", "scheduler", "data", "model"):
        if owners := [choice for choice, keys in keys_of(part).items() if word in keys]:
            of = "" if part in run_config.FAMILIES else f", of {part}={','.join(owners)}"
            return f"{word}: no such key; write {part}.{word}{of}"
    allowed = [*composed, *WORDS]
    return f"{word}: no such key" + (suggestion(word, allowed) or f"; allowed are {', '.join(allowed)}")


def unknown_group(key: str) -> str:
    """Says which groups of choices a part of the run has."""
    part = key.partition("/")[0]
    groups = sorted(f"{part}/{path.name}" for path in (run_config.folder() / part).glob("*/"))
    return f"{key}: no such group; {part} has {', '.join(groups) or 'none inside'}{suggestion(key, groups)}"
