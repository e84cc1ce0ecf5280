"""Which trials count, who takes them over, which are the best; with real studies and no training."""

import threading
import time
from types import SimpleNamespace

import optuna
import pytest
from omegaconf import OmegaConf
from optuna.trial import TrialState
from quickly import first_quickly

from lcomp.errors import UserError
from lcomp.record.result import Result
from lcomp.search import search, settings, study
from lcomp.search.settings import Settings
from lcomp.search.space import Space
from lcomp.search.worker import SearchWorker, frozen_trial

TPE = {"_target_": "optuna.samplers.TPESampler", "seed": 0}


def settings_in(folder, **changed):
    given = {
        "storage": f"sqlite:///{folder}/study.db",
        "study_name": "s",
        "objective": ["val_accuracy"],
        "direction": ["maximize"],
        "n_trials": 12,
        "max_failure_rate": 1.0,
        "max_retries": 3,
        "sampler": TPE,
        "pruner": None,
    }
    return Settings(**given | changed)


class Pretending(SearchWorker):
    """A worker whose runs leave a record at once."""

    outcome = staticmethod(lambda point: Result("ok", metrics={"val_accuracy": 0.9, "test_accuracy": 0.8}))

    def execute(self, trial):
        result = self.outcome(trial.user_attrs["point"])
        result.overrides = trial.user_attrs["point"]
        result.write(self.folder / str(trial.number))
        study.tell_result(self.settings, trial.study, frozen_trial(trial.study, trial), result)


def worker_in(folder, overrides, **changed):
    master = OmegaConf.create({"hydra": {"sweep": {"dir": str(folder)}}})
    return Pretending(settings_in(folder, **changed), Space(overrides), None, master, lambda cfg: None)


def work(worker, number=0):
    while (trial := worker.next_trial(number)) is not None:
        worker.execute(trial)
    return worker.settings.open_study().get_trials(deepcopy=False)


def points(trials):
    return [tuple(t.user_attrs["point"]) for t in study.counted_trials(trials) if t.state == TrialState.COMPLETE]


@pytest.mark.parametrize("sampler", first_quickly(["tpe", "random", "nsgaii", "cmaes", "bruteforce", "qmc", "gp"], 2))
def test_no_point_runs_twice_and_the_budget_is_kept(tmp_path, sampler):
    from lcomp.search.choices import SAMPLERS

    worker = worker_in(
        tmp_path, ["kd=none,logit", "kd.temperature=range(1,20)"], sampler={**SAMPLERS[sampler], "seed": 0}
    )
    found = points(work(worker))
    assert len(found) == len(set(found)) == 12


def test_a_study_can_live_in_a_journal(tmp_path):
    worker = worker_in(tmp_path, ["x=interval(0,1)"], storage=f"journal:{tmp_path}/study.log")
    assert len(points(work(worker))) == 12 and (tmp_path / "study.log").stat().st_size > 0


@pytest.mark.parametrize(
    "storage", ["sqlite:////nowhere/study.db", "postgresql+psycopg://nobody@/x?host=/nowhere", "x:y"]
)
def test_a_storage_that_cannot_be_opened_is_said_in_a_line(tmp_path, storage):
    with pytest.raises(UserError, match=r"hydra.sweeper.storage=.*: cannot be opened"):
        settings_in(tmp_path, storage=storage).open_study()


