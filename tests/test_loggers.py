"""What is logged of each epoch, the loggers beside W&B, and what a sweep's end outlives."""

import csv
import logging
from importlib import import_module

import hydra
import optuna
import pytest
from hydra._internal.callbacks import Callbacks
from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.types import HydraContext
from omegaconf import OmegaConf
from records import record
from wandb_files import Mirrored

from lcomp.cli.sweep_callback import SweepCallback
from lcomp.config import run_config
from lcomp.config.typed_command import TypedCommand
from lcomp.record.result import Result
from lcomp.report import study, sweep_end
from lcomp.run import run
from lcomp.sweeps import sweep

FEW = ["data=mnist5k", "data.epoch_examples=2560", "baseline.trainer.max_epochs=1", "measure.latency_runs=1"]


class NoLogger:
    """What a user might name by mistake."""


@pytest.fixture
def carried_out(tmp_path, cache):
    """Carries a run out in this process; returns its record and its folder."""

    def call(*overrides):
        with hydra.initialize_config_dir(str(run_config.folder().resolve()), version_base="1.3"):
            settings = [*FEW, f"baseline.cache={cache}", "progress=false", "trainer.max_epochs=2"]
            cfg = hydra.compose("config", [*settings, *overrides])
        return run(cfg, tmp_path / "run", list(overrides)), tmp_path / "run"

    return call


@pytest.mark.slow
def test_csv_and_the_record_hold_the_same_curves_masks_and_ranges_among_them(carried_out):
    chosen = ["prune=scheduled", "prune.sparsity=0.9", "prune.interval=2", "prune.sparsities={fc1: 0.95}", "quant=qat"]
    result, folder = carried_out(*chosen, "logger=[csv,wandb]", "tags=[one,two words]", "notes=with both")
    assert result.status == "ok", result.error
    seen = Mirrored(folder)
    assert {"one", "two words"} == set(seen.run.tags) and seen.run.notes == "with both"
    assert seen.summary["test_accuracy"] == result.metrics["test_accuracy"]
    assert result.params["prune.sparsities.fc1"] == 0.95 and result.params["quant.grid"] == "Uniform"
    assert result.params["pack.bias_bits"] is None
    with (folder / "csv" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows if row["status"]] == ["ok"] and rows[-1]["status"] == "ok"
    assert {name: float(rows[-1][f"final/{name}"]) for name in result.metrics} == result.metrics
    for name, values in result.epochs.items():
        if name != "seconds":
            assert [float(row[name]) for row in rows if row[name]] == values, name
    assert all(len(values) == 2 for values in result.epochs.values())
    for layer in ("conv1", "conv2", "fc1", "fc2", "fc3"):
        assert {f"sparsity/{layer}", f"range/{layer}.weight"} <= set(result.epochs)
    assert result.epochs["sparsity/fc1"][-1] == pytest.approx(0.95, abs=1e-4)
    assert result.epochs["range/fc1.high"][0] > 0


def test_tensorboard_has_the_curves(carried_out):
    accumulator = import_module("tensorboard.backend.event_processing.event_accumulator").EventAccumulator
    result, folder = carried_out("kd=logit", "logger=tensorboard")
    assert result.status == "ok", result.error
    events = accumulator(str(folder / "tensorboard"))
    events.Reload()
    for name in ("val_accuracy", "train_loss"):
        assert [event.value for event in events.Scalars(name)] == pytest.approx(result.epochs[name])
    for name, value in result.metrics.items():
        assert [event.value for event in events.Scalars(f"final/{name}")] == [pytest.approx(value)], name


@pytest.mark.parametrize("package", ["tensorboard", "mlflow"])
def test_a_package_that_is_not_installed_is_named(carried_out, monkeypatch, package):
    monkeypatch.setattr("lcomp.errors.find_spec", lambda name: None)
    result, _ = carried_out("kd=logit", f"logger={package}")
    assert result.status == "failed" and result.error.endswith(f"pip install 'lcomp[{package}]'")


def test_what_is_no_logger_is_refused(carried_out):
    result, _ = carried_out("kd=logit", "logger._target_=test_loggers.NoLogger")
    assert result.status == "failed" and "logger._target_=test_loggers.NoLogger" in result.error


def test_a_broken_report_fails_no_sweep(tmp_path, monkeypatch, caplog, capsys):
    record(tmp_path / "sweep" / "0", "kd=logit")
    from lcomp.report import writing

    monkeypatch.setattr(writing, "write_report_files", lambda *_: 1 / 0)
    settings = {"hydra": {"sweep": {"dir": str(tmp_path / "sweep")}, "sweeper": {}}, "logger": {}, "report": True}
    with caplog.at_level(logging.WARNING):
        SweepCallback().on_multirun_end(OmegaConf.create(settings))
    assert "no report could be written (ZeroDivisionError" in caplog.text and "kd=logit" in capsys.readouterr().out


