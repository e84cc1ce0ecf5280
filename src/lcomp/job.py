"""What Hydra calls for each point of a command line; imports nothing heavy until it does."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from lcomp import config, gpus, sweep
from lcomp.interruption import of_machine, telling_exit
from lcomp.redact import redacted
from lcomp.report.line import line
from lcomp.result import Result

log = logging.getLogger("lcomp")
NOTE = ".hydra"  # in a run's folder, wherever `hydra.output_subdir` has Hydra write
report: Callable[[int, float], None] | None = None  # a search's, of the trial that this process is carrying out


def job(cfg: DictConfig) -> float:
    """One run; what it returns to a sweeper is the artifact's validation accuracy, NaN when it has none.

    Raises:
        Interrupted: the machine cannot go on, so that other runs need not begin.
    """
    try:
        return carry_out(cfg)
    except Exception as error:  # of imports, of Hydra's files: outside what the run records
        if machines := of_machine(error):
            raise machines from error
        raise


def carry_out(cfg: DictConfig) -> float:
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from lcomp.run import run

    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    leave_note(cfg, config.overrides(hydra), folder, hydra.output_subdir)
    alone = hydra.mode == RunMode.RUN
    if not alone:
        cfg.progress = False  # the sweep shows its own
        if cfg.device == "gpu":
            gpus.take(folder.parent)
    overrides = config.overrides(hydra)

    def close(cause: str) -> None:
        print(f"lcomp: {cause}", file=sys.stderr, flush=True)
        Result(overrides=overrides, error=cause).write(folder)

    with telling_exit(close) if alone else nullcontext():  # a sweep says it of its own
        result = run(
            cfg,
            folder,
            overrides,
            config.choices(hydra),
            timed=alone,  # a sweep leaves latencies to its end
            report=report,
            equals=None if alone or cfg.reuse is not True else folder.parents[1],
            group=None if alone else folder.parent.name,
        )
    log.debug("%s", line(result))
    if alone:
        sweep.tell(result)
        if result.status == "ok":
            print(f"Record and artifact: {folder}")
    return result.metrics["val_accuracy"] if result.status == "ok" else float("nan")


def leave_note(cfg: DictConfig, overrides: list[str], folder: Path, written: str | None) -> None:
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
