"""What a user of W&B asks for by environment variables, and what of it holds for which W&B run."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lcomp.errors import UserError, suggestion

log = logging.getLogger("lcomp")
MODES = {"online": "online", "run": "online", "offline": "offline", "dryrun": "offline", "disabled": "disabled"}
OF_ONE_RUN = {  # argument of `wandb.init`, by what says it of a single run; a sweep's runs and baselines have their own
    "WANDB_RUN_ID": "id",
    "WANDB_RESUME": "resume",
    "WANDB_NAME": "name",
    "WANDB_NOTES": "notes",
}
OF_AN_AGENT = ("WANDB_SWEEP_ID", "WANDB_SWEEP_PARAM_PATH")  # of the single run that W&B's agent has begun
OF_EACH = ("WANDB_PROJECT", "WANDB_ENTITY", "WANDB_MODE", "WANDB_RUN_GROUP", "WANDB_TAGS", "WANDB_DIR")
READ_HERE = (*OF_ONE_RUN, *OF_AN_AGENT, *OF_EACH)  # so that W&B itself takes none of them for another run


def variable_value(name: str) -> str | None:
    """The variable's value; an empty one says nothing."""
    return os.environ.get(name) or None


def mode() -> str | None:
    """The mode that `WANDB_DISABLED` or `WANDB_MODE` asks for, in W&B's own three words.

    Raises:
        UserError: `WANDB_MODE` is another.
    """
    if (variable_value("WANDB_DISABLED") or "false").lower() not in ("false", "0", "no", "off"):
        return "disabled"
    value = variable_value("WANDB_MODE")
    if value is not None and value not in MODES:
        raise UserError(f"WANDB_MODE={value}: allowed are {', '.join(MODES)}{suggestion(value, list(MODES))}")
    return None if value is None else MODES[value]


def of_one_run() -> dict[str, Any]:
    """What is said of a single run, as arguments of `wandb.init`."""
    return {argument: value for name, argument in OF_ONE_RUN.items() if (value := variable_value(name))}


def tags() -> list[str]:
    """Tags beside lcomp's own."""
    return [tag.strip() for tag in (variable_value("WANDB_TAGS") or "").split(",") if tag.strip()]


def of_an_agent(mode: str) -> str | None:
    """The W&B sweep whose agent began this run; says what keeps the run from being seen there."""
    sweep = variable_value("WANDB_SWEEP_ID")
    if sweep and mode != "online":
        log.warning("WANDB_SWEEP_ID=%s: the run is kept %s; WANDB_MODE=online shows it in W&B's sweep", sweep, mode)
    return sweep


def honoured(single: bool) -> dict[str, str]:
    """The variables that are heeded, as they are meant, for a note of them.

    Args:
        single: whether by the W&B run of a single run.
    """
    names = [*OF_EACH, *((*OF_ONE_RUN, "WANDB_SWEEP_ID") if single else ())]
    values = {name: value for name in names if (value := variable_value(name))}
    meant = {"WANDB_MODE": mode, "WANDB_DIR": lambda: os.path.abspath(values["WANDB_DIR"])}
    return {name: str(meant[name]()) if name in meant else value for name, value in values.items()}


@contextmanager
def read_here() -> Iterator[None]:
    """While it lasts, W&B finds none of what is read here."""
    before = {name: os.environ.pop(name) for name in READ_HERE if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(before)


def leave_to_single_runs() -> None:
    """Takes what names one run out of this process's environment, and those that it begins: a sweep has several."""
    for name in OF_ONE_RUN:
        if value := os.environ.pop(name, None):
            log.warning("%s=%s: is of one run, and this is a sweep: each of its runs has its own", name, value)
