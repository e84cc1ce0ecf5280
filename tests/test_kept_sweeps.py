"""What belongs to a sweep: its files, its study, its folders; what is broken there; commands that run as printed."""

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import hydra
import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import OmegaConf
from optuna.trial import TrialState
from test_launcher import wait_for
from test_study import settings_in, work, worker_in

from hydra_plugins.lcomp_grid import grid
from lcomp.cli import shorthand
from lcomp.config import quoting, run_config
from lcomp.errors import UserError
from lcomp.record import point_key, run_folders
from lcomp.record.result import Result, read_result
from lcomp.report.runs import command_arguments
from lcomp.search import command_line, study, study_settings
from lcomp.search.search import check_study
from lcomp.search.space import Space, suggest
from lcomp.sweeps import broken_files, configuration_files, grid_points, sweep

ODD = [
    *("a b", "a[1]=2", "mein Ordner [1]=ü", "it's", '"', "a\\", "a\\'b", "x${y}", "a\\${b}", "a,b", "{a:1}", "#x"),
    *("~x", "$HOME", "(a)", "100%", "a:b", "null", "true", "1e3", "5", "choice(1,2)", "a\tb", "*", "`ls`", "!", ""),
]


@pytest.mark.parametrize("value", ODD)
def test_hydra_reads_a_quoted_value_as_it_was(value):
    override = OverridesParser.create().parse_override(f"key={quoting.quoted_value(value)}")
    assert not override.is_sweep_override()
    assert OmegaConf.create({"key": override.value()}).key == value


@pytest.mark.parametrize("value", [one for one in ODD if one])
def test_a_folder_is_resumed_whatever_its_name(value):
    said = quoting.resume_command(["resume=old", "hydra.sweep.dir=old", "seed=0,1"], Path("multirun") / value)
    shown = subprocess.run(
        ["bash", "-c", said.replace("python", "printf '%s\\0'", 1)], capture_output=True, text=True, check=True
    )
    arguments = shown.stdout.split("\0")[:-1]
    assert arguments[:4] == ["-m", "lcomp", "-m", "seed=0,1"]
    made, resumes = shorthand.hydra_override(arguments[4])
    assert resumes == "hydra.sweeper.resume=true"
    found = OverridesParser.create().parse_override(made).value()
    assert OmegaConf.create({"key": found}).key == f"multirun/{value}"
    assert shlex.split(quoting.resume_advice(value)) == [f"resume={value}"]


def experiment_in(folder, text):
    path = folder / "experiment" / "mine.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"# @package _global_\n{text}\n")
    return [f"hydra.searchpath=['file://{folder}']"]


def kept_from(searchpath, chosen):
    """A loader that has read the files of some points, and their digests."""
    loader = GlobalHydra.instance().config_loader()
    return loader, configuration_files.read_all_files(loader, "config", searchpath, chosen)


def test_a_file_that_is_edited_stays_in_a_sweep_what_it_was_and_is_refused_when_resumed(tmp_path):
    point = ["experiment=mine", "seed=1"]
    with hydra.initialize_config_dir(str(run_config.folder().resolve()), version_base="1.3"):
        search = experiment_in(tmp_path, "trainer: {max_epochs: 3}")
        loader, before = kept_from(search, [point])
        assert {"experiment/mine", "config", "model/lenet5", "trainer/default"} <= before.keys()
        assert not any(name.startswith(("hydra", "logger")) for name in before)
        experiment_in(tmp_path, "trainer: {max_epochs: 4}")
        assert loader.load_configuration("config", [*search, *point], RunMode.RUN).trainer.max_epochs == 3
        _, after = kept_from(search, [point])
        with pytest.raises(UserError, match=r"'?resume=a b'?: experiment/mine.yaml changed since the sweep began"):
            configuration_files.check_unchanged(Path("a b"), before, after)
        experiment_in(tmp_path, "trainer:\n  max_epochs: 3  # as before")
        configuration_files.check_unchanged(tmp_path, before, kept_from(search, [point])[1])


def test_a_student_s_file_is_kept_too(tmp_path):
    search = experiment_in(tmp_path, "kd: {student: own}")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "own.yaml").write_text("_target_: lcomp.models.LeNet5\n")
    for point in (["kd=logit", "kd.student=own"], ["experiment=mine", "kd=logit"]):
        with hydra.initialize_config_dir(str(run_config.folder().resolve()), version_base="1.3"):
            assert "model/own" in kept_from(search, [point])[1]


