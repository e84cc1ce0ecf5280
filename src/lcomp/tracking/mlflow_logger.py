"""`logger=mlflow`: a run of MLflow's for each run, written when its record is complete."""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock

from lcomp.config.settings import Settings
from lcomp.errors import check_installed, needing
from lcomp.record import folders
from lcomp.record.files import write_atomically
from lcomp.record.redaction import redacted
from lcomp.record.result import FILE_NAME, Result
from lcomp.record.untrusted import read_json
from lcomp.tracking.failures import without_errors
from lcomp.tracking.run_contents import display_name, figures, hyperparameters, notes, texts
from lcomp.tracking.tracker import Tracker, is_single

Item = TypeVar("Item")
NOTE = "mlflow.json"  # in the run's folder: which run of MLflow's is its own
DATABASE, FILES = "mlflow.db", "mlartifacts"  # beside the folders of runs and sweeps
VALUE_LENGTH = 6000  # MLflow takes no longer value of a parameter
BATCH = 100  # MLflow takes no more parameters at once


class MlflowLogger(Tracker):
    """A run of MLflow's, with hyperparameters, curves, figures, notes, tags, the record and the network's file.

    Nobody watches while a run learns: it is written whole when its record is complete, in a sweep at its end, after the
    latencies, by one process.

    Args:
        tracking_uri: of MLflow's store; None: `MLFLOW_TRACKING_URI`, else a database beside the runs' folders.
        experiment: of MLflow's; None: `MLFLOW_EXPERIMENT_NAME`, else lcomp.
        artifacts: whether the network's file goes with the record.

    Raises:
        UserError: MLflow is not installed.
    """

    def __init__(self, tracking_uri: str | None = None, experiment: str | None = None, artifacts: bool = True):
        check_installed("mlflow", "logger=mlflow", "mlflow")
        self.tracking_uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or None
        self.experiment = experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME") or "lcomp"
        self.artifacts = artifacts

    def end(self, folder: Path, config: Settings, result: Result, group: str, is_whole: bool) -> None:
        before = note(folder)
        if not is_whole or before.get("is_final"):
            return
        beside = (folder if is_single(folder, group) else folder.parent).absolute().parent
        with without_errors(who="logger=mlflow"), quietly(), FileLock(beside / f"{DATABASE}.lock"):
            self.write(beside, folder, config, result, group)
            if before:  # of a try that was interrupted
                self.client(beside).delete_run(before["run"])

    def client(self, beside: Path) -> Any:
        """MLflow's, of the store; `beside` is where it lies if nobody says."""
        with needing("mlflow", "logger=mlflow"):
            from mlflow.tracking import MlflowClient

        return MlflowClient(tracking_uri=self.tracking_uri or f"sqlite:///{beside / DATABASE}")

    def write(self, beside: Path, folder: Path, config: Settings, result: Result, group: str) -> None:
        """Writes the whole run and notes which one it is; nothing of it is left where that fails."""
        client = self.client(beside)
        ended = result.started + result.seconds.get("total", 0.0)
        run = client.create_run(
            self.experiment_id(client, beside),
            start_time=milliseconds(result.started),
            run_name=display_name(result),
            tags={"group": group, **dict(texts(result, config))},
        )
        try:
            self.fill(client, run.info.run_id, folder, config, result)
            status = "FINISHED" if result.status in ("ok", "pruned") else "FAILED"
            client.set_terminated(run.info.run_id, status=status, end_time=milliseconds(ended))
        except BaseException:
            client.delete_run(run.info.run_id)
            raise
        kept = {"run": run.info.run_id, "is_final": result.is_final}
        write_atomically(folder / NOTE, json.dumps(kept).encode())

    def experiment_id(self, client: Any, beside: Path) -> str:
        """The experiment's, which is made where there is none."""
        found = client.get_experiment_by_name(self.experiment)
        if found is not None:
            return str(found.experiment_id)
        place = None if self.tracking_uri else (beside / FILES).as_uri()
        return str(client.create_experiment(self.experiment, artifact_location=place))

    def fill(self, client: Any, run: str, folder: Path, config: Settings, result: Result) -> None:
        with needing("mlflow", "logger=mlflow"):
            from mlflow.entities import Metric, Param

        params = [Param(key, str(value)[:VALUE_LENGTH]) for key, value in hyperparameters(result, config).items()]
        metrics = [Metric(name, value, when, step) for name, value, when, step in measured(result)]
        for some_params in batches(params):
            client.log_batch(run, params=some_params)
        for some_metrics in batches(metrics):
            client.log_batch(run, metrics=some_metrics)
        if said := notes(config):
            client.set_tag(run, "mlflow.note.content", str(redacted(said)))  # which MLflow shows as the description
        client.log_dict(run, redacted(dict(config)), "config.yaml")
        network = folder / str(result.artifact.get("path"))
        files = [folder / FILE_NAME]
        if self.artifacts and network.is_file():
            files.append(folders.artifact_file(folder, result.artifact))
        for file in files:
            client.log_artifact(run, str(file))


def measured(result: Result) -> Iterator[tuple[str, float, int, int]]:
    """Name, value, milliseconds and step of each figure: those of epochs, from 1, then the record's."""
    seconds = result.epochs.get("seconds", [])
    for name, values in result.epochs.items():
        for epoch, (value, passed) in enumerate(zip(values, seconds, strict=False), 1):
            if value is not None:
                yield name, value, milliseconds(result.started + (passed or 0.0)), epoch
    ended = milliseconds(result.started + result.seconds.get("total", 0.0))
    for name, value in figures(result).items():
        yield name, value, ended, len(seconds)


def milliseconds(seconds: float) -> int:
    return round(1000 * seconds)


def batches(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    for start in range(0, len(items), BATCH):
        yield items[start : start + BATCH]


def note(folder: Path) -> dict[str, Any]:
    """What was noted of the run of MLflow's of the run in `folder`; nothing where it has none."""
    try:
        found = read_json(folder / NOTE)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and isinstance(found.get("run"), str) else {}


@contextmanager
def quietly() -> Iterator[None]:
    """While it lasts, MLflow tells nobody of its use, and prints neither how it lays out its database nor warnings of
    the packages that it needs."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