def test_the_report_s_path_is_the_last_line(tmp_path, capsys):
    record(tmp_path / "sweep" / "0", "kd=logit")
    settings = {"hydra": {"sweep": {"dir": str(tmp_path / "sweep")}, "sweeper": {}}, "logger": {}, "report": True}
    SweepCallback().on_multirun_end(OmegaConf.create(settings))
    assert capsys.readouterr().out.splitlines()[-1] == f"Report: {tmp_path / 'sweep' / 'report.html'}"
    settings["report"] = False
    SweepCallback().on_multirun_end(OmegaConf.create(settings))
    assert "Report:" not in capsys.readouterr().out


@pytest.mark.parametrize(("status", "sweeper", "code"), [
    ("ok", {}, None), ("pruned", {}, None), ("failed", {}, 1), ("nan", {}, 1), ("nan", {"max_failure_rate": 0.5}, None),
])  # fmt: skip
def test_runs_that_failed_are_told_and_end_the_process_with_1_unless_a_search_bore_them(
    tmp_path, capsys, status, sweeper, code
):
    record(tmp_path / "sweep" / "0", "kd=logit")
    if status != "ok":
        Result(status, "why", overrides=["kd=rkd"]).write(tmp_path / "sweep" / "1")
    settings = {"hydra": {"sweep": {"dir": str(tmp_path / "sweep")}, "sweeper": sweeper}, "logger": {}, "report": True}
    ended = None
    try:
        SweepCallback().on_multirun_end(OmegaConf.create(settings))
    except SystemExit as exit:
        ended = exit.code
    told = capsys.readouterr()
    assert ended == code and told.out.splitlines()[-1].startswith("Report: ")
    assert ("1 of 2 runs failed:\n  1: kd=rkd: why\n" in told.err) == (status in ("failed", "nan"))


@pytest.mark.parametrize(("status", "code"), [("ok", None), ("pruned", None), ("failed", 1), ("nan", 1)])
def test_a_single_run_that_failed_ends_the_process_with_1_after_every_other_callback(tmp_path, status, code):
    record(tmp_path, "kd=logit") if status == "ok" else Result(status, "why").write(tmp_path)
    heard, ended = [], None

    class Later(Callback):
        def on_run_end(self, config, **kwargs):
            heard.append(kwargs["job_return"].status)

    callbacks = Callbacks()
    callbacks.callbacks = [SweepCallback(), Later()]
    try:
        callbacks.on_run_end(
            OmegaConf.create({"hydra": {"runtime": {"output_dir": str(tmp_path)}}}),
            job_return=JobReturn(status=JobStatus.COMPLETED),
        )
    except SystemExit as exit:
        ended = exit.code
    assert ended == code and heard == [JobStatus.COMPLETED]


def test_what_ends_a_sweep_is_told_its_command(tmp_path, monkeypatch):
    record(tmp_path / "sweep" / "0", "kd=logit")
    seen = []
    monkeypatch.setattr(sweep_end.sweep_completion, "complete", lambda *given: seen.append(given))
    callbacks = Callbacks()
    callbacks.callbacks = [Callback(), SweepCallback()]
    command = TypedCommand(None, None, lambda result: None)
    sweep_end.tell_command(HydraContext(None, callbacks), command)
    settings = {"hydra": {"sweep": {"dir": str(tmp_path / "sweep")}, "sweeper": {}}, "logger": {}, "report": False}
    callbacks.on_multirun_end(OmegaConf.create(settings))
    assert seen == [(tmp_path / "sweep", {}, command)] and SweepCallback().command is None


def test_no_password_of_a_storage_is_written(tmp_path, capsys):
    storage = "postgresql://me:sesame@host/db"
    hydras = {"sweep": {"dir": str(tmp_path / "s"), "subdir": sweep.SUBDIR}, "sweeper": {"storage": storage}}
    cfg = OmegaConf.create({"hydra": hydras})
    with pytest.raises(KeyboardInterrupt), sweep.open_sweep(cfg, [f"storage={storage}"], False, {"storage": storage}):
        raise KeyboardInterrupt
    said = capsys.readouterr().err
    assert "resume=" in said and "sesame" not in said
    written = [path.read_text() for path in (tmp_path / "s").iterdir()]
    assert len(written) >= 2 and not any("sesame" in text for text in written)
    with sweep.open_sweep(cfg, [f"storage={storage}"], True, {"storage": storage}):
        pass  # the plan is the same


@pytest.mark.parametrize("directions", [["maximize"], ["maximize", "minimize"]])
def test_a_study_s_charts(tmp_path, directions):
    (tmp_path / "sweep.json").write_text('{"plan": {}}')
    made = optuna.create_study(storage=f"sqlite:///{tmp_path / study.STUDY}", study_name="s", directions=directions)
    for number in range(6):
        trial = made.ask()
        values = [trial.suggest_float("x", 0, 1) + number, trial.suggest_int("y", 0, 5)]
        made.tell(trial, values[: len(directions)])
    found = study.study_figures([tmp_path])
    assert len(found) == 1 + len(directions) and all(figure["data"] for figure in found)


def test_half_a_study_costs_its_charts_alone(tmp_path, caplog):
    (tmp_path / "sweep.json").write_text("{}")
    (tmp_path / study.STUDY).write_bytes(b"no database")
    assert study.study_figures([tmp_path]) == [] and "no charts of it" in caplog.text