def test_a_sweep_s_folder_notes_its_files(tmp_path):
    cfg = OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path / "s"), "subdir": sweep.SUBDIR}}})
    with sweep.open_sweep(cfg, [], False, {}, {"experiment/mine": "1"}):
        pass
    with sweep.open_sweep(cfg, [], True, {}, {"experiment/mine": "1"}):
        pass
    with (
        pytest.raises(UserError, match=r"mine\.yaml changed"),
        sweep.open_sweep(cfg, [], True, {}, {"experiment/mine": "2"}),
    ):
        pass


def test_of_ten_thousand_points_each_is_keyed_once_and_few_are_composed(monkeypatch, tmp_path):
    keyed, real = [], point_key.canonical_point
    monkeypatch.setattr(grid_points, "canonical_point", lambda point: keyed.append(1) or real(point))
    overrides = OverridesParser.create().parse_overrides(["prune=scheduled", "seed=range(100)", "threads=range(1,101)"])
    found = grid_points.points_by_key(overrides)
    assert grid_points.swept_values(found)["seed"] == [str(n) for n in range(100)]
    assert len(sweep.missing_points(tmp_path, found, 3)) == len(keyed) == 10_000
    composed = []

    class Loader:
        def load_sweep_config(self, master, point):
            composed.append(point)
            return OmegaConf.create({"seed": 0, "threads": 1})

    threads = {
        cfg.threads
        for cfg in configuration_files.compose_points(Loader(), None, grid_points.representative_points(found.values()))
    }
    assert threads == set(range(1, 101)) and len(composed) == 1


@pytest.mark.parametrize(
    "content", ["", '{"cut', "[]", "5", '{"other": 1}', '{"overrides": 5}', '{"metrics": []}', None]
)
def test_a_record_that_is_none_is_set_aside_and_its_point_runs_again(tmp_path, caplog, content):
    cfg = OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path), "subdir": sweep.SUBDIR}}})
    with sweep.open_sweep(cfg, [], False, {}):
        Result("ok", overrides=["seed=1"]).write(tmp_path / "0")
        Result("ok", overrides=["seed=2"]).write(tmp_path / "1")
    broken = tmp_path / "1" / "result.json"
    broken.unlink()
    broken.mkdir() if content is None else broken.write_text(content)
    (tmp_path / "1" / ".hydra").mkdir()
    (tmp_path / "1" / ".hydra" / "overrides.yaml").write_text("- seed=2\n")
    assert [run.folder.name for run in run_folders.recorded_runs(tmp_path)] == ["0"]
    with sweep.open_sweep(cfg, [], True, {}):
        wanted = {point_key.canonical_point([f"seed={n}"]): [f"seed={n}"] for n in (1, 2)}
        assert sweep.missing_points(tmp_path, wanted, 3) == [["seed=2"]]
    assert f"{broken}: cannot be read" in caplog.text and (tmp_path / "1" / "result.json.broken-0").exists()
    assert read_result(broken).error == run_folders.INTERRUPTED and read_result(broken).overrides == ["seed=2"]


@pytest.mark.parametrize("name", ["overrides.yaml", "sweep.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe\x00", b"a: [b"])
def test_other_broken_files_do_not_end_a_sweep(tmp_path, caplog, name, content):
    cfg = OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path), "subdir": sweep.SUBDIR}}})
    with sweep.open_sweep(cfg, [], False, {"seed": ["1"]}):
        (tmp_path / "0" / ".hydra").mkdir(parents=True)
    path = tmp_path / name if name == "sweep.json" else tmp_path / "0" / ".hydra" / name
    path.write_bytes(content)
    (tmp_path / "multirun.yaml").write_bytes(content)
    with sweep.open_sweep(cfg, [], True, {"seed": ["1"]}):
        pass
    assert json.loads((tmp_path / "sweep.json").read_text())["plan"] == {"seed": ["1"]}
    assert read_result(tmp_path / "0" / "result.json").error == run_folders.INTERRUPTED
    assert ("sweep.json: cannot be read" in caplog.text) == (name == "sweep.json")


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/nowhere")):
        cfg = OmegaConf.create({"hydra": {"sweep": {"dir": str(folder), "subdir": sweep.SUBDIR}}})
        with pytest.raises(UserError, match=f"{folder}: cannot be written"), sweep.open_sweep(cfg, [], False, {}):
            pass


