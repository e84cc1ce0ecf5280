"""The best trials of a search, and where they lie: printed, and written as hydra-optuna-sweeper did."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import optuna
import yaml
from optuna.trial import FrozenTrial
from rich.console import Console
from rich.table import Table

from lcomp.errors import terminal
from lcomp.record.files import write_atomically
from lcomp.record.metric import Metric
from lcomp.record.plain import PlainValue
from lcomp.record.redaction import redacted
from lcomp.record.result import FILE_NAME, Result, median_figures, read_result
from lcomp.search import study as studies
from lcomp.search.settings import Settings

RESULTS = "optimization_results.yaml"


def report_best(
    settings: Settings, study: optuna.Study, folder: Path, sweep: str | None = None, fixed: Sequence[str] = ()
) -> None:
    """Prints the best trials, and writes them as hydra-optuna-sweeper did.

    Args:
        sweep: the identity of the sweep in the folder.
        fixed: what the command fixed of what its search's file samples.
    """
    trials = studies.counted_trials(study.get_trials(deepcopy=False))
    best = studies.pareto_front(study)
    several = len(settings.objective) > 1
    if not best:
        condition = " that keeps the constraint" if settings.constraint else ""
        print(f"No trial of {len(trials)} came to a result{condition}.")
    else:
        table = pareto_table if several else best_table
        rendered = table(settings, best, folder, sweep)
        if fixed:
            rendered.caption = f"{rendered.caption}; fixed by the command: {' '.join(redacted(list(fixed)))}"
        Console(width=None if Console().is_terminal else 160, markup=False).print(rendered)
    report: dict[str, PlainValue] = {"name": "optuna"}
    if several:
        report["solutions"] = [{"params": trial.params, "values": list(trial.values)} for trial in best]
    elif best:
        report |= {"best_params": best[0].params, "best_value": best[0].value}
    write_atomically(folder / RESULTS, yaml.safe_dump(report).encode())


def pareto_table(
    settings: Settings, best: list[FrozenTrial], folder: Path, sweep: str | None = None, title: str = ""
) -> Table:
    """The trials beside one another, and their baselines: objectives first, then what the search did not see."""
    rendered = Table(title=title or f"Pareto front of {' and '.join(settings.objective)}: {len(best)} trials")
    rendered.add_column("run", justify="right")
    for name in settings.objective:
        rendered.add_column(name, justify="right", no_wrap=True)
    metric = settings.metric
    extra = [] if metric.validation in settings.objective else [metric.validation]
    for name in extra:
        rendered.add_column(name, justify="right")
    rendered.add_column(f"test {metric.words}", justify="right")
    rendered.add_column("of what", overflow="fold")
    baselines: dict[str | None, list[dict[str, float]]] = {}
    for trial in best:
        number = studies.run_number(trial, sweep)
        record = folder / str(number) / FILE_NAME
        result = read_result(record) if record.exists() else Result()
        metrics = result.metrics
        if result.baseline:
            baselines.setdefault(result.baseline_artifact.get("sha256"), []).append(result.baseline)
        cells = [formatted(name, value, metric) for name, value in zip(settings.objective, trial.values, strict=True)]
        cells += [formatted(name, metrics.get(name), metric) for name in extra]
        cells.append(formatted(metric.test, trial.user_attrs.get(metric.test), metric))
        run = trial.number if number is None else number
        rendered.add_row(str(run), *cells, terminal(" ".join(trial.user_attrs.get("point", ()))))
    columns = [*settings.objective, *extra, metric.test]
    for beside_each in baselines.values():
        figures = median_figures(beside_each)
        rendered.add_row(
            "baseline", *(formatted(name, figures.get(name), metric) for name in columns), "no trial of the search"
        )
    rendered.caption = f"chosen on validation; the test {metric.words} was not seen by the search"
    if settings.times_artifacts:
        rendered.caption += "; each timed alone, in turns with its baseline, whose medians these are"
    return rendered


def best_table(settings: Settings, best: list[FrozenTrial], folder: Path, sweep: str | None = None) -> Table:
    """The best trial."""
    kept = "".join(f", {metric} {value} kept" for metric, value in settings.constraint.items())
    return pareto_table(settings, best[:1], folder, sweep, f"Best {settings.objective[0]}{kept}")


def formatted(name: str, value: float | None, metric: Metric) -> str:
    """A figure as people read it."""
    if value is None:
        return ""
    if name in (metric.validation, metric.test):
        return metric.shown(value)
    return f"{value / 1000:.1f} KB" if name.endswith("bytes") else f"{value:,.4g}"
