"""What a record may hold: checked when it is read, so that whoever shows it, or goes on from it, can rely on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeGuard

from lcomp.record.metric import Metric
from lcomp.record.plain import PlainValue

VERSION = 2  # of what is written
READ = (1, 2)  # versions that are read; 1 is that of 0.1.0, without `metric`
STATUSES = ("ok", "pruned", "nan", "failed")
NEEDED = ("test_loss", "file_bytes", "gzip_bytes", "parameters", "sparsity")
ABOVE_ZERO = (
    *("file_bytes", "gzip_bytes", "packed_bytes", "stream_bytes", "flash_bytes", "ram_bytes"),
    *("latency_ratio", "latency_us_p50"),
)
LONGEST = 1 << 14  # characters of a text
WORD = 256  # of one that names something: a choice, a data set
LARGEST = 1e18  # of a figure
MOST = 1 << 14  # members of a list or a dictionary


class Rule(NamedTuple):
    """What a value must be, as a predicate and in words."""

    allows: Callable[[PlainValue], bool]
    words: str

    def __or__(self, other: Rule) -> Rule:
        return Rule(lambda value: self.allows(value) or other.allows(value), f"{self.words} or {other.words}")


def text_of(most: int) -> Rule:
    return Rule(
        lambda value: isinstance(value, str) and len(value) <= most and is_encodable(value),
        f"a text of up to {most:,} characters",
    )


def is_encodable(value: str) -> bool:
    """Whether it can be written: half a pair of surrogates cannot."""
    return not any("\ud800" <= character <= "\udfff" for character in value)


def is_number(value: PlainValue) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and -LARGEST <= value <= LARGEST


def is_whole_number(value: PlainValue) -> TypeGuard[int]:
    return is_number(value) and isinstance(value, int)


def is_plain(value: PlainValue) -> bool:
    """Whether it is a value of a configuration, however nested, with nothing in it that cannot be written."""
    if isinstance(value, Mapping):
        return len(value) <= MOST and all(
            is_encodable(name) and len(name) <= WORD and is_plain(one) for name, one in value.items()
        )
    if isinstance(value, list):
        return len(value) <= MOST and all(map(is_plain, value))
    return value is None or isinstance(value, bool) or is_number(value) or LONG.allows(value)


def list_of(rule: Rule, words: str) -> Rule:
    """A list of such values."""
    return Rule(lambda value: isinstance(value, list) and len(value) <= MOST and all(map(rule.allows, value)), words)


def dict_of(rule: Rule, words: str) -> Rule:
    """A dictionary with such values."""
    return Rule(
        lambda value: isinstance(value, Mapping) and is_plain(value) and all(map(rule.allows, value.values())), words
    )


def dict_with(words: str, needed: bool, **rules: Rule) -> Rule:
    """A dictionary whose values follow rules, where it has them, or, if they are `needed` and it is not empty, has."""

    def allows(value: PlainValue) -> bool:
        if not isinstance(value, Mapping) or not is_plain(value):
            return False
        return all(
            rule.allows(value[name]) if name in value else not (needed and value) for name, rule in rules.items()
        )

    return Rule(allows, words)


def are_curves(value: PlainValue) -> TypeGuard[dict[str, list[float | None]]]:
    """Whether it has lists of numbers or null by name, one for each epoch in all."""
    if not isinstance(value, Mapping) or not is_plain(value):
        return False
    lists = [one for one in value.values() if isinstance(one, list)]
    return (
        len(lists) == len(value)
        and all(n is None or is_number(n) for one in lists for n in one)
        and len({len(one) for one in lists}) <= 1
    )


def are_figures(value: PlainValue) -> bool:
    """Whether they are numbers or null by name, each within what it can be."""
    if not isinstance(value, Mapping) or not is_plain(value):
        return False
    return all(
        number is None or (is_number(number) and is_possible_figure(name, number)) for name, number in value.items()
    )


def is_possible_figure(name: str, number: float) -> bool:
    """Whether a figure of that name can be that number: shares from 0 to 1, sizes and times above 0."""
    if name in ABOVE_ZERO:
        return number > 0
    if "accuracy" in name or name == "sparsity":
        return 0 <= number <= 1
    return True


LONG, NAME, NONE = text_of(LONGEST), text_of(WORD), Rule(lambda value: value is None, "null")
NUMBER, WHOLE = Rule(is_number, "a number"), Rule(is_whole_number, "a whole number")
BOOLEAN = Rule(lambda value: isinstance(value, bool), "true or false")
FIGURES = Rule(are_figures, "figures by name: numbers within their range, or null")
FILE = dict_with("path and sha256 of a file", False, path=LONG, sha256=NAME)
RULES = {
    "status": Rule(lambda value: value in STATUSES, " or ".join(STATUSES)),
    "error": LONG | NONE,
    "name": NAME | NONE,
    "config_hash": NAME | NONE,
    "code_hash": NAME | NONE,
    "overrides": list_of(LONG, "a list of texts"),
    "choices": dict_of(NAME | NONE | list_of(NAME, "a list of texts"), "choices by their groups"),
    "params": Rule(lambda value: isinstance(value, Mapping) and is_plain(value), "parameters by name"),
    "seed": WHOLE,
    "dataset": dict_with(
        "name, sha256 and how many examples of train, val and test", True,
        name=NAME, sha256=NAME, train=WHOLE, val=WHOLE, test=WHOLE,
    ),
    "environment": dict_with(
        "processor, threads, versions", False,
        cpu=NAME, git_sha=NAME | NONE, threads=WHOLE, versions=dict_of(NAME, "versions by package"),
        deterministic=BOOLEAN, precision=NAME, baseline_precision=NAME, memory_format=NAME,
    ),
    "metric": dict_with(
        "name, higher_is_better and percent of a metric", False,
        name=NAME, higher_is_better=BOOLEAN, percent=BOOLEAN,
    ),
    "metrics": FIGURES,
    "baseline": FIGURES,
    "artifact": FILE,
    "baseline_artifact": FILE,
    "seconds": dict_of(NUMBER, "numbers by name"),
    "steps": WHOLE,
    "started": NUMBER,
    "epochs": Rule(are_curves, "lists of numbers by name, all of one length"),
    "reused": LONG | NONE,
    "files": dict_of(NAME, "SHA-256 by files' names"),
    "checksum": NAME | NONE,
    "schema_version": WHOLE,
    "best_epoch": WHOLE | NONE,
    "stacked": WHOLE | NONE,
    "hidden": NAME | NONE,
}  # fmt: skip


def unknown_version(content: PlainValue) -> str | None:
    """What is wrong with a record's version; None where it is one that is read, or none is stated."""
    seen = content.get("schema_version", VERSION) if isinstance(content, Mapping) else VERSION
    if not is_whole_number(seen) or seen in READ:  # what is no number is a fault like any other
        return None
    known = " and ".join(map(str, READ))
    return f"schema_version={seen}: this lcomp reads {known}; read it with the lcomp that wrote it, or a newer one"


