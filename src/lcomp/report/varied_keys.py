"""What the runs of a report were asked for that differs: each such configuration key is a column of its page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from lcomp.record.plain import PlainValue
from lcomp.record.redaction import redacted
from lcomp.record.result import Result
from lcomp.report.runs import ReportRun

FIRST = ("prune.sparsity", "quant.bits", "kd.temperature", "model")  # what people ask for first
APART = ("data", "seed")  # columns of every report


def settings(result: Result) -> dict[str, PlainValue]:
    """A run's configuration as far as its record has it, secrets hidden: what was asked for, the choices, the
    parameters of its techniques."""
    asked: dict[str, PlainValue] = {}
    for override in map(str, redacted(result.overrides)):
        key, sign, value = override.lstrip("+").partition("=")
        if sign and not key.startswith(("~", "hydra", *APART)):
            asked[key] = number_or_text(value)
    choices = {key: value for key, value in result.choices.items() if value is not None and key not in APART}
    named = {key: ", ".join(value) if isinstance(value, list) else value for key, value in choices.items()}
    params = redacted({key: value for key, value in result.params.items() if value is not None})
    return asked | named | params


def number_or_text(value: str) -> float | str:
    """An override's value as a number where it is one: 5 and 5.0 are equal."""
    try:
        number = json.loads(value)
    except ValueError:
        return value
    return number if isinstance(number, int | float) and not isinstance(number, bool) else value


def varied_keys(of_runs: Sequence[Mapping[str, PlainValue]], runs: Sequence[ReportRun]) -> list[str]:
    """The keys whose values differ between runs, or that only some were asked for.

    Args:
        of_runs: the `settings` of each of `runs`.
    """
    values: dict[str, set[str]] = {}
    for own in of_runs:
        for key, value in own.items():
            values.setdefault(key, set()).add(json.dumps(value, sort_keys=True))
    known = {key for run in runs for key in (*run.result.choices, *run.result.params)}
    varied = [
        key
        for key, different in values.items()
        if len(different) > 1 or (key not in known and sum(key in own for own in of_runs) < len(of_runs))
    ]
    return sorted(varied, key=lambda key: (FIRST.index(key) if key in FIRST else len(FIRST), key))
