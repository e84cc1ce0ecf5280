"""What W&B is shown, read back from its files."""

import json
import logging
import os
import sys

import pytest
from omegaconf import OmegaConf
from records import record
from wandb_files import Mirrored

from lcomp.errors import UserError
from lcomp.record.result import FILE_NAME, LATENCIES, read_result
from lcomp.tracking import failures, wandb_logger
from lcomp.tracking.sweep_completion import complete
from lcomp.tracking.wandb_logger import WandbLogger, note, sync_command

CURVES = {
    "train_loss": [1 / 3, 0.1, 0.07],
    "val_accuracy": [0.7000000238418579, 0.8, 0.9],
    "sparsity/fc1": [None, 0.1, 2 / 3],
}
CFG = {
    "kd": {"temperature": 3, "alpha": 0.1},
    "prune": {},
    "quant": {},
    "seed": 0,
    "logger": {"_target_": wandb_logger.TARGET},
}
STUDENT = {"kd": "logit"}


@pytest.fixture(autouse=True)
def as_new(monkeypatch, tmp_path):
    """Nothing said yet; a home and a working folder that must stay empty."""
    failures.said.clear()
    monkeypatch.setattr(WandbLogger, "can_begin", True)
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "home")
    yield
    left = [path for path in (tmp_path / "home").rglob("*") if path.is_file()]
    assert not left, left


def show(folder, cfg, result, group, **settings):
    one = WandbLogger(**settings)
    one.complete(folder, cfg, result, group)
    one.complete_baseline(folder, cfg, result, group)


def run(folder, *overrides, **settings):
    overrides = overrides or ("kd=logit", "kd.temperature=3")
    return record(folder, *overrides, epochs=CURVES, choices=STUDENT, **settings)


def test_every_scalar_is_there_to_the_last_digit(tmp_path):
    result = run(tmp_path / "sweep" / "0", seed=4)
    show(tmp_path / "sweep" / "0", CFG, result, "sweep")
    seen = Mirrored(tmp_path / "sweep" / "0")
    assert (seen.run.project, seen.run.run_group, seen.run.job_type) == ("lcomp", "sweep", "logit")
    assert {"kd=logit", "prune=none", "data=mnist5k"} <= set(seen.run.tags)
    assert seen.run.display_name == "kd=logit kd.temperature=3" and seen.exit_code == 0
    assert seen.config["kd"] == {"temperature": 3, "alpha": 0.1} and seen.config["record"]["config_hash"] is None
    for name, values in CURVES.items():
        logged = [row.get(name) for row in seen.history if name in row or "train_loss" in row]
        assert logged == values
    assert [row["epoch"] for row in seen.history[:3]] == [1, 2, 3]
    for name, value in result.metrics.items():
        assert seen.summary[name] == value, name
    assert seen.summary["seconds/train"] == 3.0 and seen.summary["status"] == "ok"
    assert seen.summary["baseline"]["test_accuracy"] == 0.95


def test_pictures_and_the_artifact(tmp_path):
    show(tmp_path / "sweep" / "0", CFG, run(tmp_path / "sweep" / "0", seed=4), "sweep")
    seen = Mirrored(tmp_path / "sweep" / "0")
    [mistakes] = [row for row in seen.history if "mistakes.count" in row]
    assert mistakes["mistakes.count"] == 20 and " read as " in mistakes["mistakes.captions"][0]
    assert len(list((tmp_path / "sweep" / "0").rglob("mistakes*.png"))) == 20
    [matrix] = (tmp_path / "sweep" / "0").rglob("confusion_matrix*.json")
    assert sum(row[2] for row in json.loads(matrix.read_text())["data"]) == 200
    [artifact] = [one for one in seen.artifacts if one.name == "lcomp-logit"]
    assert set(artifact.aliases) == {"latest", "seed-4"} and artifact.type == "model"


def test_a_baseline_is_a_run_of_its_own_and_once_in_a_sweep(tmp_path):
    sweep = tmp_path / "sweep"
    ids = set()
    for number in range(3):
        show(sweep / str(number), CFG, run(sweep / str(number), baseline=0.95), "sweep")
        ids.add(note(next(sweep.glob(f"{wandb_logger.BASELINE}*")))["id"])
    assert len(ids) == 1
    show(sweep / "3", CFG, run(sweep / "3", baseline=0.96), "sweep")
    folders = sorted(sweep.glob(f"{wandb_logger.BASELINE}*"))
    assert len(folders) == 2
    seen = Mirrored(folders[0])
    assert seen.run.job_type == "baseline" and seen.run.run_group == "sweep" and seen.config["kd"] == {}
    assert seen.summary["test_accuracy"] == 0.95 and seen.summary["gzip_bytes"] == 165_000
    assert "kd=none" in seen.run.tags