def test_a_database_that_is_none_is_set_aside(tmp_path, caplog):
    for content, stays in ((b"no database, but long enough to look like one" * 30, False), (b"", True)):
        (tmp_path / "study.db").write_bytes(content)
        check_study(tmp_path / "study.db")
        assert (tmp_path / "study.db").exists() == stays
    assert "study.db: cannot be read" in caplog.text
    settings_in(tmp_path).open_study()
    check_study(tmp_path / "study.db")
    assert (tmp_path / "study.db").exists()


SPACE = [
    "prune=scheduled",
    "prune.sparsity=interval(0.5,0.9)",
    "quant.bits=2,4,8",
    "trainer.max_epochs=3",
    "report=false",
]


@pytest.mark.parametrize(
    ("changed", "overrides", "files", "said"),
    [
        ({"objective": ["gzip_bytes"]}, SPACE, {}, r"objective: was \['val_accuracy'\], is \['gzip_bytes'\]"),
        ({"direction": ["minimize"]}, SPACE, {}, "direction: was"),
        ({"constraint": {"gzip_bytes": 9}}, SPACE, {}, r"constraint: was \{\}, is \{'gzip_bytes': 9\}"),
        ({}, ["prune.sparsity=interval(0.5,0.8)"], {}, "prune.sparsity: was"),
        ({}, [*SPACE, "kd.temperature=1,2"], {}, "kd.temperature: was not there"),
        ({}, [*SPACE[:3], "trainer.max_epochs=4"], {}, "trainer.max_epochs: was 3, is 4"),
        ({}, SPACE, {"experiment/mine": "2"}, "experiment/mine.yaml: was 1, is 2"),
    ],
)
def test_a_study_is_asked_one_thing(tmp_path, changed, overrides, files, said):
    first = {"experiment/mine": "1"}
    given_settings = settings_in(tmp_path)
    study_settings.claim_study(given_settings, Space(SPACE), first, given_settings.open_study())
    study_settings.claim_study(given_settings, Space([*SPACE[:-1], "report=true"]), first, given_settings.open_study())
    other = settings_in(tmp_path, **changed)
    with pytest.raises(UserError, match=f"study s in .* was asked something else: .*{said}"):
        study_settings.claim_study(other, Space(overrides), files or first, other.open_study())
    study_settings.claim_study(given_settings, Space(SPACE), first, given_settings.open_study())


def test_a_study_of_another_program_is_asked_what_its_trials_were(tmp_path):
    own = worker_in(tmp_path, ["x=1,2,3"], n_trials=2)
    work(own)
    study_settings.claim_study(own.settings, own.space, {}, own.settings.open_study())
    other = settings_in(tmp_path / "other", storage=own.settings.storage, direction=["minimize"])
    (tmp_path / "b").mkdir()
    later = worker_in(tmp_path / "b", ["y=1,2"], n_trials=1)
    work(later)
    for settings, space, said in ((other, own.space, "direction"), (later.settings, Space(["x=1,2"]), "y: was")):
        with pytest.raises(UserError, match=said):
            study_settings.claim_study(settings, space, {}, settings.open_study())


def values(worker):
    trials = study.counted_trials(worker.settings.open_study().get_trials(deepcopy=False))
    return {t.user_attrs["point"][0]: t.values for t in trials if t.state == TrialState.COMPLETE}


def measured(point):
    return Result("ok", metrics={"val_accuracy": float(point[0].partition("=")[2]) / 10, "test_accuracy": 0.5})


@pytest.mark.parametrize("space", ["x=0.1,0.2,0.3", "x=interval(0.1,0.3)", "x=range(1,4)", "x=range(0.1,0.5,0.1)"])
def test_a_study_that_was_lost_has_the_folder_s_runs_again(tmp_path, space):
    worker = worker_in(tmp_path, [space, "fixed=1"], n_trials=3)
    worker.outcome = measured
    work(worker)
    before = values(worker)
    records = {path: path.read_bytes() for path in tmp_path.glob("*/result.json")}
    assert len(before) == len(records) == 3
    again = worker_in(tmp_path, [space, "fixed=1"], n_trials=5, storage=f"sqlite:///{tmp_path}/new.db")
    again.outcome = measured
    study_settings.add_finished_runs(again, again.settings.open_study())
    assert values(again) == before
    study_settings.add_finished_runs(again, again.settings.open_study())
    assert len(again.settings.open_study().trials) == 3
    work(again)
    assert {path: path.read_bytes() for path in records} == records


