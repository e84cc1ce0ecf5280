"""What a search's charts say of its trials: each objective by its name, keys among the trials that have them."""

import json

import numpy as np
import optuna
import pytest
from records import record

from lcomp.report import study
from lcomp.report.importance import importances

NAMES = ["val_accuracy", "gzip_bytes"]


def searched(folder=None, trials=24, constant=None):
    """Two objectives: `kd` alone decides the accuracy, `quant.bits`, where there are bits, the bytes; temperature and
    sparsity decide nothing."""
    storage = None if folder is None else f"sqlite:///{folder}/study.db"
    made = optuna.create_study(
        storage=storage,
        directions=["maximize", "minimize"],
        sampler=optuna.samplers.RandomSampler(seed=0),
    )
    random = np.random.default_rng(0)
    for _ in range(trials):
        trial = made.ask()
        kd, quant = (
            trial.suggest_categorical("kd", ["none", "logit"]),
            trial.suggest_categorical("quant", ["none", "qat"]),
        )
        if kd != "none":
            trial.suggest_float("kd.temperature", 1, 10)
        bits = trial.suggest_categorical("quant.bits", [2, 8]) if quant == "qat" else 8
        trial.suggest_float("prune.sparsity", 0.5, 0.9)
        accuracy = 0.9 - 0.3 * (kd == "logit") + 0.001 * random.normal()
        made.tell(trial, [constant or accuracy, 10_000.0 * bits])
    return made


def test_a_key_does_not_stand_in_for_its_family():
    trials = searched().trials
    accuracy, size = importances(trials, 0), importances(trials, 1)
    assert accuracy["kd"][0] > 0.9 and all(share < 0.05 for name, (share, _) in accuracy.items() if name != "kd")
    distilled = sum("kd.temperature" in trial.params for trial in trials)
    assert 0 < distilled < len(trials) and accuracy["kd.temperature"][1] == distilled
    assert accuracy["kd"][1] == len(trials)
    assert size["quant.bits"][0] == max(share for share, _ in size.values()) > 0.5 and size["kd"][0] < 0.1
    assert list(accuracy)[-1] == "kd"  # the most important is the uppermost bar


def test_shares_are_of_the_variance_over_all_trials():
    trials = searched().trials
    for objective in (0, 1):
        found = importances(trials, objective)
        assert all(0 <= share <= 1 for share, _ in found.values())


def test_what_never_varied_or_hardly_ever_was_there_has_no_importance():
    assert all(share == 0 for share, _ in importances(searched(constant=0.5).trials, 0).values())
    few = [trial for trial in searched().trials if "kd.temperature" in trial.params]
    none = [trial for trial in searched().trials if "kd.temperature" not in trial.params]
    assert "kd" not in importances(few, 0) and "kd.temperature" not in importances([*none, *few[:3]], 0)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "sweep.json").write_text(json.dumps({"plan": {"objective": NAMES}}))
    return tmp_path


def test_each_objective_has_its_own_named_chart(folder):
    searched(folder)
    titles = [figure["layout"]["title"]["text"] for figure in study.study_figures([folder])]
    assert titles == ["Trials by their objectives", "Importance for val_accuracy", "Importance for gzip_bytes"]


def test_the_baseline_stands_among_the_trials_and_beats_those_that_it_beats(folder):
    made = optuna.create_study(storage=f"sqlite:///{folder}/study.db", directions=["maximize", "minimize"])
    for number, (accuracy, size) in enumerate([(0.80, 20_000), (0.90, 170_000), (0.96, 200_000)]):
        trial = made.ask()
        made.tell(trial, [accuracy, size])
        record(folder / str(number), f"x={number}", accuracy=accuracy + 0.01, size=size)  # beside 0.94 in 165,000 bytes
    [figure] = study.study_figures([folder])
    drawn = {trace["name"]: list(zip(trace["x"], trace["y"], strict=True)) for trace in figure["data"]}
    assert drawn["baseline"] == [(165_000, pytest.approx(0.94))] and len(drawn["trials"]) == 3
    assert drawn["front"] == [(20_000, 0.8), (165_000, pytest.approx(0.94)), (200_000, 0.96)]


def test_three_objectives_are_each_drawn_against_the_first(folder):
    (folder / "sweep.json").write_text(json.dumps({"plan": {"objective": [*NAMES, "macs"]}}))
    made = optuna.create_study(storage=f"sqlite:///{folder}/study.db", directions=["maximize", "minimize", "minimize"])
    for values in ([0.9, 10, 5], [0.8, 5, 9], [0.7, 20, 9]):
        made.tell(made.ask(), values)
    size, macs = study.study_figures([folder])
    assert [one["layout"]["xaxis"]["title"]["text"] for one in (size, macs)] == ["gzip_bytes", "macs"]
    assert sorted(size["data"][1]["x"]) == [5, 10] and size["data"][1]["mode"] == "markers"
