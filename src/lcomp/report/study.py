"""The charts of a search: history, the trials by their objectives, what each objective depends on."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lcomp.escaping import one_line
from lcomp.record import folders
from lcomp.record.files import Jsonable
from lcomp.record.result import FILE_NAME, METRICS, median_figures
from lcomp.record.run_folders import MANIFEST
from lcomp.report.importance import importance_bars, importances
from lcomp.report.runs import read_record
from lcomp.report.study_file import read_only
from lcomp.sweeps.sweep import plan_in_manifest

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial

log = logging.getLogger("lcomp")
STUDY = "study.db"  # in the sweep's folder, where no other storage was chosen
INK = "#1c2430"
Figure = dict[str, Jsonable]  # Plotly's, `data` and `layout`


def study_figures(within: Sequence[Path]) -> list[Figure]:
    """Plotly's figures of the studies that lie under the folders `within`."""
    figures = []
    for path in study_files(within):
        try:
            figures += figures_of(path)
        except Exception as error:  # another version's study, half of one, or what somebody made of one
            cause = one_line(f"{type(error).__name__}: {error}")[:200]
            log.warning("%s: no charts of it (%s)", path, cause)
    return figures


def trial_numbers(within: Sequence[Path]) -> dict[Path, int]:
    """The number of its search's trial for each run's folder, where a study lies beside it."""
    numbers: dict[Path, int] = {}
    for path in study_files(within):
        try:
            study = read_study(path)
        except Exception as error:  # told where its figures are drawn
            log.debug("%s: no trials of it (%s)", path, error)
            continue
        numbers |= {
            path.parent / str(trial_run_number(trial)): trial.number for trial in study.get_trials(deepcopy=False)
        }
    return numbers


def study_files(within: Sequence[Path]) -> list[Path]:
    """The studies of sweeps that lie under the folders `within`."""
    found = {path for folder in within for path in folders.find_files(folder.resolve(), STUDY)}
    return [path for path in sorted(found) if (path.parent / MANIFEST).exists()]


def read_study(path: Path) -> Study:
    """The study of a sweep, which nobody can write to."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = read_only(path)
    [summary] = optuna.get_all_study_summaries(storage)
    return optuna.load_study(study_name=summary.study_name, storage=storage)


def figures_of(path: Path) -> list[Figure]:
    """The figures of one study; those that it has too few trials for are left out."""
    from optuna import visualization
    from optuna.study import StudyDirection
    from optuna.trial import TrialState

    study = read_study(path)
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(complete) < 2:
        return []
    noted = plan_in_manifest(path.parent / MANIFEST).get("objective")
    names = [n for n in noted if isinstance(n, str) and n in METRICS] if isinstance(noted, list) else []
    if names != noted or len(names) != len(study.directions):
        names = [f"objective {n + 1}" for n in range(len(study.directions))]
    figures: list[Figure] = []
    if len(names) == 1:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Optuna still calls experimental
            history = visualization.plot_optimization_history(study, target_name=names[0])
        figure = json.loads(history.to_json())
        figure["layout"].pop("template", None)
        figures.append(figure)
    else:
        more = [direction == StudyDirection.MAXIMIZE for direction in study.directions]
        figures += pareto_figures(complete, names, more, baseline_objectives(path.parent, complete, names))
    for number, name in enumerate(names):
        explained = importances(complete, number)
        if explained:
            figures.append(importance_bars(explained, name, len(complete)))
    return figures


def trial_run_number(trial: FrozenTrial) -> int:
    """The number of the trial's run in the sweep's folder."""
    return int((trial.user_attrs.get("run") or (None, trial.number))[1])


def baseline_objectives(folder: Path, trials: Sequence[FrozenTrial], names: Sequence[str]) -> list[list[float]]:
    """The objectives of the baselines that the trials' records were measured beside."""
    found: dict[str | None, list[dict[str, float]]] = {}
    for trial in trials:
        path = folder / str(trial_run_number(trial)) / FILE_NAME
        result = read_record(path) if path.exists() else None
        if result is not None and all(result.baseline.get(name) is not None for name in names):
            found.setdefault(result.baseline_artifact.get("sha256"), []).append(result.baseline)
    return [[figures[name] for name in names] for figures in map(median_figures, found.values())]


def pareto_figures(
    trials: Sequence[FrozenTrial], names: Sequence[str], more: Sequence[bool], bases: Sequence[Sequence[float]]
) -> list[Figure]:
    """The first objective against each other one: trials, baselines, and what none of both beats in every objective.

    Args:
        names, more: of each objective, and whether more of it is better.
        bases: the objectives of each baseline.
    """
    feasible = [trial for trial in trials if all(violation <= 0 for violation in trial.constraints.values())]
    points = [*(list(trial.values) for trial in feasible), *map(list, bases)]
    best = sorted(point for point in points if not any(dominates(other, point, more) for other in points))
    figures: list[Figure] = []
    for other in range(1, len(names)):

        def marks(of: Sequence[Sequence[float]], x: int = other) -> Figure:
            return {"type": "scatter", "mode": "markers", "x": [p[x] for p in of], "y": [p[0] for p in of]}

        line: Figure = {"mode": "lines", "line": {"color": INK, "width": 1.5}} if len(names) == 2 else {}
        text = [f"run {trial_run_number(trial)}" for trial in trials]
        data = [
            marks([trial.values for trial in trials])
            | {"name": "trials", "text": text, "marker": {"size": 8, "color": "#0072b2", "opacity": 0.7}},
            marks(best)
            | {"name": "front", "hoverinfo": "skip", "marker": {"symbol": "circle-open", "size": 13, "color": INK}}
            | line,
            marks(bases)
            | {
                "name": "baseline",
                "marker": {"symbol": "diamond-open", "size": 12, "color": INK, "line": {"width": 2}},
            },
        ]
        layout: Figure = {
            "title": {"text": "Trials by their objectives"},
            "xaxis": titled(names[other]),
            "yaxis": titled(names[0]),
        }
        figures.append({"data": data, "layout": layout})
    return figures


def dominates(first: Sequence[float], second: Sequence[float], more: Sequence[bool]) -> bool:
    """Whether `first` is better than `second` in an objective, and worse in none."""
    ahead = [(a - b) * (1 if up else -1) for a, b, up in zip(first, second, more, strict=True)]
    return min(ahead) >= 0 and max(ahead) > 0


def titled(text: str) -> dict[str, Jsonable]:
    return {"title": {"text": text}}