def test_an_adopted_run_with_a_secret_is_known_by_it_and_does_not_tell_it(tmp_path):
    for secret, of_the_search in (("s3cr3t-one", True), ("s3cr3t-two", False)):
        space = ["x=0.1,0.2", "+api_key=s3cr3t-one"]
        worker = worker_in(tmp_path / secret, space, n_trials=3)
        result = Result(
            "ok", overrides=["x=0.1", f"+api_key={secret}"], metrics={"val_accuracy": 0.1, "test_accuracy": 0.5}
        )
        result.write(tmp_path / secret / "0")
        known = worker.settings.open_study()
        if of_the_search:
            study_settings.add_finished_runs(worker, known)
            [trial] = known.trials
            assert trial.user_attrs["hidden"] and "s3cr3t" not in str(trial.user_attrs)
            study_settings.add_finished_runs(worker, known)
            assert len(known.trials) == 1
        else:
            with pytest.raises(UserError, match="is no point of this search"):
                study_settings.add_finished_runs(worker, known)


def test_what_a_folder_says_of_its_command_is_not_resolved(tmp_path, monkeypatch):
    monkeypatch.setenv("OWN_KEY", "s3cr3t")
    sources = "[5, {schema: file, provider: main, path: '${oc.env:OWN_KEY}'}]"
    said = f"hydra: {{job: {{config_name: '${{oc.env:OWN_KEY}}'}}, runtime: {{config_sources: {sources}}}}}"
    for text in (said, "[]", "hydra: 5", "hydra: {job: 5, runtime: [], overrides: ''}"):
        (tmp_path / "multirun.yaml").write_text(text)
        command_arguments.cache_clear()
        assert "s3cr3t" not in str(command_arguments(tmp_path))


def test_a_folder_of_another_space_is_refused(tmp_path):
    worker = worker_in(tmp_path, ["x=1,2", "fixed=1"], n_trials=1)
    work(worker)
    for space in (["x=3,4", "fixed=1"], ["x=1,2", "fixed=2"], ["x=1,2"], ["x=1,2", "fixed=1", "y=1,2"]):
        other = worker_in(tmp_path, space, storage=f"sqlite:///{tmp_path}/new.db")
        with pytest.raises(UserError, match=r"holds a finished run .x=[12] fixed=1. that the study s lacks"):
            study_settings.add_finished_runs(other, other.settings.open_study())
        assert not other.settings.open_study().trials


def test_a_folder_is_used_once_whatever_the_study_counts(tmp_path):
    for name in ("0", "1", "7"):
        (tmp_path / name).mkdir()
    worker = worker_in(tmp_path, ["x=interval(0,1)"])
    worker.sweep = "this"
    trials = [worker.next_trial(0) for _ in range(4)]
    placed = [trial.user_attrs[study.RUN] for trial in trials]
    assert placed == [["this", 8], ["this", 9], ["this", 2], ["this", 3]]
    frozen = worker.settings.open_study().get_trials()
    assert [worker.run_folder(trial).name for trial in frozen] == ["8", "9", "2", "3"]
    worker.sweep = "another"
    assert [worker.run_folder(trial) for trial in frozen] == [None] * 4


def test_a_finished_trial_whose_record_is_broken_runs_again(tmp_path):
    worker = worker_in(tmp_path, ["x=1,2"], n_trials=2)
    worker.outcome = measured
    work(worker)
    number = max(int(path.parent.name) for path in tmp_path.glob("*/result.json"))
    (tmp_path / str(number) / "result.json").write_text("{")
    broken_files.set_aside_records(tmp_path)
    sweep.close_interrupted(tmp_path)
    study_settings.retry_lost(worker, worker.settings.open_study())
    waiting = study.unfinished_trials(worker.settings.open_study().trials)
    assert len(waiting) == 1
    trial = worker.next_trial(0)
    [again] = [one for one in worker.settings.open_study().trials if one.number == trial.number == waiting[0].number]
    assert (
        worker.run_folder(again).name == str(number + 1) and not (tmp_path / str(number + 1) / "result.json").exists()
    )
    assert len(study.pareto_front(worker.settings.open_study())) == 1