def valid_fields(content: Mapping[str, PlainValue], defaults: Mapping[str, PlainValue]) -> dict[str, PlainValue]:
    """What is written of a run that failed: less what was asked for and cannot be, such as a seed that is no number."""
    return {key: value if RULES[key].allows(value) else defaults[key] for key, value in content.items()}


def find_fault(content: PlainValue) -> str | None:
    """What is wrong with what a file of JSON holds as a record; None where nothing is."""
    if not isinstance(content, dict):
        return "no record: not a dictionary"
    for key, value in content.items():
        if key not in RULES:
            return f"no record: nothing has the key {key[:40]!r}"
        if not RULES[key].allows(value):
            return f"no record: {key}={repr(value)[:40]} must be {RULES[key].words}"
    return None


def missing_figures(
    metrics: Mapping[str, float], baseline: Mapping[str, float], has_dataset: bool, metric: Metric
) -> str | None:
    """What the record of a finished run does not say, and tables show; None where it says it all."""
    for part, of in (("metrics", metrics), ("baseline", baseline)):
        names = [name for name in (metric.validation, metric.test, *NEEDED) if of.get(name) is None]
        if names:
            return f"no record of a finished run: {part} has no {', '.join(names)}"
    return None if has_dataset else "no record of a finished run: without its dataset"
