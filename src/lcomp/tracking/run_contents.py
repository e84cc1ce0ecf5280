"""What every logger is told of a run: its hyperparameters, its figures, its tags and notes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from lcomp.config.settings import Settings, section
from lcomp.errors import UserError
from lcomp.record.plain import PlainValue
from lcomp.record.redaction import redacted
from lcomp.record.result import Result

Hyperparameter: TypeAlias = bool | int | float | str
SECTIONS = ("trainer", "optimizer")  # of the configuration, beside what `Result.params` has


def hyperparameters(result: Result, config: Settings) -> dict[str, Hyperparameter]:
    """What tells the run from others, flat: the choices, the techniques' parameters, how it trained, the overrides.

    Numbers stay numbers; a list becomes a text, and what is null is left out.
    """
    found: dict[str, PlainValue] = {"seed": result.seed, **result.params}
    found |= {group: "+".join(one) if isinstance(one, list) else one for group, one in result.choices.items()}
    for part in SECTIONS:
        found |= {f"{part}.{key}": value for key, value in section(config, part).items() if key != "_target_"}
    for override in result.overrides:
        key = override.lstrip("+").partition("=")[0]
        if key not in found and is_hyperparameter(key):
            found[key] = value_at(config, key)
    simple: dict[str, Hyperparameter] = {}
    for key, value in redacted(found).items():
        if isinstance(value, list):
            simple[key] = "+".join(map(str, value))
        elif isinstance(value, bool | int | float | str):
            simple[key] = value
    return simple


def is_hyperparameter(key: str) -> bool:
    """Whether a key of the configuration may change a result, by its name."""
    return key.partition(".")[0] not in ("name", "tags", "notes", "logger", "hydra", "progress", "report", "reuse")


def value_at(config: Settings, path: str) -> PlainValue:
    """What stands under a dotted path; None where nothing does."""
    found: PlainValue | Settings = config
    for key in path.split("."):
        found = found.get(key) if isinstance(found, dict) else None
    return found if not isinstance(found, dict) else None  # type: ignore[return-value]


def figures(result: Result) -> dict[str, float]:
    """The record's figures: the artifact's under `final/`, its baseline's under `baseline/`, times under `seconds/`.

    Curves have names of their own: the validation accuracy of an epoch is another figure than the artifact's.
    """
    named = {"final": result.metrics, "baseline": result.baseline, "seconds": result.seconds}
    return {
        f"{part}/{name}": float(value)
        for part, values in named.items()
        for name, value in values.items()
        if value is not None
    }


def texts(result: Result, config: Settings) -> Iterator[tuple[str, str]]:
    """What is said in words: tags, notes, the command, what the run ended with, and why it failed."""
    said = {
        "tags": ", ".join(tags(config)),
        "notes": notes(config),
        "overrides": " ".join(result.overrides),
        "status": result.status,
        "error": result.error,
    }
    yield from ((name, str(redacted(text))) for name, text in said.items() if text)


def display_name(result: Result) -> str:
    """What the run is called where several are listed."""
    name = " ".join(result.overrides) or result.techniques
    return str(redacted(f"{result.name} seed={result.seed}" if result.name else name))[:120]


def tags(config: Settings) -> list[str]:
    """The user's.

    Raises:
        UserError: `tags` is no list of words.
    """
    given = config.get("tags") or []
    if not isinstance(given, list) or any(isinstance(one, dict | list) or one is None for one in given):
        raise UserError(f"tags={given}: must be a list of words, such as tags=[paper,try2]")
    return [str(one) for one in given]


def notes(config: Settings) -> str | None:
    """The user's.

    Raises:
        UserError: `notes` is no text.
    """
    given = config.get("notes")
    if isinstance(given, dict | list):
        raise UserError(f"notes={given}: must be a text, such as notes='the second try'")
    return None if given is None else str(given)
