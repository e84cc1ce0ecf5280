"""What loggers show of a sweep, brought up to its records when it has ended."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hydra.errors import HydraException
from omegaconf import open_dict
from omegaconf.errors import OmegaConfBaseException

from lcomp.config import run_config
from lcomp.config.instantiation import build
from lcomp.config.settings import Settings, section
from lcomp.config.typed_command import TypedCommand
from lcomp.errors import UserError
from lcomp.record.limits import Refused
from lcomp.record.run_folders import RecordedRun, recorded_runs
from lcomp.tracking.failures import without_errors
from lcomp.tracking.logger_settings import each_logger

OWN = "lcomp.tracking."  # loggers that can be told twice; another's run has ended with its own


def complete(folder: Path, logger: Settings | None, typed: TypedCommand | None = None) -> None:
    """Tells lcomp's loggers of every run of a sweep, its latencies now measured, of runs too that were lost.

    Args:
        logger: the sweep's choice, for a run that was lost before it knew its own.
        typed: the sweep's command, which says how each of its runs is composed.
    """
    everywhere = bool(own_loggers(logger or {}))
    for run in recorded_runs(folder):
        if not everywhere and not any(
            one.lstrip("+").startswith(("logger", "experiment")) for one in run.result.overrides
        ):
            continue  # without composing it
        with without_errors(who="a logger"):
            config = composed(run, logger, typed)
            for key, settings in own_loggers(section(config, "logger")).items():
                made = build(settings, key, save_dir=str(run.folder))
                made.end(run.folder, config, run.result, folder.name, is_whole=True)


def own_loggers(settings: Settings) -> Mapping[str, Settings]:
    """Those of lcomp's; none where the settings cannot be read, which the runs have said."""
    try:
        chosen = each_logger(settings)
    except UserError:
        return {}
    return {key: own for key, own in chosen.items() if str(own.get("_target_")).startswith(OWN)}


def composed(run: RecordedRun, logger: Settings | None, typed: TypedCommand | None) -> Settings:
    """What the command composes the run to; where it has no such run, the sweep's logger alone."""
    try:
        if typed is not None:
            cfg = typed.configuration(run.result, run.folder)
            with open_dict(cfg):
                del cfg["hydra"]
            return run_config.resolved_where_possible(cfg)
    except (Refused, OmegaConfBaseException, HydraException):
        pass
    return {"logger": dict(logger or {})}