def test_a_run_that_compresses_nothing_is_its_own_baseline(tmp_path):
    show(tmp_path / "sweep" / "0", CFG, record(tmp_path / "sweep" / "0"), "sweep")
    assert Mirrored(tmp_path / "sweep" / "0").run.job_type == "baseline"
    assert not list((tmp_path / "sweep").glob(f"{wandb_logger.BASELINE}*"))


@pytest.mark.parametrize(("status", "code"), [("failed", 1), ("nan", 1), ("pruned", 0)])
def test_runs_that_failed_are_there_with_their_cause(tmp_path, status, code):
    result = record(tmp_path / "sweep" / "0", "kd=logit", status=status, error="out of memory", choices=STUDENT)
    show(tmp_path / "sweep" / "0", CFG, result, "sweep")
    seen = Mirrored(tmp_path / "sweep" / "0")
    assert seen.exit_code == code and seen.summary["error"] == "out of memory" and seen.summary["status"] == status


def test_a_sweep_is_mirrored_once_and_lost_runs_with_it(tmp_path):
    sweep = tmp_path / "sweep"
    for number in range(2):
        run(sweep / str(number), "kd=logit", f"kd.temperature={number}")
        (sweep / str(number) / ".hydra").mkdir()
        OmegaConf.save(CFG, sweep / str(number) / ".hydra" / "config.yaml")
    record(sweep / "2", "kd=logit", status="failed", error="killed", choices=STUDENT)  # before Hydra wrote anything
    complete(sweep, CFG["logger"])
    before = {path: path.stat().st_mtime_ns for path in sweep.rglob("*.wandb")}
    assert len(before) == 4 and len({path.name for path in before}) == 4
    assert Mirrored(sweep / "1").run.display_name == "kd=logit kd.temperature=1"
    assert Mirrored(sweep / "2").exit_code == 1
    complete(sweep, CFG["logger"])
    assert {path: path.stat().st_mtime_ns for path in sweep.rglob("*.wandb")} == before
    assert sync_command(sweep) == f"wandb sync {sweep}/*/wandb/offline-run-*"


def test_no_secret_reaches_it(tmp_path, monkeypatch):
    monkeypatch.setenv("SOME_API_KEY", "sesame-open")
    cfg = CFG | {"data": {"token": "hidden1", "url": "postgresql://me:hidden2@host/db", "note": "key is sesame-open"}}
    result = run(tmp_path / "sweep" / "0", "kd=logit", "+data.token=hidden1", "x=postgresql://me:hidden2@host/db")
    result.error = "cannot reach postgresql://me:hidden2@host/db with sesame-open"
    result.write(tmp_path / "sweep" / "0")
    monkeypatch.setattr(sys, "argv", ["lcomp", "+data.token=hidden1"])
    show(tmp_path / "sweep" / "0", cfg, result, "sweep")
    assert Mirrored(tmp_path / "sweep" / "0").config["data"]["url"] == "postgresql://***@host/db"
    for path in (tmp_path / "sweep").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not any(secret in content for secret in (b"hidden1", b"hidden2", b"sesame-open")), path


@pytest.mark.parametrize("how", ["missing", "broken"])
def test_without_wandb_nothing_fails_and_it_is_said_once(tmp_path, monkeypatch, caplog, how):
    if how == "missing":
        monkeypatch.setitem(sys.modules, "wandb", None)
    else:
        import wandb

        monkeypatch.setattr(wandb, "init", lambda **_: 1 / 0)
    with caplog.at_level(logging.WARNING):
        for number in range(3):
            folder = tmp_path / "sweep" / str(number)
            show(folder, CFG, run(folder), "sweep")
    assert caplog.text.count("W&B does not show") == 1 and "logger=none" in caplog.text
    assert note(tmp_path / "sweep" / "0") is None and read_result(tmp_path / "sweep" / "0" / FILE_NAME).status == "ok"


def test_a_picture_that_cannot_be_made_costs_nothing_else_and_is_said_once(tmp_path, caplog, monkeypatch):
    monkeypatch.delattr("wandb.plot.confusion_matrix")
    for number in range(2):
        folder = tmp_path / "sweep" / str(number)
        result = run(folder)
        show(folder, CFG, result, "sweep")
        seen = Mirrored(folder)
        assert seen.summary["test_accuracy"] == 0.9 and seen.exit_code == 0
        assert [one.name for one in seen.artifacts] == ["lcomp-logit"]
    assert caplog.text.count("W&B does not show a picture or a file") == 1


