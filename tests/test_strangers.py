"""Somebody else's sweep is data: what is resumed, measured, mirrored and reported runs nothing that lies in it."""

import json
import os
import shutil
import sys
from types import SimpleNamespace

import hostile
import optuna
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from quickly import first_quickly
from records import record

from lcomp.errors import UserError
from lcomp.evaluation import comparison
from lcomp.record import folders, run_folders
from lcomp.record.limits import Refused
from lcomp.record.result import Result, read_result
from lcomp.report import __main__ as command
from lcomp.report import charts, study_file
from lcomp.report.runs import load_runs
from lcomp.search import search, settings
from lcomp.search.space import Space
from lcomp.sweeps import sweep

GRID = ["-m", "model=lenet5", "seed=0,1", "launcher=serial", "report=true", "reuse=false"]


@pytest.fixture(scope="module")
def swept(lcomp_in, tmp_path_factory):
    """A sweep of two baselines."""
    place = tmp_path_factory.mktemp("swept")
    done = lcomp_in(place)(*GRID, "hydra.sweep.dir=sweep")
    assert done.returncode == 0, done.stderr
    return place


def poisoned(swept, place):
    """The sweep as a stranger would hand it on: without latencies, with code wherever there is configuration."""
    folder, canary = place / "sweep", place / hostile.CANARY
    shutil.copytree(swept, place, dirs_exist_ok=True)
    for path in [*folder.rglob("*.yaml"), folder / "0" / ".hydra" / "more.yaml"]:
        path.write_bytes(hostile.code(canary))
    shutil.rmtree(folder / "1")
    shutil.copytree(folder / "0", folder / "7")
    for name, overrides in (("0", None), ("7", ["seed=1", "data._target_=os.mknod", f"+data.path={canary}"])):
        found = json.loads((folder / name / "result.json").read_text())
        found["metrics"] = {key: value for key, value in found["metrics"].items() if not key.startswith("latency")}
        found["overrides"] = overrides or found["overrides"]
        (folder / name / "result.json").write_text(json.dumps(found))
    return folder, canary


@pytest.mark.slow
def test_resuming_builds_what_the_command_names_and_nothing_else(swept, lcomp_in, tmp_path):
    folder, canary = poisoned(swept, tmp_path)
    done = lcomp_in(tmp_path)(*GRID, "resume=sweep")
    assert done.returncode == 0, done.stderr
    assert not canary.exists() and "Traceback" not in done.stderr
    assert "1 of 2 runs are finished" in done.stdout
    assert read_result(folder / "0" / "result.json").metrics["latency_ratio"] > 0
    assert read_result(folder / "8" / "result.json").overrides[:2] == ["model=lenet5", "seed=1"]
    assert "latency_ratio" not in read_result(folder / "7" / "result.json").metrics
    assert "sweep/7: no run of this command (seed=1 data._target_=os.mknod" in done.stderr
    assert not list(folder.rglob("*.wandb")), "the folder's logger was built"


@pytest.mark.slow
def test_a_latency_is_of_the_data_and_the_file_that_the_record_names(swept, tmp_path, monkeypatch):
    folder, _ = poisoned(swept, tmp_path)
    found = read_result(folder / "0" / "result.json")
    with pytest.raises(Refused, match="is not the file of which the record has the hash"):
        folders.verified_file(folder / "0" / "artifact.onnx", "0" * 64)
    for path in ("../1/artifact.onnx", "/etc/passwd", "..", "", "gone.onnx"):
        with pytest.raises(Refused, match="names an artifact that is no file in it"):
            folders.artifact_file(folder / "0", {"path": path})
    found.dataset["sha256"] = "of another"
    found.write(folder / "0")
    monkeypatch.setattr(comparison.components, "make_data", lambda cfg: None)
    monkeypatch.setattr(comparison.content_hash, "dataset_record", lambda data: {"sha256": "this"})
    with pytest.raises(UserError, match="measured on another data set"):
        comparison.complete_latencies(SimpleNamespace(threads=1), folder / "0")


def test_a_baseline_is_read_from_the_report_s_folder_or_by_its_hash(tmp_path):
    run, outside = tmp_path / "sweep" / "0", tmp_path / "cache" / "0123456789abcdef"
    run.mkdir(parents=True)
    outside.mkdir(parents=True)
    (outside / "artifact.onnx").write_bytes(b"weights")
    sha256 = "9a6e34b1bdb4ba3a4a25c2f1b4d7a64b6b6dc2fd4cdc5c8a9f9c8d6a8e0b6ad7"
    named = {"path": "../../cache/0123456789abcdef/artifact.onnx", "sha256": sha256}
    with pytest.raises(Refused, match="has the hash"):
        folders.baseline_file(run, named, tmp_path / "sweep")
    named["sha256"] = folders.cached_sha256(outside / "artifact.onnx", 0)
    assert folders.baseline_file(run, named, tmp_path / "sweep") == outside / "artifact.onnx"
    with pytest.raises(Refused, match="lies in no cache of baselines"):
        folders.baseline_file(run, {"path": "../../cache/artifact.onnx", "sha256": sha256}, tmp_path / "sweep")
    assert (
        folders.baseline_file(run, {"path": "../../cache/artifact.onnx"}, tmp_path) == tmp_path / "cache/artifact.onnx"
    )