@pytest.mark.parametrize(
    ("sampler", "overrides", "changed", "said"),
    [
        ("BruteForceSampler", ["x=interval(0,1)"], {}, "BruteForceSampler cannot search this"),
        (
            "CmaEsSampler",
            ["x=interval(0,1)"],
            {"objective": ["val_accuracy", "macs"]},
            "CmaEsSampler cannot search this",
        ),
        ("TPESampler", ["x=interval(0,1)"], {"objective": ["val_accuracy", "macs"]}, None),
        ("BruteForceSampler", ["x=1,2"], {}, None),
    ],
)
def test_a_sampler_is_asked_before_anything_is_written(tmp_path, sampler, overrides, changed, said):
    several = {"direction": ["maximize", "minimize"]} if changed else {}
    chosen = settings_in(tmp_path, sampler={"_target_": f"optuna.samplers.{sampler}", "seed": 0}, **changed, **several)
    space = Space(overrides)
    if said is None:
        chosen.try_out(lambda trial: space.point(suggest(trial)))
    else:
        with pytest.raises(UserError, match=said):
            chosen.try_out(lambda trial: space.point(suggest(trial)))
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("value", ["abc", -1, 1.5, True, None])
def test_a_grid_s_retries_are_a_whole_number(value):
    with pytest.raises(UserError, match=f"max_retries={value}: must be a whole number, 0 or more"):
        grid.GridSweeper(max_retries=value)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        *(({"n_jobs": value}, f"n_jobs={value}: a whole number of workers") for value in ("abc", -1, 0, True)),
        *(({"n_trials": value}, f"n_trials={value}") for value in (True, -3, None)),
        *(({"max_failure_rate": value}, f"max_failure_rate={value}") for value in (-0.1, "x", float("nan"))),
        *(({"constraint": {"macs": value}}, f"constraint.macs={value}: a number") for value in ("x", float("nan"))),
        ({"objective": [5]}, "objective=5: allowed are val_accuracy"),
        ({"objective": [None]}, "objective=None: allowed are"),
    ],
)
def test_every_setting_of_a_search_is_checked(tmp_path, changed, said):
    with pytest.raises(UserError, match=said):
        settings_in(tmp_path, **changed)


def test_a_key_that_the_command_fixes_leaves_its_family_searched_and_is_said(capsys):
    command = ["-m", "hparams_search=pareto", "kd.temperature=3"]
    assert shorthand.expand(command) == (
        ["-m", "hparams_search=pareto", "hydra/sweeper=optuna", "kd.temperature=3"],
        [],
    )
    parser, ready = OverridesParser.create(), ["kd=choice(none,logit)", "kd.temperature=interval(1,10)"]
    assert command_line.fixed_overrides(ready, ["kd.temperature=3"], parser) == ["kd.temperature=3"]
    assert "not searched, since the command fixes it: kd.temperature=3" in capsys.readouterr().err
    overrides = [*ready, "kd.temperature=3"]
    space = command_line.with_families(Space(overrides, parser), overrides, parser)
    assert [point for point, _ in space.points(9)] == [["kd=none"], ["kd=logit", "kd.temperature=3"]]
    assert capsys.readouterr().err == ""
    overrides = ["quant.bits=2,4", "kd.temperature=3"]
    space = command_line.with_families(Space(overrides, parser), overrides, parser)
    assert space.keys["kd"] == "logit" and space.keys["quant"] == "qat"
    assert "chooses kd=logit" in capsys.readouterr().err


@pytest.mark.slow
def test_printed_commands_run_as_they_are_printed(lcomp_in, tmp_path):
    experiment_in(tmp_path / "my conf", "quant: {bits: 6}")
    folder = "multirun/mein Ordner [1]=ü"
    command = ["-m", "--config-dir", "my conf", "experiment=mine", "quant=static", "name='ü = [x], \"y\"',b"]
    process = lcomp_in(tmp_path, wait=False)(
        *command, f"hydra.sweep.dir={quoting.quoted_value(folder)}", "launcher.workers=1"
    )
    wait_for(lambda: [*tmp_path.glob("multirun/*/0/lcomp.log")])
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "--config-dir" in err, err
    [again] = [line.removeprefix("To go on: ") for line in err.splitlines() if line.startswith("To go on: ")]
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    environment.pop("LCOMP_DATA", None)

    def run(printed):
        done = subprocess.run(
            ["bash", "-c", printed], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    run(again)
    from lcomp.report.runs import load_runs

    names = {one.result.name: one for one in load_runs([tmp_path / folder]) if one.is_ok}
    assert names.keys() == {'ü = [x], "y"', "b"}
    assert all(one.result.params["quant.bits"] == 6 for one in names.values())
    run(names['ü = [x], "y"'].command)
    [alone] = [path for path in tmp_path.glob("multirun/run-*/result.json")]
    assert read_result(alone).config_hash == names["b"].result.config_hash and read_result(alone).name == 'ü = [x], "y"'