def test_half_a_mirror_is_written_again(tmp_path, monkeypatch):
    folder = tmp_path / "sweep" / "0"
    result = run(folder)
    (folder / "wandb" / "offline-run-1-half").mkdir(parents=True)
    show(folder, CFG, result, "sweep")
    assert len(list(folder.glob("wandb/offline-run-*"))) == 1 and Mirrored(folder).exit_code == 0


def test_the_baseline_of_a_run_that_failed_is_well(tmp_path):
    result = run(tmp_path / "sweep" / "0")
    result.status, result.error = "nan", "the artifact's logits are not finite"
    show(tmp_path / "sweep" / "0", CFG, result, "sweep")
    [base] = (tmp_path / "sweep").glob(f"{wandb_logger.BASELINE}*")
    seen = Mirrored(base)
    assert seen.exit_code == 0 and seen.summary["status"] == "ok" and seen.summary["error"] is None
    assert seen.summary["seconds/train"] == 5.0 and seen.summary["steps"] == 0


def test_no_configuration_that_lies_in_a_run_is_built(tmp_path):
    sweep = tmp_path / "sweep"
    for number, text in enumerate(
        (
            "{not yaml",
            "kd: {}\n",
            "data: {root: '${oc.env:NOT_THERE}'}\nlogger: {_target_: lcomp.tracking.wandb_logger.WandbLogger}\n",
        )
    ):
        run(sweep / str(number), f"x={number}")
        (sweep / str(number) / ".hydra").mkdir()
        (sweep / str(number) / ".hydra" / "config.yaml").write_text(text)
    complete(sweep, None)
    assert not list(sweep.rglob("*.wandb"))
    complete(sweep, CFG["logger"])
    assert {path.parts[-4] for path in sweep.glob("[0-9]/wandb/*/*.wandb")} == {"0", "1", "2"}


def test_disabled_writes_nothing(tmp_path):
    show(tmp_path / "s" / "0", CFG, run(tmp_path / "s" / "0"), "s", mode="disabled")
    assert not list(tmp_path.rglob("*.wandb"))


def test_another_mode_is_refused(monkeypatch):
    with pytest.raises(UserError, match=r"logger\.mode"):
        WandbLogger(mode="onlin")
    monkeypatch.setenv("WANDB_MODE", "shared")
    with pytest.raises(UserError, match="WANDB_MODE=shared: allowed are online, run, offline, dryrun, disabled"):
        WandbLogger()


@pytest.mark.parametrize(
    ("environment", "given", "expected"),
    [
        ({}, {}, ("lcomp", None, "offline")),
        ({"WANDB_MODE": "", "WANDB_PROJECT": "", "WANDB_DISABLED": ""}, {}, ("lcomp", None, "offline")),
        ({"WANDB_PROJECT": "theirs", "WANDB_ENTITY": "team"}, {}, ("theirs", "team", "offline")),
        ({"WANDB_PROJECT": "theirs"}, {"project": "mine"}, ("mine", None, "offline")),
        ({"WANDB_MODE": "online"}, {}, ("lcomp", None, "online")),
        ({"WANDB_MODE": "dryrun"}, {}, ("lcomp", None, "offline")),
        ({"WANDB_MODE": "disabled"}, {}, ("lcomp", None, "disabled")),
        ({"WANDB_MODE": "online", "WANDB_DISABLED": "true"}, {}, ("lcomp", None, "disabled")),
        ({"WANDB_MODE": "online", "WANDB_DISABLED": "false"}, {}, ("lcomp", None, "online")),
        ({"WANDB_MODE": "disabled"}, {"mode": "offline"}, ("lcomp", None, "offline")),
    ],
)
def test_the_environment_says_what_the_command_does_not(monkeypatch, environment, given, expected):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    made = WandbLogger(**given)
    assert (made.project, made.entity, made.mode) == expected


WHOLE = {  # as a user, or W&B's agent, may set it
    "WANDB_RUN_ID": "fixed1",
    "WANDB_NAME": "a name",
    "WANDB_SWEEP_ID": "swept1",
    "WANDB_RUN_GROUP": "their group",
    "WANDB_TAGS": "tried, twice",
    "WANDB_PROJECT": "theirs",
    "WANDB_ENTITY": "team",
    "WANDB_JOB_TYPE": "theirs",
}


