"""Every choice of kd x prune x quant once, on mnist5k: does it run, and what does the artifact say?

    python benchmarks/matrix.py [FOLDER]      # a sweep of its own; with FOLDER, the tables of one that has run

A run takes 100 steps of 32 images from the cached baseline, kd=data_free, whose images are drawn, 10 of 256: enough to
show that the choices work together, not which is best.
Tables of test accuracy (%) in Markdown, one for each kd; docs/matrix.md holds what it printed.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from lcomp.config import run_config
from lcomp.record.result import FILE_NAME, Result, read_result
from lcomp.report.text_table import TextTable

SETTINGS = ("data=mnist5k", "data.batch_size=32", "trainer.max_epochs=1")
QUIET = ("logger=none", "report=false", "measure.latency_runs=1")
DRAWN, STEPS, STEPS_DRAWN = "data_free", 100, 10


def choices(family: str) -> list[str]:
    """The choices of a family, `none` first."""
    found = {path.stem for path in (run_config.folder() / family).glob("*.yaml") if not path.stem.startswith("_")}
    return ["none", *sorted(found - {"none"})]


def run(folder: Path) -> int:
    """Sweeps over all choices, in two sweeps under `folder`; the exit code, not 0 where a run failed."""
    drawn = {"kd": [DRAWN]}, STEPS_DRAWN
    data = {"kd": [kd for kd in choices("kd") if kd != DRAWN]}, STEPS
    codes = [sweep(folder / name, *part) for name, part in (("data", data), ("drawn", drawn))]
    return int(any(codes))


def sweep(folder: Path, chosen: Mapping[str, Sequence[str]], steps: int) -> int:
    """Sweeps over all choices of every family that is not in `chosen`; returns the exit code."""
    matrix = [f"{family}={','.join(chosen.get(family, choices(family)))}" for family in run_config.FAMILIES]
    own = (f"data.epoch_examples={32 * steps}", f"hydra.sweep.dir={folder}")
    return subprocess.run([sys.executable, "-m", "lcomp", "-m", *matrix, *SETTINGS, *QUIET, *own]).returncode


def sheets(results: Sequence[Result]) -> list[TextTable]:
    """A table for each choice of kd, prune down and quant across."""
    found = {tuple(result.choices[family] for family in run_config.FAMILIES): result for result in results}

    def cell(result: Result | None) -> str:
        if result is None:
            return "not run"
        return f"{100 * result.metrics['test_accuracy']:.1f}" if result.status == "ok" else result.status

    return [
        TextTable(
            f"kd={kd}",
            ("prune", *choices("quant")),
            [
                [prune, *(cell(found.get((kd, prune, quant))) for quant in choices("quant"))]
                for prune in choices("prune")
            ],
        )
        for kd in choices("kd")
    ]


def main() -> int:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp(prefix="matrix-"))
    code = run(folder) if len(sys.argv) == 1 else 0
    results = [read_result(path) for path in folder.rglob(FILE_NAME)]
    for sheet in sheets(results):
        print(sheet.text("markdown"))
    failed = [result for result in results if result.status != "ok"]
    print(f"{len(results)} combinations, {len(failed)} of them not finished")
    for error in sorted({str(result.error) for result in failed}):
        print(f"- {error}")
    return code


if __name__ == "__main__":
    sys.exit(main())
