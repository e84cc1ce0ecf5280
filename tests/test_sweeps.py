"""Sweeps that are stopped, resumed and searched, on real digits."""

import json
import os
import signal
import subprocess
import sys
import time

import optuna
import pytest
import yaml
from optuna.trial import TrialState
from processes import family
from test_launcher import leaves, records, seconds_of_processor, wait_for

from lcomp.errors import UserError
from lcomp.record import run_folders
from lcomp.record.point_key import canonical_point
from lcomp.record.result import Result
from lcomp.search.study import counted_trials
from lcomp.sweeps import sweep

SEARCH = ["-m", "hydra/sweeper=optuna", "trainer.max_epochs=1"]
WORKERS, SERIAL = (
    "launcher.workers=2",
    "launcher=serial",
)  # serial where the launcher makes no difference: it is cheaper


def only_sweep(folder):
    [found] = folder.glob("multirun/sweep-*")
    return found


def trials_in(folder):
    with_warnings_off = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{only_sweep(folder)}/study.db")
    optuna.logging.set_verbosity(with_warnings_off)
    return counted_trials(study.get_trials(deepcopy=False))


def kill_all(process):
    """The command and every process below it, as a power cut does."""
    for pid in family(process.pid):
        os.kill(pid, signal.SIGKILL)
    process.communicate()


@pytest.mark.slow
def test_a_grid_goes_on_where_it_was_killed(lcomp_in, tmp_path):
    grid = ["-m", "kd.temperature=1,2,3", "trainer.max_epochs=1"]
    process = lcomp_in(tmp_path, wait=False)(*grid, "launcher.workers=1")
    wait_for(lambda: len(records(tmp_path)) >= 1)
    kill_all(process)
    kept = {path: path.read_text() for path in tmp_path.glob("multirun/*/*/result.json")}
    done = lcomp_in(tmp_path)(*grid, "resume=last", SERIAL)
    assert done.returncode == 0, done.stderr
    assert f"{len(kept)} of 3 runs are finished" in done.stdout
    ok = [record for record in records(tmp_path) if record["status"] == "ok"]
    assert sorted(record["params"]["kd.temperature"] for record in ok) == [1, 2, 3]
    assert all("latency_us_p50" in record["metrics"] for record in ok)
    for path, text in kept.items():  # the same run, its latencies apart
        before, after = json.loads(text), json.loads(path.read_text())
        assert before["artifact"] == after["artifact"] and after["seconds"].pop("latency") > 0
        assert before["seconds"] == after["seconds"]
    table = done.stdout[done.stdout.index("mnist5k: 3,500") :]
    assert table.count("kd.temperature=") == 3
    again = lcomp_in(tmp_path)(*grid, f"resume={only_sweep(tmp_path)}", SERIAL)
    assert again.returncode == 0 and "3 of 3 runs are finished" in again.stdout


@pytest.mark.slow
def test_another_command_does_not_resume_a_sweep(lcomp_in, tmp_path):
    folder = tmp_path / "mine"
    command = ["-m", "quant=static", "quant.bits=4,8", "launcher=serial", f"hydra.sweep.dir={folder}"]
    assert lcomp_in(tmp_path)(*command).returncode == 0
    other = lcomp_in(tmp_path)("-m", "quant=static", "quant.bits=4,6", "launcher=serial", f"resume={folder}")
    assert other.returncode == 1 and "Traceback" not in other.stderr
    assert "quant.bits: was ['4', '8'], is ['4', '6']" in other.stderr
    same = lcomp_in(tmp_path)(*command)
    assert same.returncode == 1 and f"resume={folder} goes on with it" in same.stderr
    named = lcomp_in(tmp_path)(*command[:-1], "hydra.sweep.subdir=${hydra.job.override_dirname}")
    assert named.returncode == 1 and "numbered folders" in named.stderr