def test_a_runs_own_id_and_name_are_that_single_runs_and_no_baselines(tmp_path, monkeypatch):
    for name, value in WHOLE.items():
        monkeypatch.setenv(name, value)
    folder = tmp_path / "run-1"
    show(folder, CFG, run(folder), "run-1")
    seen, [base] = Mirrored(folder).run, folder.glob(f"{wandb_logger.BASELINE}*")
    assert (seen.run_id, seen.display_name, seen.sweep_id) == ("fixed1", "a name", "swept1")
    own = Mirrored(base).run
    assert own.run_id not in ("", "fixed1") and (own.display_name, own.sweep_id) == ("baseline seed=0", "")
    for one, job_type in ((seen, "logit"), (own, "baseline")):
        assert (one.project, one.entity, one.run_group, one.job_type) == ("theirs", "team", "their group", job_type)
        assert {"tried", "twice", "data=mnist5k"} <= set(one.tags)
    asked = note(folder)["environment"]
    assert asked == {name: value for name, value in WHOLE.items() if name != "WANDB_JOB_TYPE"}
    assert set(note(base)["environment"]) == {"WANDB_RUN_GROUP", "WANDB_TAGS", "WANDB_PROJECT", "WANDB_ENTITY"}
    assert {name: os.environ[name] for name in WHOLE} == WHOLE


@pytest.mark.parametrize("sweep", ["sweep", "0"])
def test_a_sweeps_runs_have_their_own_ids_and_names(tmp_path, monkeypatch, sweep):
    for name, value in WHOLE.items():
        monkeypatch.setenv(name, value)
    for number in range(2):
        show(tmp_path / sweep / str(number), CFG, run(tmp_path / sweep / str(number)), sweep)
    kept = [Mirrored(tmp_path / sweep / place).run for place in ("0", "1")]
    kept.append(Mirrored(next((tmp_path / sweep).glob(f"{wandb_logger.BASELINE}*"))).run)
    assert len({one.run_id for one in kept} - {"fixed1", ""}) == 3
    assert [one.display_name for one in kept] == ["kd=logit kd.temperature=3"] * 2 + ["baseline seed=0"]
    assert [one.sweep_id for one in kept] == ["", "", ""]
    assert {one.run_group for one in kept} == {"their group"}


def test_files_lie_where_the_user_says_and_the_command_that_sends_them_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "all of it"))
    folder = tmp_path / "run-1"
    show(folder, CFG, run(folder), "run-1")
    files = sorted((tmp_path / "all of it" / "wandb").glob("offline-run-*"))
    assert len(files) == 2 and not list(folder.rglob("*.wandb"))
    assert sorted(sync_command(folder).split(" '")[1:]) == sorted(f"{path}'" for path in files)


class Online:
    """W&B's side of an online run, as far as lcomp speaks with it."""

    def __init__(self, told, settings):
        self.told, self.settings, self.id, self.summary = told, settings, settings.get("id", "abc"), {}
        told.append(self)
        self.logged, self.exit_code = [], None

    def log(self, values):
        self.logged.append(values)

    def define_metric(self, *_, **__):
        pass

    def log_artifact(self, *_, **__):
        pass

    def finish(self, exit_code):
        self.exit_code = exit_code


def test_online_epochs_are_told_as_they_end_and_latencies_follow(tmp_path, monkeypatch):
    import wandb

    told = []
    monkeypatch.setattr(wandb, "init", lambda **settings: Online(told, settings))
    folder, one = tmp_path / "sweep" / "0", WandbLogger(mode="online")
    result = run(folder)
    late = {key: result.metrics.pop(key) for key in LATENCIES}
    (folder / "wandb").mkdir()
    live = one.follow(folder, OmegaConf.create(CFG), result, "sweep")
    live(1, {"val_accuracy": 0.5})
    live(2, {"val_accuracy": 0.6})
    assert told[0].logged == [{"val_accuracy": 0.5, "epoch": 1}, {"val_accuracy": 0.6, "epoch": 2}]
    one.complete(folder, CFG, result, "sweep")
    assert told[0].exit_code == 0 and told[0].summary["test_accuracy"] == 0.9
    assert (
        told[0].logged[2]["epoch"] == 3 and told[0].logged[2]["train_loss"] == 0.07
    )  # the last, which no epoch followed
    assert [name for values in told[0].logged[3:] for name in values] == ["confusion_matrix", "mistakes"]
    result.metrics |= late
    WandbLogger(mode="online").complete(folder, CFG, result, "sweep")
    amended = told[-1]
    assert amended.settings["resume"] == "must" and amended.settings["id"] == "abc"
    assert {name: amended.summary[name] for name in late} == late and amended.logged == []
    WandbLogger(mode="online").complete(folder, CFG, result, "sweep")
    assert told[-1] is amended and len(told) == 2
