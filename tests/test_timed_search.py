"""Searches that look at latencies: each trial is timed as it ends, while the other workers pause."""

import json
from contextlib import contextmanager

import pytest
from optuna.trial import TrialState
from quickly import first_quickly
from test_launcher import records
from test_sweeps import SEARCH, only_sweep, trials_in
from training import compose

from lcomp.evaluation import measurement
from lcomp.evaluation.figures import Latency
from lcomp.record.result import median_figures, read_result
from lcomp.report.study import figures_of
from lcomp.run import run

TIMED = ["objective=[val_accuracy,latency_us_p50]", "constraint.latency_ratio=1000", "constraint.macs=1e9"]
FEW = ["data=mnist5k", "data.epoch_examples=2000", "reuse=false"]
SPACES = first_quickly(
    [
        (["quant=none,static", "launcher=serial"], {"0"}),
        (["quant=none,static", "prune.sparsity=0.5,0.9", "launcher.workers=2"], {"0", "1"}),
    ]
)


@pytest.mark.parametrize(("space", "workers"), SPACES)
def test_a_search_for_the_fastest_tells_the_latency_of_each_trial_as_it_ends(lcomp_in, tmp_path, space, workers):
    done = lcomp_in(tmp_path)(*SEARCH, *TIMED, *FEW, *space, "n_trials=9")
    assert done.returncode == 0, done.stderr
    folder, trials = only_sweep(tmp_path), trials_in(tmp_path)
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 2 * len(workers)
    for trial in trials:
        record = json.loads((folder / str(trial.number) / "result.json").read_text())
        metrics = record["metrics"]
        assert trial.values == [metrics["val_accuracy"], metrics["latency_us_p50"]] and metrics["latency_us_p50"] > 0
        assert trial.constraints == {"latency_ratio": metrics["latency_ratio"] - 1000, "macs": metrics["macs"] - 1e9}
        assert "latency" not in record["seconds"]  # which the end of a sweep notes
    assert {str(trial.user_attrs["worker"]).rpartition("/")[2] for trial in trials} == workers
    assert len([*folder.glob(".pauses/*/turn")]) == 1  # all on this machine
    assert "Pareto front of val_accuracy and latency_us_p50" in done.stdout and "timed alone" in done.stdout
    [front, *_] = figures_of(folder / "study.db")
    assert front["layout"]["xaxis"]["title"]["text"] == "latency_us_p50"
    bases = [record["baseline"]["latency_us_p50"] for record in records(tmp_path)]
    [baseline] = [data for data in front["data"] if data["name"] == "baseline"]
    assert len(baseline["x"]) == 1 and min(bases) <= baseline["x"][0] <= max(bases)


def test_an_artifact_is_timed_where_nothing_else_is_at_work_also_one_that_an_equal_run_left(tmp_path, monkeypatch):
    said = []

    @contextmanager
    def alone():
        said.append("alone")
        yield
        said.append("beside others")

    def latencies(sessions, inputs, calls, one):
        said.append("timed")
        return [Latency(2.0, 3.0, 1.0), Latency(1.0, 1.5, 0.5)]

    monkeypatch.setattr(measurement, "latencies", latencies)
    overrides = ["quant=static", f"baseline.cache={tmp_path / 'cache'}"]
    cfg, choices = compose(*overrides)
    untimed = run(cfg, tmp_path / "a" / "0", overrides, choices, timed=False, equals=tmp_path)
    assert untimed.status == "ok" and not untimed.has_latencies and not said
    for name, asked in (("b", ["reuse=false"]), ("c", [])):
        equals, folder = None if asked else tmp_path, tmp_path / name / "0"
        timed = run(cfg, folder, overrides, choices, equals=equals, group=name, alone=alone())
        assert said == ["alone", "timed", "beside others"] and bool(timed.reused) == (not asked)
        assert read_result(folder / "result.json").metrics["latency_ratio"] == 0.5 and timed.has_latencies
        if not asked:
            assert timed.metrics["val_accuracy"] == untimed.metrics["val_accuracy"]
        (folder / "result.json").unlink()  # the next is taken from the one without latencies
        said.clear()


def test_a_baseline_that_is_timed_beside_each_run_stands_for_them_with_its_medians():
    runs = [{"latency_us_p50": us, "gzip_bytes": 7.0, "mce": mce} for us, mce in ((9.0, 1.0), (2.0, None), (4.0, 1.0))]
    assert median_figures(runs) == {"latency_us_p50": 4.0, "gzip_bytes": 7.0}