@pytest.mark.slow
def test_two_workers_share_the_budget_and_take_no_point_twice(tmp_path):
    worker = worker_in(tmp_path, ["x=range(0,30)"], n_trials=25)
    worker.settings.open_study()
    threads = [threading.Thread(target=work, args=(worker, number)) for number in range(2)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    found = points(worker.settings.open_study().get_trials())
    assert len(found) == len(set(found)) == 25


def test_one_worker_repeats_itself_and_resuming_goes_on_as_if_nothing_had_been(tmp_path):
    found = []
    for name in ("once", "twice"):
        (tmp_path / name).mkdir()
        worker = worker_in(tmp_path / name, ["x=interval(0,1)"])
        for stop in (5, 12) if name == "twice" else (12,):
            worker.settings.n_trials = stop
            trials = work(worker)
        found.append(points(trials))
    assert found[0] == found[1]


@pytest.mark.parametrize("asked", [{"objective": ["packed_bytes"]}, {"constraint": {"packed_bytes": 2_000}}])
def test_a_run_without_the_metric_that_is_asked_for_fails(tmp_path, asked):
    [trial] = work(worker_in(tmp_path, ["x=interval(0,1)"], n_trials=1, **asked))
    assert trial.state == TrialState.FAIL and "no packed_bytes; its log says why" in trial.user_attrs["cause"]


def test_a_trial_beyond_the_budget_is_withdrawn(tmp_path):
    """Two machines may ask for the last trial at once: the later number has it not."""
    worker = worker_in(tmp_path, ["x=interval(0,1)"], n_trials=1)
    made = worker.settings.open_study()
    assert worker.ask_trial(made, 0)[1] is None
    assert worker.ask_trial(made, 1)[1] == "surplus"
    assert [trial.number for trial in study.counted_trials(made.get_trials())] == [0]


def test_an_exhausted_space_ends_the_search(tmp_path, caplog):
    assert len(points(work(worker_in(tmp_path, ["x=1,2,3"])))) == 3
    assert "the space has no new point" in caplog.text


def test_a_failed_run_is_a_failed_trial_with_its_cause(tmp_path):
    worker = worker_in(tmp_path, ["x=interval(0,30)"])
    worker.outcome = lambda point: Result("nan", error="NotFinite: the loss")
    trials = work(worker)
    assert len(study.failed_trials(trials)) == 12 and {t.user_attrs["cause"] for t in trials} == {"NotFinite: the loss"}


def test_too_many_failures_end_the_search(tmp_path):
    worker = worker_in(tmp_path, ["x=interval(0,30)"], max_failure_rate=0.25)
    worker.outcome = lambda point: Result("failed", error="no")
    trials = work(worker)
    assert len(trials) == 4 and study.is_over(worker.settings, trials)


def test_a_lost_worker_s_trial_is_tried_again_and_then_given_up(tmp_path):
    worker = worker_in(tmp_path, ["x=interval(0,1)"], max_retries=2, n_trials=3)
    job = OmegaConf.create({"hydra": {"job": {"num": 0}}})
    asked = []
    for _ in range(3):
        trial = worker.next_trial(0)
        asked.append(trial.params)
        assert worker.on_worker_exit(job, "the worker was killed (SIGKILL)")
    assert asked[0] == asked[1] == asked[2]
    trials = work(worker)
    assert len(points(trials)) == 2 and [t.number for t in study.failed_trials(trials)] == [2]
    assert "SIGKILL" in (tmp_path / "0" / "result.json").read_text()


def test_a_run_that_had_ended_when_its_worker_died_is_kept(tmp_path):
    worker = worker_in(tmp_path, ["x=interval(0,1)"])
    trial = worker.next_trial(0)
    done = Result("ok", metrics={"val_accuracy": 0.7, "test_accuracy": 0.6})
    done.write(tmp_path / str(trial.number))
    search.fail_orphaned_trials(worker, worker.settings.open_study())
    kept = worker.settings.open_study().trials[0]
    assert kept.state == TrialState.COMPLETE and kept.value == 0.7
    assert len(worker.settings.open_study().trials) == 1


def test_interruptions_by_the_user_do_not_use_up_the_retries(tmp_path):
    worker = worker_in(tmp_path, ["x=interval(0,1)"], max_retries=1, n_trials=1)
    for _ in range(4):
        assert worker.next_trial(0) is not None
        search.fail_orphaned_trials(worker, worker.settings.open_study(), "KeyboardInterrupt")
    assert len(points(work(worker))) == 1


def test_a_trial_of_another_machine_that_no_longer_beats_is_taken_over(tmp_path):
    here = worker_in(tmp_path, ["x=interval(0,1)"], n_trials=2)
    here.settings.heartbeat = 1
    there = worker_in(tmp_path, ["x=interval(0,1)"], n_trials=2)
    there.settings.heartbeat, there.session = 1, "elsewhere:1"
    lost = there.next_trial(0)  # and never again
    time.sleep(4)
    again = here.next_trial(0)
    assert again.params == lost.params
    here.execute(again)
    trials = work(here)
    assert len(points(trials)) == 2
    assert [t.params for t in trials].count(lost.params) == 2


def test_the_front_is_what_no_other_trial_beats(tmp_path):
    made = optuna.create_study(directions=["maximize", "minimize"])
    for accuracy, size in ((0.9, 10), (0.8, 10), (0.95, 30), (0.95, 40), (0.7, 5), (0.9, 10)):
        made.add_trial(optuna.create_trial(values=[accuracy, size]))
    assert [trial.values for trial in study.pareto_front(made)] == [[0.95, 30], [0.9, 10], [0.7, 5]]


@pytest.mark.parametrize(
    ("overrides", "chosen", "measured"),
    [
        ([], {}, False),
        (["robustness=mnist_c"], {}, True),
        ([], {"attributions": 0}, True),
        (["robustness=choice(none,mnist_c)"], {}, False),
        (["robustness=none"], {"attributions": 0}, False),
    ],
)
@pytest.mark.parametrize("use", [{"objective": ["val_mce"]}, {"constraint": {"val_mce": 0.9}}])
def test_a_search_on_mce_needs_runs_that_measure_it(tmp_path, overrides, chosen, measured, use):
    given, space = settings_in(tmp_path, **use), Space(["seed=1,2", *overrides])
    cfg = OmegaConf.create({"robustness": chosen})
    if measured:
        search.check_measured(given, space, cfg)
    else:
        with pytest.raises(UserError, match="add robustness=mnist_c"):
            search.check_measured(given, space, cfg)


def test_mce_is_kept_as_an_upper_limit(tmp_path):
    given = settings_in(tmp_path, constraint={"val_mce": 0.9})
    assert given.violations(Result(metrics={"val_mce": 0.7})) == {"val_mce": pytest.approx(-0.2)}


@pytest.mark.parametrize("metric", ["latency_us_p50", "latency_ratio", "test_set_seconds"])
def test_artifacts_are_timed_as_they_end_where_a_search_looks_at_latencies_alone(tmp_path, metric):
    both = {"objective": ["val_accuracy", metric], "direction": ["maximize", "minimize"]}
    assert settings_in(tmp_path, **both).times_artifacts
    assert settings_in(tmp_path, constraint={metric: 9.0}).times_artifacts
    others = {"objective": ["macs", "memory_bytes"], "direction": ["minimize"] * 2, "constraint": {"file_bytes": 9}}
    assert not settings_in(tmp_path, **others).times_artifacts


def test_what_misses_the_constraint_is_not_the_best(tmp_path):
    given = settings_in(tmp_path, objective=["gzip_bytes"], direction=["minimize"], constraint={"val_accuracy": 0.98})
    made = given.open_study()
    for accuracy, size in ((0.97, 5), (0.98, 20), (0.99, 30)):
        with settings.without_warnings():
            trial = frozen_trial(made, made.ask())
        metrics = {"val_accuracy": accuracy, "gzip_bytes": size, "test_accuracy": 0.5}
        study.tell_result(given, made, trial, Result("ok", metrics=metrics))
    assert [trial.value for trial in study.pareto_front(made)] == [20]
    assert [round(t.constraints["val_accuracy"], 6) for t in made.trials] == [0.01, 0.0, -0.01]


def test_constraints_of_sizes_are_upper_limits(tmp_path):
    given = settings_in(tmp_path, constraint={"gzip_bytes": 100, "val_accuracy": 0.9})
    kept = Result(metrics={"gzip_bytes": 90, "val_accuracy": 0.95})
    missed = Result(metrics={"gzip_bytes": 110, "val_accuracy": 0.85})
    assert all(v <= 0 for v in given.violations(kept).values())
    assert all(v > 0 for v in given.violations(missed).values())


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"objective": ["test_accuracy"]}, "read once, at the end"),
        ({"objective": ["accuracy/rotation"]}, "read once, at the end"),
        ({"objective": ["latency_us"]}, "did you mean latency_us_p"),
        ({"objective": ["test_loss"]}, "read once, at the end"),
        ({"objective": ["val_acuracy"]}, "did you mean val_accuracy"),
        ({"objective": ["mce"]}, "did you mean val_mce"),
        ({"constraint": {"pies": 0.01}}, "pies: allowed are val_accuracy"),
        ({"direction": ["up"]}, "maximize, minimize"),
        ({"direction": ["maximize", "minimize"]}, "one for each objective"),
        ({"n_trials": 0}, "n_trials=0"),
        ({"n_trials": 1.5}, "n_trials=1.5: a whole number"),
        ({"n_trials": "twenty"}, "n_trials=twenty: a whole number"),
        ({"max_retries": -1}, "max_retries=-1"),
        ({"max_failure_rate": 2}, "max_failure_rate=2"),
        ({"constraint": {"test_accuracy": 0.9}}, "constraint=test_accuracy: read once, at the end"),
    ],
)
def test_settings_that_cannot_be(tmp_path, changed, said):
    with pytest.raises(UserError, match=said):
        settings_in(tmp_path, **changed)