@pytest.mark.slow
def test_nothing_to_resume_is_said(lcomp, tmp_path):
    for resume in ("last", str(tmp_path)):
        done = lcomp("-m", "seed=0,1", f"resume={resume}", SERIAL)
        assert done.returncode == 1 and "resume=" in done.stderr and len(done.stderr.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("search", [[], ["sweeper=optuna", "n_trials=2"]])
def test_an_interrupted_sweep_says_how_to_go_on(lcomp_in, tmp_path, search):
    command = ["-m", "kd.temperature=1,2", *search]
    process = lcomp_in(tmp_path, wait=False)(*command, "launcher.workers=1")
    wait_for(lambda: [*tmp_path.glob("multirun/sweep-*/0/lcomp.log")])
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in err
    resume = f"resume={only_sweep(tmp_path).relative_to(tmp_path)}"
    assert "kd.temperature=1,2 data=mnist5k" in err and resume in err
    assert [record["error"] for record in records(tmp_path)] == ["KeyboardInterrupt"]
    done = lcomp_in(tmp_path)(*command, resume, SERIAL)
    assert done.returncode == 0 and "0 of 2" in done.stdout, done.stderr
    assert [record["status"] for record in records(tmp_path)].count("ok") == 2


@pytest.mark.slow
def test_an_equal_result_is_taken_unless_it_is_not_to_be(lcomp_in, tmp_path):
    command = ["-m", "quant=static", "launcher=serial"]
    assert lcomp_in(tmp_path)(*command, "quant.bits=4,8").returncode == 0
    first = {r["params"]["quant.bits"]: r for r in records(tmp_path)}
    taken = lcomp_in(tmp_path)(*command, "quant.bits=8,6")
    assert taken.returncode == 0 and "taken from sweep-" in taken.stdout, taken.stderr
    reused = [r for r in records(tmp_path) if r["reused"]]
    [record] = reused
    assert record["metrics"] == first[8]["metrics"] and record["params"]["quant.bits"] == 8
    anew = lcomp_in(tmp_path)(*command, "quant.bits=4,8", "reuse=false")
    assert anew.returncode == 0 and "taken from" not in anew.stdout
    folders = [path.parent for path in tmp_path.glob("multirun/*/*/result.json")]
    for folder in folders:
        own = json.loads((folder / "result.json").read_text())
        for path in (own["artifact"]["path"], own["baseline_artifact"]["path"]):
            assert (folder / path).is_file()


@pytest.mark.slow
def test_a_search_keeps_its_study_and_resumes_to_the_total(lcomp_in, tmp_path):
    command = [*SEARCH, "kd.temperature=tag(log,interval(1,10))"]
    process = lcomp_in(tmp_path, wait=False)(*command, "n_trials=4", WORKERS)
    wait_for(lambda: len(records(tmp_path)) >= 1)
    kill_all(process)
    before = {trial.number: trial.values for trial in trials_in(tmp_path) if trial.state == TrialState.COMPLETE}
    done = lcomp_in(tmp_path)(*command, "n_trials=5", "resume=last", SERIAL)
    assert done.returncode == 0, done.stderr
    trials = trials_in(tmp_path)
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 5
    assert before.items() <= {trial.number: trial.values for trial in trials}.items()
    points = [tuple(trial.user_attrs["point"]) for trial in trials]
    assert len(set(points)) == 5
    for trial in trials:  # the run of a trial lies in the folder of its number
        record = json.loads((only_sweep(tmp_path) / str(trial.number) / "result.json").read_text())
        assert record["overrides"] == trial.user_attrs["point"]
        assert record["metrics"]["val_accuracy"] == trial.value and "latency_us_p50" in record["metrics"]
    assert "Best val_accuracy" in done.stdout
    best = yaml.safe_load((only_sweep(tmp_path) / "optimization_results.yaml").read_text())
    assert best["best_value"] == max(trial.value for trial in trials)
    changed = lcomp_in(tmp_path)(*SEARCH, "kd.temperature=tag(log,interval(1,20))", "n_trials=5", "resume=last", SERIAL)
    assert changed.returncode == 1 and "kd.temperature: was" in changed.stderr and "20.0" in changed.stderr


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_a_search_one_try(lcomp_in, tmp_path):
    lcomp_in(tmp_path)("trainer.max_epochs=1")  # the baseline is cached
    process = lcomp_in(tmp_path, wait=False)(*SEARCH, "kd.temperature=interval(1,10)", "n_trials=3", WORKERS)
    wait_for(lambda: [*tmp_path.glob("multirun/sweep-*/0/lcomp.log")])
    time.sleep(1)
    os.kill(max(leaves(process.pid), key=seconds_of_processor), signal.SIGKILL)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert [trial.state for trial in trials_in(tmp_path)] == [TrialState.COMPLETE] * 3
    failed = [record for record in records(tmp_path) if record["status"] == "failed"]
    assert len(failed) == 1 and "SIGKILL" in failed[0]["error"]


@pytest.mark.slow
def test_a_finite_space_is_a_grid_and_a_failing_point_a_failed_trial(lcomp_in, tmp_path):
    space = ["quant=none,static", "quant.bits=8,99", "n_trials=50"]
    done = lcomp_in(tmp_path)(*SEARCH, *space, "max_failure_rate=0.9", SERIAL)
    trials = trials_in(tmp_path)
    assert len(trials) == 3, done.stdout + done.stderr
    states = {tuple(trial.user_attrs["point"])[:2]: trial.state for trial in trials}
    assert sum(state == TrialState.FAIL for state in states.values()) == 1
    [cause] = [trial.user_attrs["cause"] for trial in trials if trial.state == TrialState.FAIL]
    assert "quant.bits=99" in cause and "1 of 3 runs failed" in done.stderr and done.returncode == 0


@pytest.mark.slow
def test_two_objectives_end_with_a_front(lcomp_in, tmp_path):
    both = ["objective=[val_accuracy,gzip_bytes]", "direction=[maximize,minimize]"]
    done = lcomp_in(tmp_path)(*SEARCH, *both, "quant=static", "quant.bits=2,4,8", "n_trials=5", SERIAL)
    assert done.returncode == 0, done.stderr
    assert "Pareto front of val_accuracy and gzip_bytes" in done.stdout and "test accuracy" in done.stdout
    assert len(yaml.safe_load((only_sweep(tmp_path) / "optimization_results.yaml").read_text())["solutions"]) >= 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["n_trials=3"], "nothing to search"),
        (["kd.temperature=1,2", "objective=test_accuracy"], "read once, at the end"),
        (["kd.temperature=1,2", "hydra.sweeper.sampler=nothing"], "Optuna has"),
        (["kd.temperature=1,2", "n_jobs=-1"], "n_jobs=-1: a whole number of workers"),
        (["kd.temperature=interval(1,2)", "sampler=grid"], "BruteForceSampler cannot search this"),
        (["kd.temperature=1,2", "sampler=cmaes", "constraint.val_accuracy=0.9"], "takes no constraint"),
    ],
)
def test_what_a_search_refuses_leaves_nothing(lcomp, tmp_path, arguments, said):
    done = lcomp(*SEARCH, SERIAL, *arguments)
    assert done.returncode == 1 and said in done.stderr and "Traceback" not in done.stderr
    assert not records(tmp_path) and not [*tmp_path.glob("multirun/*/study.db")]


