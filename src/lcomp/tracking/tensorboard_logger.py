"""`logger=tensorboard`: curves, and what its HParams tab compares runs by."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lcomp.config.settings import Settings
from lcomp.errors import check_installed, needing
from lcomp.record.result import Result
from lcomp.tracking.failures import without_errors
from lcomp.tracking.run_contents import Hyperparameter, figures, hyperparameters, texts
from lcomp.tracking.tracker import Tracker

if TYPE_CHECKING:
    from pytorch_lightning.loggers import Logger

FOLDER = "tensorboard"  # in the run's
SUFFIX = ".record"  # of the file of events that the record says: written anew each time it is told


class TensorBoardLogger(Tracker):
    """`tensorboard/`: curves while the run learns; at its end its hyperparameters and figures, notes and tags.

    No description of an experiment goes with them: TensorBoard takes the first that it finds for all runs, and runs of
    a sweep have different parameters. Without one it gathers them from the runs.

    Args:
        save_dir: the run's folder.

    Raises:
        UserError: TensorBoard is not installed.
    """

    def __init__(self, save_dir: str):
        check_installed("tensorboard", "logger=tensorboard", "tensorboard")
        self.save_dir = save_dir

    @property
    def loggers(self) -> Sequence[Logger]:
        from pytorch_lightning.loggers import TensorBoardLogger as Lightnings

        return [Lightnings(self.save_dir, name="", version=FOLDER, default_hp_metric=False)]

    def end(self, folder: Path, config: Settings, result: Result, group: str, is_whole: bool) -> None:
        with without_errors(who="logger=tensorboard"):
            with needing("tensorboard", "logger=tensorboard"):
                from tensorboard.compat.proto.event_pb2 import Event
                from tensorboard.summary.writer.event_file_writer import EventFileWriter

            place = folder / FOLDER
            for before in place.glob(f"*{SUFFIX}"):
                before.unlink()
            writer = EventFileWriter(str(place), filename_suffix=SUFFIX)
            for summary in summaries(folder, config, result, group):
                writer.add_event(Event(summary=summary, step=result.steps, wall_time=time.time()))
            writer.close()


def summaries(folder: Path, config: Settings, result: Result, group: str) -> Iterator[Any]:
    """What the record says, as TensorBoard's summaries."""
    with needing("tensorboard", "logger=tensorboard"):
        from tensorboard.plugins.hparams.api_pb2 import STATUS_FAILURE, STATUS_SUCCESS
        from tensorboard.plugins.hparams.metadata import SESSION_END_INFO_TAG, SESSION_START_INFO_TAG

    session = {"group_name": f"{group}/{folder.name}", "start_time_secs": result.started}
    yield of_session(SESSION_START_INFO_TAG, session, hyperparameters(result, config))
    for name, value in figures(result).items():
        yield scalar(name, value)
    for name, text in texts(result, config):
        yield text_summary(name, text)
    status = STATUS_SUCCESS if result.status in ("ok", "pruned") else STATUS_FAILURE
    ended = result.started + result.seconds.get("total", 0.0)
    yield of_session(SESSION_END_INFO_TAG, {"status": status, "end_time_secs": ended})


def of_session(tag: str, values: Mapping[str, Any], params: Mapping[str, Hyperparameter] | None = None) -> Any:
    """How a run begins, with its hyperparameters, or how it ends: what the HParams tab reads."""
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import metadata
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    data = HParamsPluginData()
    info = data.session_end_info if params is None else data.session_start_info
    for name, value in values.items():
        setattr(info, name, value)
    for name, param in (params or {}).items():
        kind = "bool" if isinstance(param, bool) else "string" if isinstance(param, str) else "number"
        setattr(info.hparams[name], f"{kind}_value", param)
    described = metadata.create_summary_metadata(data)
    return Summary(value=[Summary.Value(tag=tag, metadata=described, tensor=metadata.NULL_TENSOR)])


def scalar(name: str, value: float) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary

    return Summary(value=[Summary.Value(tag=name, simple_value=value)])


def text_summary(name: str, text: str) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.text.metadata import create_summary_metadata
    from tensorboard.util.tensor_util import make_tensor_proto

    described = create_summary_metadata(display_name="", description="")
    return Summary(value=[Summary.Value(tag=name, metadata=described, tensor=make_tensor_proto([text.encode()]))])