SPACE = ["prune=scheduled,none", "prune.sparsity=interval(0.5,0.9)", "kd.temperature=range(1,5)", "model=lenet5"]


@pytest.mark.parametrize(
    ("overrides", "point"),
    [
        (["prune=none", "kd.temperature=3", "model=lenet5"], True),
        (["prune=scheduled", "prune.sparsity=0.654321", "kd.temperature=4", "model=lenet5"], True),
        (["prune=scheduled", "prune.sparsity=0.95", "kd.temperature=4", "model=lenet5"], False),
        (["prune=none", "kd.temperature=5", "model=lenet5"], False),
        (["prune=none", "kd.temperature=3", "model=mine"], False),
        (["prune=none", "kd.temperature=3"], False),
        (["prune=none", "kd.temperature=3", "model=lenet5", "data._target_=os.system"], False),
        (["prune=none", "kd.temperature=os.system", "model=lenet5"], False),
        ([], False),
    ],
)
def test_a_record_is_of_a_search_whose_space_has_its_point(overrides, point):
    space = Space(SPACE, OverridesParser.create())
    assert space.point_of_result(Result(overrides=overrides)) == (overrides if point else None)


def test_what_a_function_of_the_user_s_suggests_is_no_class_and_no_path():
    space, own = Space(["model=lenet5", "seed=1"]), ["model=lenet5", "seed=1"]
    for more, known in (("prune.criterion=random", True), ("kd._target_=os.system", False), ("data.root=a", False)):
        assert space.point_of_result(Result(overrides=[*own, more]), more=True) == ([*own, more] if known else None)
        assert space.point_of_result(Result(overrides=[*own, more])) is None
    assert space.point_of_result(Result(overrides=[*own, "kd.teacher=/etc/passwd"]), more=True) is None


@pytest.mark.parametrize("target", ["os.system", "builtins.exec", "optuna.samplers", "optuna.pruners.NopPruner"])
def test_a_sampler_is_one_before_it_is_called(target):
    with pytest.raises(UserError, match=r"hydra\.sweeper\.sampler\._target_="):
        settings.instantiate("hydra.sweeper.sampler", {"_target_": target}, optuna.samplers.BaseSampler)


@pytest.mark.parametrize("name", ["multirun.yaml", "0", ".lock", "study.db", "0/.hydra"])
def test_a_sweep_with_a_link_that_leads_out_is_not_resumed(tmp_path, name):
    (tmp_path / "outside").mkdir()
    path = tmp_path / "sweep" / name
    path.parent.mkdir(parents=True)
    path.symlink_to(tmp_path / "outside")
    cfg = OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path / "sweep"), "subdir": sweep.SUBDIR}}})
    (tmp_path / "sweep" / "sweep.json").write_text('{"plan": {}}')
    with pytest.raises(UserError, match="a link that leads out of the folder"), sweep.open_sweep(cfg, [], True, {}):
        pass
    assert not list((tmp_path / "outside").iterdir())


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"plan": 1}', hostile.DEEP])
def test_a_sweep_without_a_plan_is_not_resumed(tmp_path, text):
    (tmp_path / "sweep.json").write_text(text)
    with pytest.raises(UserError, match=r"sweep\.json: "):
        run_folders.plan_in_manifest(tmp_path / "sweep.json")


def test_a_study_is_read_and_not_carried_out(tmp_path):
    hostile.sweep(tmp_path / "sweep")
    before = (tmp_path / "sweep" / "study.db").read_bytes()
    [summary] = optuna.get_all_study_summaries(study_file.read_only(tmp_path / "sweep" / "study.db"))
    assert summary.n_trials == 3 and (tmp_path / "sweep" / "study.db").read_bytes() == before


@pytest.mark.parametrize("seed", range(12))
def test_a_search_goes_on_with_a_study_of_rows_alone(tmp_path, seed):
    import random

    hostile.sweep(tmp_path / "sweep")
    search.check_study(tmp_path / "sweep" / "study.db")
    about = hostile.bend_study(tmp_path / "sweep", random.Random(seed))
    if about.partition(" ")[0] in ("view", "trigger", "generated", "virtual"):
        with pytest.raises(UserError, match=r"study\.db: "):
            search.check_study(tmp_path / "sweep" / "study.db")


