"""The space of a search, in Hydra's grammar of sweeps: what is fixed, what is sampled, which points there are."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep, Transformer
from optuna.distributions import (
    BaseDistribution,
    CategoricalChoiceType,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)
from optuna.trial import Trial

from lcomp.config.run_config import FAMILIES
from lcomp.errors import UserError
from lcomp.record.plain import PlainValue
from lcomp.record.point_key import canonical_point, hidden_digest
from lcomp.record.result import Result
from lcomp.sweeps.grid_points import without_inactive

SETTING = re.compile(
    rf"(?!.*_target_)(?:{'|'.join(FAMILIES)}|trainer|optimizer)(?:[./]\w+)*=[\w.+-]+"
)  # no class, no path
Value = CategoricalChoiceType  # None, a truth value, a number or a text
Suggested = Callable[[str, BaseDistribution], Value]


class SpacePoint(NamedTuple):
    """A point's overrides, and what was suggested for it."""

    overrides: list[str]
    parameters: dict[str, Value]


class Space:
    """What each trial of a search is made of.

    Keys of a family whose choice is `none` are neither sampled nor part of a point.

    Args:
        arguments: overrides as on the command line; a later one of a key overrules an earlier one.

    Raises:
        UserError: an interval without a width, a range without a value.
    """

    def __init__(self, arguments: Sequence[str], parser: OverridesParser | None = None):
        parsed = (parser or OverridesParser.create()).parse_overrides(list(arguments))
        self.keys: dict[str, str | BaseDistribution] = {}
        for override in {override.get_key_element(): override for override in parsed}.values():
            self.keys[override.get_key_element()] = distribution(override)

    @property
    def sampled(self) -> dict[str, BaseDistribution]:
        """The distributions by their keys."""
        return {name: value for name, value in self.keys.items() if isinstance(value, BaseDistribution)}

    def plan(self) -> dict[str, str]:
        """What must stay the same for a study to go on."""
        return {
            name: value if isinstance(value, str) else distribution_to_json(value) for name, value in self.keys.items()
        }

    def point(self, suggested: Suggested) -> list[str]:
        """The overrides of one point; family choices are asked for first, then the keys that they leave active."""
        chosen: dict[str, str] = {}
        for name in sorted(self.keys, key=lambda name: name not in FAMILIES):
            if any(chosen.get(f) == f"{f}=none" and name.lstrip("+").startswith((f"{f}.", f"{f}/")) for f in FAMILIES):
                continue
            value = self.keys[name]
            if not isinstance(value, str):
                value = format_value(suggested(name, value))
            chosen[name] = f"{name}={value}" if not name.startswith("~") or value else name
        return without_inactive([chosen[name] for name in self.keys if name in chosen])

    def point_of_result(self, result: Result, more: bool = False) -> list[str] | None:
        """The point of this space that a record is of, None where it is of none.

        Args:
            more: a point may have other settings beside, of the techniques and of training: what a user's function
                suggests.
        """
        written = {name: value for name, _, value in (one.partition("=") for one in result.overrides)}
        try:
            point = self.point(lambda name, one: parse_value(one, written[name]))
        except (KeyError, ValueError):
            return None
        extra = [one for one in result.overrides if one.partition("=")[0] not in self.keys]
        if extra and not (more and all(map(SETTING.fullmatch, extra))):
            return None
        full = [*point, *extra]
        return full if canonical_point(full) == result.point else None

    def parameters(self, point: Sequence[str], digest: str | None = None) -> dict[str, Value] | None:
        """What was suggested for a point, from its overrides; None where it is none of the space.

        Args:
            digest: of the secrets of a point that was written without them.
        """
        given = {name: value for name, _, value in (override.partition("=") for override in point)}
        parameters: dict[str, Value] = {}

        def suggested(name: str, dist: BaseDistribution) -> Value:
            parameters[name] = parse_value(dist, given[name])
            return parameters[name]

        try:
            rebuilt = self.point(suggested)
        except (KeyError, ValueError):
            return None
        return parameters if canonical_point(rebuilt) == canonical_point(point, digest) else None

    def representative_points(self) -> Iterator[list[str]]:
        """Points in which each choice stands once, the families on where they can be."""
        usual: dict[str, Value] = {
            name: next((c for c in reversed(dist.choices) if c != "none"), dist.choices[0])
            for name, dist in self.sampled.items()
            if isinstance(dist, CategoricalDistribution)
        }
        for name in ("", *usual):
            for choice in getattr(self.sampled.get(name), "choices", ("",)):
                chosen = usual | {name: choice}

                def suggested(key: str, dist: BaseDistribution, chosen: Mapping[str, Value] = chosen) -> Value:
                    return chosen.get(key, getattr(dist, "low", None))

                yield self.point(suggested)

    def points(self, most: int) -> list[SpacePoint] | None:
        """Every point with its parameters, where there are no more than `most`; else None."""
        count, choices = 1, []
        for name, dist in self.sampled.items():
            values = enumerate_values(dist, 2 * most * 2 ** len(self.sampled))
            if values is None:
                return None
            count *= len(values)
            choices.append([(name, value) for value in values])
        if count > 1000 * most:
            return None
        points: dict[tuple[str, ...], SpacePoint] = {}
        for combination in itertools.product(*choices):
            given: dict[str, Value] = dict(combination)
            suggestions: dict[str, Value] = {}
            point = self.point(partial(note_suggestion, given, suggestions))
            points.setdefault(canonical_point(point), SpacePoint(point, suggestions))
            if len(points) > most:
                return None
        return list(points.values())


