"""What loggers write, read back with their own readers, from records made by hand."""

import csv
import json
import os
from importlib import import_module

import pytest
from omegaconf import OmegaConf
from records import record

from lcomp.config import identity, run_config
from lcomp.config.composition import compose
from lcomp.config.run_spec import parse
from lcomp.errors import UserError
from lcomp.record.result import LATENCIES
from lcomp.tracking import loggers, mlflow_logger, run_contents
from lcomp.tracking.csv_logger import CsvLogger
from lcomp.tracking.logger_settings import each_logger
from lcomp.tracking.loggers import LightningTracker, SeveralTrackers, make_tracker
from lcomp.tracking.sweep_completion import complete
from lcomp.tracking.wandb_logger import WandbLogger

CURVES = {"seconds": [1.0, 2.0], "train_loss": [0.5, 0.25], "val_accuracy": [None, 0.8]}
CONFIG = {
    "kd": {"temperature": 3, "student": None},
    "trainer": {"learning_rate": 0.01, "schedule": "cosine"},
    "tags": ["one", "two"],
    "notes": "the second try",
    "data": {"token": "sesame"},
    "logger": {"csv": {"_target_": "lcomp.tracking.csv_logger.CsvLogger"}},
}


def run(folder, *overrides, **more):
    overrides = overrides or ("kd=logit", "kd.temperature=3")
    choices, params = {"kd": "logit", "perturb": ["blur", "noise"]}, {"kd.temperature": 3, "kd.student": None}
    return record(folder, *overrides, epochs=CURVES, choices=choices, params=params, started=1e9, steps=20, **more)