def test_a_bad_record_costs_its_own_row_and_a_line(tmp_path, caplog):
    hostile.sweep(tmp_path / "sweep")
    record(tmp_path / "sweep" / "3")
    (tmp_path / "sweep" / "3" / "result.json").write_text('{"status": "ok", "metrics": {"val_accuracy": 7}}')
    assert [run.folder.name for run in load_runs([tmp_path / "sweep"])] == ["0", "1", "2"]
    assert "3/result.json: no record: metrics={'val_accuracy': 7} must be figures" in caplog.text


def test_figures_that_are_null_are_left_blank(tmp_path):
    hostile.hostile(tmp_path, ())
    path = tmp_path / "sweep" / "good" / "0" / "result.json"
    found = json.loads(path.read_text())
    for name in ("latency_us_p50", "latency_ratio", "accuracy/rotation", "mce", "val_mce"):
        found["metrics"][name] = found["baseline"][name] = None
    path.write_text(json.dumps(found))
    hostile.check(tmp_path)
    assert path.parent in {run.folder for run in load_runs([tmp_path / "sweep"])}
    assert json.loads(path.read_text()) == found


@pytest.mark.parametrize("kind", first_quickly(["record", "file", "study"]))
def test_hostile_folders_are_reported(tmp_path, kind):
    hostile.hostile(tmp_path, range(36), kind)
    hostile.check(tmp_path, 36)


def test_a_point_that_was_run_again_from_another_baseline_is_reported(tmp_path):
    """The later run stands for both; each baseline is drawn, as one kind."""
    hostile.hostile(tmp_path, ())
    shutil.copytree(tmp_path / "sweep" / "good", tmp_path / "sweep" / "again")
    for path in (tmp_path / "sweep" / "again").glob("*/result.json"):
        found = json.loads(path.read_text())
        found["baseline_artifact"]["sha256"] = "0" * 64
        path.write_text(json.dumps(found))
    hostile.check(tmp_path)
    drawn = charts.page_data(load_runs([tmp_path / "sweep"]), tmp_path / "sweep")
    assert [baseline["kind"] for baseline in drawn["baselines"]] == [0, 0]


def test_mutations_of_a_packed_network_are_refused_or_run(capsys):
    assert hostile.main("60", "packed") == 0
    assert capsys.readouterr().out == "0 of 60 did what they must not; 57 were refused, 3 are other networks\n"


@pytest.mark.parametrize("name", ["report", "report.html", "results.csv", "results.parquet", "report.md"])
@pytest.mark.parametrize("way", ["link", "folder"])
def test_a_report_is_written_into_the_folder_or_nowhere(tmp_path, name, way, monkeypatch, capsys):
    hostile.hostile(tmp_path, ())
    path = tmp_path / "sweep" / name
    path.mkdir() if way == "folder" else path.symlink_to(tmp_path / "outside")
    monkeypatch.setattr(sys, "argv", ["lcomp.report", str(tmp_path / "sweep")])
    returned, said = command.main(), capsys.readouterr().err
    assert [file.name for file in (tmp_path / "outside").iterdir()] == ["secret"]
    assert returned == 0 or (len(said.splitlines()) == 1 and said.startswith("lcomp: ") and name in said)


NAMES = [b"\xff", "²".encode(), b"9" * 200, b"a\nb", b"javascript:a", b"-1", b"$\\frac{"]


@pytest.mark.parametrize("name", first_quickly(NAMES, 2))
def test_a_run_s_folder_may_have_any_name(tmp_path, name, monkeypatch):
    hostile.hostile(tmp_path, ())
    os.rename(os.fsencode(tmp_path / "sweep" / "good"), os.path.join(os.fsencode(tmp_path / "sweep"), name))
    hostile.check(tmp_path)
    [own] = [path for path in (tmp_path / "sweep").iterdir() if path.is_dir() and path.name != "report"]
    monkeypatch.setattr(sys, "argv", ["lcomp.report", str(own)])
    assert command.main() == 0


def test_hundreds_of_bent_records_are_read_or_refused(tmp_path, caplog):
    import random

    hostile.sweep(tmp_path / "sweep")
    path, refused = tmp_path / "sweep" / "0" / "result.json", 0
    whole = path.read_bytes()
    for seed in range(500):
        path.write_bytes(whole)
        hostile.bend_record(tmp_path / "sweep", random.Random(seed))
        try:
            read_result(path)
        except Refused as error:
            refused += 1
            assert str(path) in str(error) and "\n" not in str(error) and len(str(error)) < 600
    assert 250 < refused < 500