def test_a_sampler_that_takes_no_constraint_is_refused(tmp_path):
    given = settings_in(tmp_path, constraint={"gzip_bytes": 9}, sampler={"_target_": "optuna.samplers.CmaEsSampler"})
    with pytest.raises(UserError, match="takes no constraint"):
        given.make_sampler(0)


@pytest.mark.parametrize("name", ["tpe", "TPESampler", "CmaEs", "brute_force", "nsgaii"])
def test_samplers_by_name(name):
    found = settings.settings_by_name("sampler", name, optuna.samplers, "Sampler")
    assert (
        found["_target_"].lower().startswith(f"optuna.samplers.{name.lower().replace('_', '')}".removesuffix("sampler"))
    )


def test_an_unknown_sampler_is_named_with_the_nearest():
    with pytest.raises(UserError, match="did you mean random"):
        settings.settings_by_name("hydra/sweeper/sampler", "randm", optuna.samplers, "Sampler")


@pytest.mark.slow
@pytest.mark.parametrize("pruner", ["median", "hyperband", "halving"])
def test_pruners_stop_what_is_worse(tmp_path, pruner):
    from lcomp.search.choices import PRUNERS

    worker = worker_in(tmp_path, ["x=range(0,40)"], n_trials=30, pruner=PRUNERS[pruner])

    def execute(trial):
        report, status = worker.epoch_reporter(trial), "ok"
        value = trial.params["x"] / 40
        try:
            for epoch in range(1, 10):
                report(epoch, value * epoch / 9)
        except Exception:
            status = "pruned"
        metrics = {"val_accuracy": value, "test_accuracy": value}
        study.tell_result(
            worker.settings, trial.study, frozen_trial(trial.study, trial), Result(status, metrics=metrics)
        )

    worker.execute = execute
    states = [trial.state for trial in work(worker)]
    assert states.count(TrialState.PRUNED) >= 8 and states.count(TrialState.COMPLETE) >= 2