def note_suggestion(given: dict[str, Value], suggestions: dict[str, Value], name: str, _: BaseDistribution) -> Value:
    """What is given for a key, noted among the suggestions."""
    suggestions[name] = given[name]
    return given[name]


def parse_value(dist: BaseDistribution, written: str) -> Value:
    """The value of a distribution that an override has as text.

    Raises:
        ValueError: it has no such value.
    """
    if isinstance(dist, CategoricalDistribution):
        [value] = [choice for choice in dist.choices if format_value(choice) == written]
        return value
    assert isinstance(dist, IntDistribution | FloatDistribution)
    value = int(written) if isinstance(dist, IntDistribution) else float(written)
    slack = 1e-5 * abs(value) if isinstance(dist, FloatDistribution) else 0  # of what `format_value` rounds
    if not dist.low - slack <= value <= dist.high + slack:
        raise ValueError(f"{written} is not from {dist.low} to {dist.high}")
    return min(max(value, dist.low), dist.high)


def suggest(trial: Trial) -> Suggested:
    """Asks the trial's sampler."""

    def suggested(name: str, dist: BaseDistribution) -> Value:
        if isinstance(dist, CategoricalDistribution):
            return trial.suggest_categorical(name, dist.choices)
        if isinstance(dist, IntDistribution):
            return trial.suggest_int(name, dist.low, dist.high, step=dist.step, log=dist.log)
        assert isinstance(dist, FloatDistribution)
        return trial.suggest_float(name, dist.low, dist.high, step=dist.step, log=dist.log)

    return suggested


def format_value(value: Value) -> str:
    """A sampled value as an override has it; six digits of a number are enough."""
    return repr(float(f"{value:.6g}")) if isinstance(value, float) else str(value)


def distribution(override: Override) -> str | BaseDistribution:
    """What an override leaves open; a value that it does not is returned as it is written.

    Choices and shuffled ranges are categories, `range(1, 5)` ends before 5, `interval` with `tag(log, ...)` is
    logarithmic and with `int(...)` of whole numbers, both ends included.
    """
    name, sweep = override.get_key_element(), override.value()
    if not override.is_sweep_override():
        return str(override.get_value_element_as_str())
    if override.is_interval_sweep():
        assert isinstance(sweep, IntervalSweep) and sweep.start is not None and sweep.end is not None
        low, high, log = sweep.start, sweep.end, "log" in sweep.tags
        if low > high or (log and low <= 0):
            raise UserError(f"{override.input_line}: an interval from the lower to the higher number, above 0 if log")
        if isinstance(low, int) and isinstance(high, int):
            return IntDistribution(low, high, log=log)
        return FloatDistribution(float(low), float(high), log=log)
    if isinstance(sweep, RangeSweep) and not sweep.shuffle and sweep.step > 0:
        numbers: list[float] = list(sweep.range())
        if not numbers:
            raise UserError(f"{override.input_line}: a range with no number in it; its end is not part of it")
        if all(isinstance(number, int) for number in numbers):
            return IntDistribution(int(numbers[0]), int(numbers[-1]), step=int(sweep.step))
        low = float(numbers[0])
        return FloatDistribution(
            low, without_float_noise(low + sweep.step * (len(numbers) - 1)), step=float(sweep.step)
        )
    options = list(override.sweep_iterator(transformer=Transformer.encode))
    if getattr(sweep, "shuffle", False):  # a sampler has its own order, and a resumed search the same
        options.sort(key=lambda option: (str(type(option)), option))
    if not options:
        raise UserError(f"{override.input_line}: nothing to choose from for {name}")
    values: list[Value] = [o if isinstance(o, str | int | float | bool | None) else str(o) for o in options]
    if len(values) == 1:
        return format_value(values[0])
    if any(hidden_digest([f"{name}={option}"]) for option in options):
        raise UserError(f"{name}: a secret cannot be searched for: its values would stand in the study; sweep over it")
    return CategoricalDistribution(values)


def without_float_noise(number: float) -> float:
    """The number less what adding floats left at its end."""
    return float(f"{number:.12g}")


def enumerate_values(dist: BaseDistribution, most: int) -> list[Value] | None:
    """All values of a distribution, or None where they are without number or more than `most`."""
    if isinstance(dist, CategoricalDistribution):
        return list(dist.choices) if len(dist.choices) <= most else None
    if isinstance(dist, IntDistribution) and (dist.high - dist.low) // dist.step < most:
        return list(range(dist.low, dist.high + 1, dist.step))
    if isinstance(dist, FloatDistribution) and dist.step is not None and (dist.high - dist.low) / dist.step < most:
        count = round((dist.high - dist.low) / dist.step)
        return [without_float_noise(dist.low + dist.step * n) for n in range(count + 1)]
    if isinstance(dist, FloatDistribution) and dist.single():
        return [dist.low]
    return None


def flatten_params(params: Mapping[str, PlainValue], prefix: str = "") -> Iterator[str]:
    """`hydra.sweeper.params` as overrides; nested keys are joined by dots."""
    for name, value in params.items():
        if isinstance(value, Mapping):
            yield from flatten_params(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}={value}"
