"""The end of a sweep: its table, its failures. Imports nothing heavy: Hydra makes it before any run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from lcomp.report.line import line
from lcomp.result import FILE_NAME, Result, read

failures: list[str] = []  # a line for each failed run of this process's sweep, for the exit code


class Summary(Callback):
    """A Hydra callback that prints the sweep's table and its failures."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        folder = Path(config.hydra.sweep.dir)
        summarize(folder)


def tell(result: Result) -> None:
    """Prints a finished run's line; a failed one counts for the exit code."""
    print(line(result), flush=True)
    if result.status not in ("ok", "pruned"):
        failures.append(line(result))


def summarize(folder: Path) -> None:
    """Prints the table of the records under `folder`, then a line for each run that failed."""
    from lcomp.report.table import show

    paths = sorted(folder.glob(f"*/{FILE_NAME}"), key=lambda p: (len(p.parent.name), p.parent.name))
    results = [read(path) for path in paths]
    show(results, folder)
    failed = [
        f"{path.parent.name}: {' '.join(result.overrides)}: {result.error}"
        for path, result in zip(paths, results, strict=True)
        if result.status not in ("ok", "pruned")
    ]
    failures[:] = failed or failures  # a run that could not even write its record has told its own
    if failures:
        print(f"\n{len(failures)} of {len(results)} runs failed:", file=sys.stderr)
        for failure in failures:
            print(f"  {failure}", file=sys.stderr)