def table(folder):
    with (folder / "csv" / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


class TensorBoard:
    """What TensorBoard shows of a folder of runs."""

    def __init__(self, folder):
        processing = "tensorboard.backend.event_processing"
        multiplexer = import_module(f"{processing}.plugin_event_multiplexer").EventMultiplexer()
        multiplexer.AddRunsFromDirectory(str(folder))
        multiplexer.Reload()
        provider = import_module(f"{processing}.data_provider").MultiplexerDataProvider(multiplexer, str(folder))
        context = import_module("tensorboard.plugins.base_plugin").TBContext(data_provider=provider)
        self.asked = import_module("tensorboard.context").RequestContext(), "experiment"
        self.hparams = import_module("tensorboard.plugins.hparams.backend_context").Context(context)
        self.multiplexer = multiplexer

    @property
    def experiment(self):
        """The columns of its HParams tab."""
        metadata = self.hparams.hparams_metadata(*self.asked)
        return self.hparams.experiment_from_metadata(*self.asked, True, metadata, None)

    @property
    def rows(self):
        """The rows of its HParams tab: (status, hyperparameters, metrics) by the run."""
        messages = import_module("tensorboard.plugins.hparams.api_pb2")
        handler = import_module("tensorboard.plugins.hparams.list_session_groups").Handler
        metrics = [messages.ColParams(metric=one.name) for one in self.experiment.metric_infos]
        every = [messages.STATUS_SUCCESS, messages.STATUS_FAILURE]
        asked = messages.ListSessionGroupsRequest(
            allowed_statuses=every, col_params=metrics, slice_size=100, include_metrics=True
        )
        found = {}
        for group in handler(self.asked[0], self.hparams, self.asked[1], asked).run().session_groups:
            [session] = group.sessions
            values = {name: getattr(value, value.WhichOneof("kind")) for name, value in group.hparams.items()}
            figures = {f"{v.name.group}/{v.name.tag}".lstrip("/"): v.value for v in group.metric_values}
            found[session.name] = session.status == messages.STATUS_SUCCESS, values, figures
        return found


def test_tensorboard_compares_runs_of_different_techniques_by_their_parameters_and_figures(tmp_path):
    sweep = tmp_path / "sweep"
    results = [run(sweep / "0"), run(sweep / "1", "prune.sparsity=0.9", accuracy=0.8, seed=4)]
    results[1].params = {"prune.sparsity": 0.9, "prune.schedule": "Cubic"}
    failed = run(sweep / "2", status="failed", error="out of memory")
    for number, result in enumerate([*results, failed]):
        logger = make_tracker({"logger": compose(["logger=tensorboard"]).logger}, sweep / str(number))
        for _ in range(2):  # in a sweep at its end again
            logger.end(sweep / str(number), CONFIG, result, "sweep", is_whole=True)
    assert len(list(sweep.glob("0/tensorboard/*"))) == 1  # what was told first is gone
    seen = TensorBoard(sweep)
    rows = seen.rows
    assert list(rows) == [f"{number}/tensorboard" for number in range(3)]
    assert [rows[name][0] for name in rows] == [True, True, False]
    _, params, figures = rows["0/tensorboard"]
    assert params["kd.temperature"] == 3 and params["perturb"] == "blur+noise" and "kd.student" not in params
    assert params["trainer.learning_rate"] == 0.01 and params["seed"] == 0 and params["kd"] == "logit"
    for name, value in results[0].metrics.items():
        assert figures[f"final/{name}"] == pytest.approx(value, rel=1e-6), name
    assert figures["baseline/test_accuracy"] == pytest.approx(0.95) and figures["seconds/train"] == 3.0
    _, others, figures = rows["1/tensorboard"]
    assert others["prune.sparsity"] == 0.9 and others["seed"] == 4
    assert figures["final/test_accuracy"] == pytest.approx(0.8)
    assert {"kd.temperature", "prune.sparsity", "trainer.schedule"} <= {
        one.name for one in seen.experiment.hparam_infos
    }
    words = {one: seen.multiplexer.Tensors("2/tensorboard", one)[0].tensor_proto for one in ("notes", "tags", "error")}
    said = {name: proto.string_val[0].decode() for name, proto in words.items()}
    assert said == {"notes": "the second try", "tags": "one, two", "error": "out of memory"}


def test_csv_has_the_epochs_then_the_record_and_gets_latencies_later(tmp_path):
    folder = tmp_path / "sweep" / "0"
    result = run(folder)
    late = {name: result.metrics.pop(name) for name in LATENCIES}
    (folder / "csv").mkdir()
    # as Lightning left it, of the epoch that followed an interruption
    (folder / "csv" / "metrics.csv").write_text("epoch,step,train_loss,val_accuracy\n1,19,0.25,\n1,19,,0.8\n")
    CsvLogger(str(folder)).end(folder, CONFIG, result, "sweep", is_whole=False)
    assert "final/latency_ratio" not in table(folder)[0]
    result.metrics |= late
    result.write(folder)
    complete(tmp_path / "sweep", CONFIG["logger"])
    rows = table(folder)
    assert list(rows[0])[:3] == ["epoch", "step", "status"] and len(rows) == 4
    assert [(row["epoch"], row["train_loss"], row["val_accuracy"]) for row in rows[:3]] == [
        ("0", "0.5", ""), ("1", "0.25", ""), ("1", "", "0.8"),
    ]  # fmt: skip
    assert {name: float(rows[3][f"final/{name}"]) for name in result.metrics} == result.metrics
    assert {name: float(rows[3][f"baseline/{name}"]) for name in result.baseline} == result.baseline
    assert rows[3]["seconds/train"] == "3.0" and rows[3]["status"] == "ok"
    CsvLogger(str(folder)).end(folder, CONFIG, result, "sweep", is_whole=True)
    about = json.loads((folder / "csv" / "run.json").read_text())
    assert about["tags"] == "one, two" and about["notes"] == "the second try" and about["status"] == "ok"
    assert about["hyperparameters"]["kd.temperature"] == 3


def test_what_an_override_sets_is_a_hyperparameter_and_secrets_are_none(tmp_path):
    result = run(
        tmp_path / "0", "+data.token=sesame", "measure.latency_runs=9", "name=x", "tags=[a]", "logger.mode=online"
    )
    found = run_contents.hyperparameters(result, CONFIG | {"measure": {"latency_runs": 9}})
    assert found["measure.latency_runs"] == 9 and found["data.token"] == "***"
    assert not {"name", "tags", "logger.mode"} & set(found)


def test_lost_runs_are_told_of_at_a_sweep_s_end_and_others_loggers_are_not_begun_again(tmp_path, caplog):
    run(tmp_path / "sweep" / "0", status="failed", error="killed")
    other = {"_target_": "test_logger_contents.NeverAgain"}
    complete(tmp_path / "sweep", {**CONFIG["logger"], "other": other})
    assert table(tmp_path / "sweep" / "0")[-1]["status"] == "failed" and not caplog.text


class NeverAgain:
    def __init__(self):
        raise AssertionError("it was begun again")


class Kept(loggers.Logger):
    """A logger of a user's."""

    name, version = "kept", ""

    def __init__(self, save_dir, project=None):
        super().__init__()
        self.folder, self.project, self.told = save_dir, project, []

    def log_metrics(self, metrics, step=None):
        self.told.append((metrics, step))

    def log_hyperparams(self, params):
        self.told.append(params)

    def finalize(self, status):
        self.told.append(status)


KEPT = "test_logger_contents.Kept"


def test_a_logger_of_a_users_is_told_the_record_and_its_failure_costs_nothing(tmp_path, caplog):
    tracker = make_tracker({"logger": {"_target_": KEPT, "project": "theirs"}}, tmp_path)
    assert isinstance(tracker, LightningTracker)
    [logger] = tracker.loggers
    assert (logger.folder, logger.project) == (str(tmp_path), "theirs")
    result = run(tmp_path / "0")
    tracker.end(tmp_path / "0", CONFIG, result, "0", is_whole=True)
    params, (metrics, step), status = logger.told
    assert params["kd.temperature"] == 3 and params["tags"] == "one, two" and params["notes"] == "the second try"
    assert metrics["final/test_accuracy"] == 0.9 and step == 20 and status == "success"
    logger.told = None
    tracker.end(tmp_path / "0", CONFIG, result, "0", is_whole=True)
    assert "Kept does not show this (AttributeError" in caplog.text


def test_several_loggers_go_together_each_with_its_own_settings(tmp_path):
    settings = OmegaConf.to_container(
        compose(["logger=[csv,wandb]", "logger.mode=disabled", "logger.project=p"]).logger
    )
    tracker = make_tracker({"logger": {**settings, "kept": {"_target_": KEPT}}}, tmp_path)
    assert isinstance(tracker, SeveralTrackers)
    one, two, three = tracker.trackers
    assert isinstance(one, CsvLogger) and isinstance(two, WandbLogger) and isinstance(three, LightningTracker)
    assert (two.mode, two.project, three.logger.project) == ("disabled", "p", "p")
    assert [type(logger).__name__ for logger in tracker.loggers] == ["CSVLogger", "Kept"]
    told = []
    one.follow = two.follow = lambda *_: lambda epoch, scalars: told.append(epoch)
    tracker.follow(tmp_path, {}, run(tmp_path / "0"), "0")(1, {})
    assert told == [1, 1]
    one.end = two.end = three.end = lambda *given: told.append(given[-1])
    tracker.end(tmp_path, {}, None, "0", False)
    assert told == [1, 1, False, False, False]


def test_a_class_that_is_stated_takes_the_place_of_what_is_chosen_and_a_chosen_file_s_goes_beside_it(tmp_path):
    for chosen in ("wandb", "csv", "[csv,wandb]"):
        cfg = compose([f"logger={chosen}", f"logger._target_={KEPT}", "logger.project=mine"][: 2 + (chosen == "wandb")])
        assert set(each_logger(OmegaConf.to_container(cfg.logger))) == {"logger"}
    (tmp_path / "logger").mkdir()
    (tmp_path / "logger" / "mine.yaml").write_text(f"# Mine.\n_target_: {KEPT}\nproject: mine\n")
    alone = each_logger(OmegaConf.to_container(compose(["logger=mine"], tmp_path).logger))
    assert alone == {"logger": {"_target_": KEPT, "project": "mine"}}
    for chosen in ("[csv,mine]", "[mine,csv]"):
        both = each_logger(OmegaConf.to_container(compose([f"logger={chosen}"], tmp_path).logger))
        assert set(both) == {"logger.csv", "logger"} and both["logger"] == alone["logger"]


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"tags": "one"}, "tags=one: must be a list of words, such as"),
        ({"tags": [{"a": 1}]}, "must be a list of words"),
        ({"notes": ["one"]}, "notes=.'one'.: must be a text"),
        ({"logger": {"csv": {"_target_": "lcomp.tracking.csv_logger.CsvLogger"}, "mode": "online"}},
         "logger.mode=online: none of what is chosen takes it .logger.csv."),
    ],
)  # fmt: skip
def test_what_no_logger_takes_is_refused(config, words, tmp_path):
    with pytest.raises(UserError, match=words):
        make_tracker(config, tmp_path)


