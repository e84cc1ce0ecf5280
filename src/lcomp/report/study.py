"""Optuna's own charts of a search: history, importances, front."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lcomp.sweep import MANIFEST
from lcomp.untrusted import json_of

log = logging.getLogger("lcomp")
STUDY = "study.db"  # in the sweep's folder, where no other storage was chosen


def figures(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """Plotly's figures of the studies that lie under `folders`."""
    found = []
    for path in sorted({path.resolve() for folder in folders for path in folder.rglob(STUDY)}):
        if (path.parent / MANIFEST).exists():
            try:
                found += of_study(path)
            except Exception as error:  # another version's study, or half of one
                log.warning(
                    "%s: no charts of it (%s: %s)", path, type(error).__name__, " ".join(str(error).split())[:200]
                )
    return found


def of_study(path: Path) -> list[dict[str, Any]]:
    """The figures of one study; those that it has too few trials for are left out."""
    import optuna
    from optuna import visualization
    from optuna.trial import TrialState

    storage = f"sqlite:///{path}"
    [summary] = optuna.get_all_study_summaries(storage)
    study = optuna.load_study(study_name=summary.study_name, storage=storage)
    complete = [trial for trial in study.get_trials(deepcopy=False) if trial.state == TrialState.COMPLETE]
    if len(complete) < 2:
        return []
    plan = json_of(path.parent / MANIFEST).get("plan", {})
    names = list(plan.get("objective") or ["objective"] * len(study.directions))
    made = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Optuna still calls experimental
        try:
            if len(names) == 1:
                made.append(visualization.plot_optimization_history(study, target_name=names[0]))
                made.append(visualization.plot_param_importances(study, target_name=names[0]))
            else:
                made.append(visualization.plot_pareto_front(study, target_names=names))
                made.append(
                    visualization.plot_param_importances(
                        study, target=lambda trial: trial.values[0], target_name=names[0]
                    )
                )
        except (RuntimeError, ValueError) as error:  # importances of parameters that never varied
            log.info("%s: %s", path, error)
    found = [json.loads(figure.to_json()) for figure in made]
    for figure in found:
        figure["layout"].pop("template", None)
    return found