def test_the_old_sweeper_installed_beside_does_not_take_over(tmp_path):
    plugin = tmp_path / "hydra_plugins" / "hydra_optuna_sweeper"
    plugin.mkdir(parents=True)
    (plugin / "__init__.py").write_text("")
    (plugin / "zz.py").write_text(
        "import hydra_plugins.lcomp_optuna.sweeper\n"  # so that ours is stored before
        "from hydra.core.config_store import ConfigStore\n"
        "ConfigStore.instance().store(group='hydra/sweeper', name='optuna', node={'_target_': 'old'}, provider='old')\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "lcomp", "hydra/sweeper=optuna", "--cfg", "hydra"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "lcomp_optuna.sweeper.OptunaSweeper" in done.stdout, done.stderr


def test_a_run_that_failed_too_often_is_left(tmp_path, caplog):
    point = ["x=1"]
    for number in range(3):
        Result("failed", overrides=["x=1.0"], error="OSError").write(tmp_path / str(number))
    assert sweep.missing_points(
        tmp_path, {canonical_point(point): point, canonical_point(["x=2"]): ["x=2"]}, max_retries=2
    ) == [["x=2"]]
    assert "failed 3 times" in caplog.text
    assert sweep.missing_points(tmp_path, {canonical_point(point): point}, max_retries=3) == [point]
    Result("failed", overrides=point, error="KeyboardInterrupt").write(tmp_path / "3")
    assert sweep.missing_points(tmp_path, {canonical_point(point): point}, max_retries=3) == [point]
    Result("nan", overrides=point, error="NotFinite").write(tmp_path / "4")
    assert sweep.missing_points(tmp_path, {canonical_point(point): point}, max_retries=3) == []
    assert [run.folder.name for run in run_folders.latest_by_point(run_folders.recorded_runs(tmp_path))] == ["4"]


def test_a_run_that_ended_before_it_began_counts_for_nothing(tmp_path, capsys):
    (tmp_path / "0").mkdir()
    sweep.close_interrupted(tmp_path)
    Result("failed", overrides=["x=1"], error="OSError").write(tmp_path / "1")
    assert [run.folder.name for run in run_folders.latest_by_point(run_folders.recorded_runs(tmp_path))] == ["1"]
    assert sweep.next_number(tmp_path) == 2


def test_a_plan_that_changed_is_refused_with_the_difference(tmp_path):
    sweep.check_plan(tmp_path, {"x": [1]}, {"x": [1]})
    with pytest.raises(UserError, match=r"x: was \[1\], is \[2\]; y: was not there, is 3"):
        sweep.check_plan(tmp_path, {"x": [1]}, {"x": [2], "y": 3})


def test_a_folder_is_one_process_s_own(tmp_path):
    from omegaconf import OmegaConf

    cfg = OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path / "s"), "subdir": "${hydra.job.num}"}}})
    beside = pytest.raises(UserError, match="another process")
    with sweep.open_sweep(cfg, [], False, {}), beside, sweep.open_sweep(cfg, [], True, {}):
        pass
    with pytest.raises(UserError, match="holds a sweep already"), sweep.open_sweep(cfg, [], False, {}):
        pass


