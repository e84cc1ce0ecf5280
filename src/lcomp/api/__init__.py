"""lcomp from Python: what the command line does, called from scripts and notebooks (docs/api.md).

Each call carries out the command line that it stands for, in a process of its own: the same words, records, folders and
errors, whatever runs here beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lcomp.api import process
from lcomp.api.runs import Run, RunFailed, Search, Sweep, single_run
from lcomp.api.screen import Progress, Screen
from lcomp.cli.words import Overrides, words_of
from lcomp.report.packages import check_packages

if TYPE_CHECKING:
    from torch import nn

    from lcomp.packed.network import Network
    from lcomp.tasks import Task

__all__ = ["Run", "RunFailed", "Search", "Sweep", "export", "load", "report", "results", "run", "search", "sweep"]


def run(
    overrides: Overrides = None, *, config_dir: Path | str | None = None, progress: Progress = "auto", **keywords: Any
) -> Run:
    """One run, as `python -m lcomp KEY=VALUE ...`: `lcomp.run({"prune.sparsity": 0.9}, quant="qat")`.

    Args:
        overrides: keys and values, or a list of the command line's words.
        config_dir: a folder of your own choices, as `--config-dir`.
        progress: True, False (print nothing), or "auto": lines, and a bar in a terminal or a notebook.
        keywords: further keys, those without a dot.

    Raises:
        UserError: what was asked for cannot be.
        RunFailed: the run came to no result; `error.run` has its record.
        KeyboardInterrupt: it was interrupted; `resume="last"` goes on with it.
    """
    words = words_of(overrides, keywords, swept=False)
    return single_run(carried_out([*flags(config_dir), *words], progress)[0])


def sweep(
    overrides: Overrides = None, *, config_dir: Path | str | None = None, progress: Progress = "auto", **keywords: Any
) -> Sweep:
    """Every combination of the listed values, as `python -m lcomp -m`: `lcomp.sweep({"kd.temperature": [1, 3, 6, 8]})`.

    A list, a tuple or a range has the values of a sweep; a value that is itself a list stands in a list of its own.
    Runs that fail are among the results (`sweep.failed`).

    Args: as of `run`.

    Raises:
        UserError: what was asked for cannot be.
        KeyboardInterrupt: it was interrupted; the same call with `resume="last"` goes on with it.
    """
    words = words_of(overrides, keywords, swept=True)
    return Sweep(carried_out(["-m", *flags(config_dir), *words], progress)[0])


def search(
    overrides: Overrides = None, *, config_dir: Path | str | None = None, progress: Progress = "auto", **keywords: Any
) -> Search:
    """A search with Optuna, as `python -m lcomp -m sweeper=optuna`:
    `lcomp.search({"prune.sparsity": "interval(0.5,0.95)", "quant": ["none", "qat"]}, n_trials=20)`.

    Texts are the command line's: `interval(a,b)`, `tag(log,interval(a,b))`, `int(interval(a,b))`; lists are choices.
    Its settings are words too: `n_trials`, `objective`, `direction`, `sampler`, `{"constraint.val_accuracy": 0.98}`.

    Args: as of `run`.

    Raises:
        UserError: what was asked for cannot be, or too many trials failed.
        KeyboardInterrupt: it was interrupted; the same call with `resume="last"` goes on with it.
    """
    words = words_of(overrides, keywords, swept=True)
    if not any(one.startswith(("sweeper=", "hparams_search=", "hydra/sweeper=")) for one in words):
        words.insert(0, "sweeper=optuna")
    folder, best = carried_out(["-m", *flags(config_dir), *words], progress)
    return Search(folder, best)


def results(folder: Path | str) -> Sweep:
    """The runs of a sweep or search that ended, or goes on, wherever it was started.

    Raises:
        UserError: no sweep is there.
    """
    return Sweep(folder)


def report(folder: Path | str, *further: Path | str, out: Path | str | None = None) -> Path:
    """Writes `report.html`, `report.md`, `results.csv` and `results.parquet` of the records under folders; returns the
    path of the first.

    Args:
        folder: a sweep's, or one that holds several, such as `multirun`.
        further: more of them, in the same report.
        out: where the files go; None is the first folder.

    Raises:
        UserError: a folder without records, or the extra `report` is not installed.
    """
    from lcomp.report.writing import check_records, read_records, write_report_files

    check_packages("lcomp.report")
    folders = [Path(one) for one in (folder, *further)]
    check_records(folders)
    return write_report_files(read_records(folders), Path(out or folder))


def load(path: Path | str) -> Network:
    """The network in a packed file (`.lcomp`): inputs (N, C, H, W) in [0, 1] to logits (N, classes).

    Raises:
        UserError: there is no such file, or it is no packed network, or damaged.
    """
    from lcomp import packed

    return packed.load(path)


def export(network: nn.Module, path: Path | str, task: Task, *, version: int = 1) -> Path:
    """Writes a network to a file: `.onnx`, or `.lcomp`, which is packed (docs/format.md); returns the path.

    Args:
        network: finalized where techniques have trained it (`lcomp.techniques.technique.finalize`).
        path: the file, written whole or not at all, over what is there.
        task: what its inputs are, such as `lcomp.tasks.ImageClassification(10, (1, 28, 28))`.
        version: of the packed format, 1 or 2.

    Raises:
        UserError: another suffix, or a network that cannot be exported or packed.
    """
    from lcomp import packed

    return packed.export(network, path, task, version)


def carried_out(arguments: Sequence[str], progress: Progress) -> tuple[Path, list[int]]:
    """The folder of a run or sweep, once it has ended, and of a search the numbers of its best runs."""
    outcome = process.carry_out(arguments, Screen(progress))
    outcome.check()
    best = outcome.events.get("best")
    return Path(str(outcome.events["folder"])), [n for n in best if isinstance(n, int)] if isinstance(
        best, list
    ) else []


def flags(config_dir: Path | str | None) -> list[str]:
    return [] if config_dir is None else ["--config-dir", str(Path(config_dir).absolute())]
