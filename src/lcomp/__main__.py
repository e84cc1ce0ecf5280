"""The command line; imports nothing heavy until a run begins."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from lcomp import config, sweep
from lcomp.errors import UserError
from lcomp.explain import explain

log = logging.getLogger("lcomp")


@hydra.main(version_base="1.3", config_path=str(config.folder().resolve()), config_name="config")
def task(cfg: DictConfig) -> float:
    """One run; its objective for a sweeper is the artifact's validation accuracy, NaN when it failed."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from lcomp.report.line import line
    from lcomp.run import run

    job = HydraConfig.get()
    folder = Path(job.runtime.output_dir)
    overrides = [override.replace("\\:", ":") for override in job.overrides.task]  # Hydra escapes colons in sweeps
    result = run(cfg, folder, overrides, config.choices(job))
    print(line(result), flush=True)
    log.debug("%s", line(result))
    if result.status != "ok":
        sweep.failures.append(line(result))
        return float("nan")
    if job.mode == RunMode.RUN:
        print(f"Record and artifact: {folder}")
    return result.metrics["val_accuracy"]


def main() -> None:
    """Runs or sweeps; `python -m lcomp --help` shows the choices."""
    sys.path.insert(0, os.getcwd())  # a class of the user's own in this folder, also for the console script
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors arrive here as exceptions, not as a printed exit
    try:
        sys.argv[1:], said = config.expand(sys.argv[1:])
        for choice in said:
            print(choice, file=sys.stderr)
        task()
    except (UserError, HydraException, OmegaConfBaseException, ValueError) as error:
        print(f"lcomp: {explain(error, sys.argv[1:])}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("lcomp: interrupted", file=sys.stderr)
        sys.exit(130)
    sys.exit(1 if sweep.failures else 0)


if __name__ == "__main__":
    main()
