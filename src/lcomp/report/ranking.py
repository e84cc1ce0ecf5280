"""Which runs are best: fronts, orders, the metric that both go by."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from lcomp.record.metric import ACCURACY, Metric
from lcomp.report.runs import ReportRun, SeedGroup, baseline_runs, baselines


def shared_metric(runs: Iterable[ReportRun]) -> Metric:
    """The metric that most of the finished runs are judged by."""
    counted = Counter(run.result.chosen_by for run in runs if run.is_ok)
    return counted.most_common(1)[0][0] if counted else ACCURACY


def pareto_front(
    runs: Sequence[ReportRun], cost: str, merit: str | None = None, lower: bool = False
) -> list[ReportRun]:
    """The runs and baselines of one data set that no other beats on `merit` at no higher cost, cheapest first.

    Args:
        merit: the metric that chooses, of validation examples; None is their task's.
        lower: less of it is better.
    """
    if merit is None:
        metric = shared_metric(runs)
        merit, lower = metric.validation, not metric.higher_is_better
    sign = -1 if lower else 1
    both = [*runs, *baseline_runs(baselines(runs))]  # of equals the run
    known = [run for run in both if run.is_ok and None not in map(run.result.metrics.get, (cost, merit))]
    best, front = -math.inf, []
    for run in sorted(known, key=lambda run: (run.result.metrics[cost], -sign * run.result.metrics[merit])):
        if sign * run.result.metrics[merit] > best:
            best = sign * run.result.metrics[merit]
            front.append(run)
    return front


def by_validation(seed_groups: Iterable[SeedGroup]) -> list[SeedGroup]:
    """The best on validation first."""
    return sorted(seed_groups, key=lambda group: -(validation_merit(group.mean, group.runs[0])))


def validation_merit(figure: Callable[[str], float | None], run: ReportRun) -> float:
    """A figure of validation examples, by the name of `run`'s metric, as a number of which more is better."""
    metric = run.result.chosen_by
    value = figure(metric.validation)
    return -math.inf if value is None else value if metric.higher_is_better else -value


def by_robustness(seed_groups: Sequence[SeedGroup]) -> list[SeedGroup]:
    """The most robust on validation examples first; by the plain metric there, where one lacks `val_mce`."""
    errors = [group.mean("val_mce") for group in seed_groups]
    if None in errors:
        return by_validation(seed_groups)
    return [group for _, group in sorted(zip(errors, seed_groups, strict=True), key=lambda pair: pair[0] or 0.0)]
