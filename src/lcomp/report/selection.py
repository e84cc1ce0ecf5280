"""Which runs of a very large report are drawn; its tables for programs have all."""

from __future__ import annotations

from collections.abc import Sequence

from lcomp.report.ranking import pareto_front, validation_merit
from lcomp.report.runs import ReportRun, by_dataset

DRAWN = 10_000  # runs: the page stays below 8 MB, and opens in seconds
COSTS = ("gzip_bytes", "latency_ratio")  # of the fronts that are kept whole


def drawn_runs(runs: Sequence[ReportRun], most: int = DRAWN) -> list[ReportRun]:
    """Up to `most` runs in their order: those on the fronts, the best on validation for half of the rest, then others
    at even steps, so that clouds keep their shape."""
    if len(runs) <= most:
        return list(runs)
    fronts = [run for of_data in by_dataset(runs).values() for cost in COSTS for run in pareto_front(of_data, cost)]
    kept = set(fronts) & set(runs)  # no baselines, which a front may have too
    ordered = sorted(runs, key=lambda run: -validation_merit(run.result.metrics.get, run))
    left = [run for run in ordered if run not in kept]
    best = max(0, (most - len(kept)) // 2)
    kept |= set(left[:best])
    others = left[best:]
    count = max(0, most - len(kept))
    kept |= {others[number * len(others) // count] for number in range(count)}
    return [run for run in runs if run in kept]


def selection_note(drawn: Sequence[ReportRun], runs: Sequence[ReportRun]) -> str:
    """What a report says of the runs that it does not draw; empty where it draws all."""
    if len(drawn) == len(runs):
        return ""
    return (
        f"{len(drawn):,} of the {len(runs):,} runs are drawn: the fronts, the best on validation, and others at even "
        "steps; results.csv and results.parquet beside this file have every run."
    )
