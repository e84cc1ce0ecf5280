"""What Hydra calls for each point of a command line; imports nothing heavy until it does."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lcomp.cli import resuming
from lcomp.config import quoting, run_config
from lcomp.record.interruption import Interrupted, announcing_exit, raise_machine_error
from lcomp.record.listener import listener
from lcomp.record.redaction import redacted
from lcomp.record.result import Result
from lcomp.record.summary_line import summary_line
from lcomp.training import devices

log = logging.getLogger("lcomp")
NOTE = ".hydra"  # in a run's folder, wherever `hydra.output_subdir` has Hydra write


def job(
    cfg: DictConfig,
    report: Callable[[int, float], None] | None = None,
    pause_others: AbstractContextManager[None] | None = None,
    stacked: bool = False,
) -> float:
    """One run; what it returns to a sweeper is the artifact's validation metric, NaN when it has none.

    Args:
        report: a search's, of the trial that the run is.
        pause_others: a search's that looks at latencies: within it nothing else of the search is at work.
        stacked: the run's network has learned at once with others.

    Raises:
        Interrupted: the machine cannot go on, so that other runs need not begin.
    """
    try:
        return execute(cfg, report, pause_others, stacked)
    except Exception as error:  # of imports, of Hydra's files: outside what the run records
        raise_machine_error(error)
        raise


def execute(
    cfg: DictConfig,
    report: Callable[[int, float], None] | None,
    pause_others: AbstractContextManager[None] | None,
    stacked: bool,
) -> float:
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from lcomp.run import run

    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    write_note(cfg, run_config.overrides(hydra), folder, hydra.output_subdir)
    alone = hydra.mode == RunMode.RUN
    if alone:
        listener.tell(folder=str(folder.absolute()))
    else:
        cfg.progress = False  # the sweep shows its own
        if cfg.device == "gpu":
            devices.take(folder.parent)
    overrides = run_config.overrides(hydra)

    def close(cause: str) -> None:
        print(f"lcomp: {cause}", file=sys.stderr, flush=True)
        Result(overrides=overrides, error=cause).write(folder)

    with announcing_exit(close) if alone else nullcontext(), going_on(hydra, folder) if alone else nullcontext():
        result = run(
            cfg,
            folder,
            overrides,
            run_config.choices(hydra),
            timed=alone or pause_others is not None,  # a sweep leaves latencies to its end
            report=report,
            equals=None if alone or cfg.reuse is not True else folder.parents[1],
            group=None if alone else folder.parent.name,
            alone=pause_others,
            stacked=stacked,
        )
    log.debug("%s", summary_line(result))
    if alone:
        print(summary_line(result), flush=True)
        if result.status == "ok":
            print(f"Record and artifact: {folder}")
    return result.metrics[result.chosen_by.validation] if result.status == "ok" else float("nan")


@contextmanager
def going_on(hydra: Any, folder: Path) -> Iterator[None]:
    """Says, where a single run is interrupted, what goes on with it; a sweep says it of its own."""
    try:
        yield
    except (KeyboardInterrupt, Interrupted):
        asked = [*run_config.overrides(hydra), *quoting.search_paths(hydra)]
        again = resuming.resume_command(asked, folder, quoting.recorded_search_flags(hydra))
        print(f"\nTo go on: {again}", file=sys.stderr, flush=True)
        raise


def write_note(cfg: DictConfig, overrides: list[str], folder: Path, written: str | None) -> None:
    """Notes in `folder` what the run was composed to, for what comes after it; no secrets, there or where Hydra wrote.

    Args:
        written: `hydra.output_subdir`, wherever that is.
    """
    if written is not None:
        hide_secrets(folder / written)
    note = folder / NOTE
    note.mkdir(exist_ok=True)
    OmegaConf.save(redacted(OmegaConf.to_container(cfg, resolve=False)), note / "config.yaml")
    OmegaConf.save(redacted(overrides), note / "overrides.yaml")


def hide_secrets(folder: Path) -> None:
    """Takes secrets out of what Hydra wrote of the run; `${oc.env:NAME}` stands there as it is, and works again."""
    for path in folder.glob("*.yaml"):
        written = OmegaConf.to_container(OmegaConf.load(path))
        hidden = redacted(written)
        if hidden != written:
            OmegaConf.save(hidden, path)
