"""The command line; imports nothing heavy until a run begins."""

from __future__ import annotations

import sys
from pathlib import Path

import hydra
from omegaconf import DictConfig

from lcomp import config


@hydra.main(version_base="1.3", config_path=str(config.folder().resolve()), config_name="config")
def task(cfg: DictConfig) -> float:
    from hydra.core.hydra_config import HydraConfig

    from lcomp.report.line import line
    from lcomp.run import run

    settings = HydraConfig.get()
    result = run(cfg, Path(settings.runtime.output_dir), list(settings.overrides.task))
    print(line(result), flush=True)
    return result.metrics["val_accuracy"]


def main() -> None:
    """Runs or sweeps; `python -m lcomp --help` shows the choices."""
    sys.argv[1:], said = config.expand(sys.argv[1:])
    for choice in said:
        print(choice, file=sys.stderr)
    task()


if __name__ == "__main__":
    main()