@pytest.mark.slow
@pytest.mark.parametrize("search", ["pareto", "smallest", "fastest"])
def test_the_searches_that_are_ready(lcomp_in, tmp_path, search):
    kept = [] if search == "pareto" else ["constraint.val_accuracy=0.1"]
    done = lcomp_in(tmp_path)("-m", f"hparams_search={search}", *kept, "n_trials=3", "trainer.max_epochs=1", SERIAL)
    assert done.returncode == 0, done.stderr
    title = {
        "pareto": "Pareto front of val_accuracy and gzip",
        "smallest": "Best gzip_bytes, val_accuracy 0.1 kept",
        "fastest": "Best latency_ratio, val_accuracy 0.1 kept",
    }
    assert title[search] in done.stdout
    assert [trial.state for trial in trials_in(tmp_path)] == [TrialState.COMPLETE] * 3
    points = [trial.user_attrs["point"] for trial in trials_in(tmp_path)]
    assert all({o.partition("=")[0] for o in point} >= {"kd", "prune", "quant"} for point in points)


@pytest.mark.slow
def test_no_value_leaves_the_sweep_s_folder(lcomp, tmp_path):
    values = "'../../out',\"a 'b' c\",'/tmp/x'"
    done = lcomp("-m", f"name={values}", "quant=static", "launcher=serial")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in only_sweep(tmp_path).iterdir() if path.is_dir()} == {"0", "1", "2"}
    assert {record["name"] for record in records(tmp_path)} == {"../../out", "a 'b' c", "/tmp/x"}
    assert {path.name for path in tmp_path.iterdir()} == {"multirun"}


@pytest.mark.parametrize("argument", ["hparams_search=pareto", "n_trials=3", "sweeper=optuna"])
def test_settings_of_sweeps_ask_for_m(lcomp, tmp_path, argument):
    done = lcomp(argument, "kd.temperature=3")
    assert done.returncode == 1 and f"{argument}: belongs to a sweep; add -m" in done.stderr
    assert not [*tmp_path.iterdir()]