def test_epochs_are_reported_for_the_validation_accuracy_alone(tmp_path):
    pruner = {"_target_": "optuna.pruners.MedianPruner"}
    assert settings_in(tmp_path, pruner=pruner).reports_epochs
    assert not settings_in(tmp_path, pruner=pruner, objective=["gzip_bytes"]).reports_epochs
    assert not settings_in(tmp_path).reports_epochs


def test_parameters_of_a_user_s_own_function_join_the_point(tmp_path):
    worker = worker_in(tmp_path, ["x=1"], n_trials=3)
    worker.custom = lambda cfg, trial: trial.suggest_int("y", 0, 50)
    trials = work(worker)
    assert [t.user_attrs["point"] for t in trials] == [["x=1", f"y={t.params['y']}"] for t in trials]


def test_a_point_that_cannot_be_composed_is_a_failed_trial(tmp_path):
    worker = worker_in(tmp_path, ["x=interval(0,30)"], n_trials=2)
    loader = SimpleNamespace(load_sweep_config=lambda *a: (_ for _ in ()).throw(KeyError("no such key")))
    worker.context = SimpleNamespace(config_loader=loader)
    worker.execute = lambda trial: SearchWorker.execute(worker, trial)
    trials = work(worker)
    assert ["no such key" in t.user_attrs["cause"] for t in trials] == [True, True]
