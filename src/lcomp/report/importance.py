"""What an objective of a search depends on."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

LEAST = 4  # trials that have a key, for its importance to mean anything


def importances(trials: Sequence[FrozenTrial], objective: int) -> dict[str, tuple[float, int]]:
    """For each key the share of an objective's variance that it explains, and how many trials have it.

    Functional ANOVA (Hutter et al. 2014) among the trials that have the key, times the share of the whole variance that
    lies among these: a key of a family does not stand in for the family's choice.
    """
    import optuna
    from optuna.importance import FanovaImportanceEvaluator
    from optuna.study import StudyDirection

    total = variance(trials, objective)
    names = sorted({name for trial in trials for name in trial.params})
    groups: dict[tuple[int, ...], list[str]] = {}  # keys that the same trials have
    for name in names:
        groups.setdefault(tuple(n for n, trial in enumerate(trials) if name in trial.params), []).append(name)
    explained: dict[str, tuple[float, int]] = {}
    for numbers, keys in groups.items():
        active = [trials[number] for number in numbers]
        fraction = variance(active, objective) / total if total else 0.0
        varied = [name for name in keys if len({str(trial.params[name]) for trial in active}) > 1]
        if len(active) < LEAST or not varied:
            continue
        fractions = dict.fromkeys(varied, 0.0)
        if fraction:
            among = optuna.create_study(directions=[StudyDirection.MINIMIZE] * len(active[0].values))
            among.add_trials(active)
            evaluator = FanovaImportanceEvaluator(seed=0)
            fractions |= evaluator.evaluate(among, target=lambda trial: float(trial.values[objective]))
        explained |= {name: (float(fraction * fractions[name]), len(active)) for name in varied}
    return dict(sorted(explained.items(), key=lambda item: item[1][0]))


def variance(trials: Sequence[FrozenTrial], objective: int) -> float:
    """The sum of the squared differences of an objective from its mean."""
    return float(len(trials) * statistics.pvariance([trial.values[objective] for trial in trials]))


def importance_bars(explained: dict[str, tuple[float, int]], objective: str, trials: int) -> dict[str, Any]:
    """Importances as a bar for each key, with the number of trials that have it where not all do."""
    labels = [name if count == trials else f"{name} ({count} of {trials})" for name, (_, count) in explained.items()]
    values = [fraction for fraction, _ in explained.values()]
    text = [f"{value:.2f}" for value in values]
    bar = {"type": "bar", "orientation": "h", "x": values, "y": labels, "text": text, "textposition": "outside"}
    axis = {"title": {"text": "share of its variance"}, "range": [0, 1.15 * max(*values, 0.1)]}
    return {
        "data": [{**bar, "cliponaxis": False}],
        "layout": {"title": {"text": f"Importance for {objective}"}, "xaxis": axis},
    }