def test_tags_notes_and_loggers_define_no_experiment():
    hashes = {
        identity.config_hash(run_config.without(parse(compose(asked)).config, "logger"), "data")
        for asked in ([], ["tags=[a]", "notes=b"], ["logger=[csv,tensorboard]"])
    }
    assert len(hashes) == 1


@pytest.mark.slow
def test_mlflow_has_the_run_once_in_a_database_beside_the_sweep(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "theirs")
    sweep = tmp_path / "multirun" / "sweep"
    chosen = OmegaConf.to_container(compose(["logger=mlflow"]).logger)
    result = run(sweep / "0", accuracy=0.75)
    run(sweep / "1", status="failed", error="killed")
    config = CONFIG | {"logger": chosen}
    made = make_tracker(config, sweep / "0")
    made.end(sweep / "0", config, result, "sweep", is_whole=False)
    assert not (tmp_path / "multirun" / "mlflow.db").exists()
    made.end(sweep / "0", config, result, "sweep", is_whole=True)
    for _ in range(2):
        complete(sweep, chosen)
    with mlflow_logger.quietly():
        client = import_module("mlflow.tracking").MlflowClient(f"sqlite:///{tmp_path / 'multirun' / 'mlflow.db'}")
        experiment = client.get_experiment_by_name("theirs").experiment_id
        seen = {one.data.tags["status"]: one for one in client.search_runs([experiment])}
        assert set(seen) == {"ok", "failed"} and len(client.search_runs([experiment])) == 2
        whole = seen["ok"]
        assert whole.data.params["kd.temperature"] == "3" and whole.data.params["trainer.learning_rate"] == "0.01"
        for name, value in result.metrics.items():
            assert whole.data.metrics[f"final/{name}"] == pytest.approx(value), name
        curve = client.get_metric_history(whole.info.run_id, "train_loss")
        assert [(one.step, one.value, one.timestamp - 10**12) for one in curve] == [(1, 0.5, 1000), (2, 0.25, 2000)]
        assert whole.data.tags["tags"] == "one, two" and whole.data.tags["mlflow.note.content"] == "the second try"
        assert (whole.info.run_name, whole.info.status) == ("kd=logit kd.temperature=3", "FINISHED")
        assert seen["failed"].info.status == "FAILED" and seen["failed"].data.tags["error"] == "killed"
        files = {one.path for one in client.list_artifacts(whole.info.run_id)}
        assert files == {"artifact.onnx", "config.yaml", "result.json"}
    kept = "".join(path.read_text() for path in (tmp_path / "multirun" / "mlartifacts").rglob("config.yaml"))
    assert "sesame" not in kept and "***" in kept


def test_what_mlflow_is_told_has_its_time_and_step(tmp_path):
    found = list(mlflow_logger.measured(run(tmp_path / "0")))
    assert found[2:5] == [("train_loss", 0.5, 10**12 + 1000, 1), ("train_loss", 0.25, 10**12 + 2000, 2),
                          ("val_accuracy", 0.8, 10**12 + 2000, 2)]  # fmt: skip
    assert ("final/test_accuracy", 0.9, 10**12 + 9500, 2) in found
    assert [len(some) for some in mlflow_logger.batches(range(250))] == [100, 100, 50]
