"""What a run, a sweep or a search has left, as objects: read from the records in its folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, overload

from lcomp.errors import UserError
from lcomp.record import run_folders
from lcomp.record.limits import Refused
from lcomp.record.plain import PlainValue
from lcomp.record.result import ARTIFACT, FILE_NAME, Result, read_result
from lcomp.record.run_folders import MANIFEST, RecordedRun
from lcomp.record.summary_line import summary_line

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, repr=False)
class Run:
    """A run: its folder and its record (docs/record.md has every key).

    Attributes:
        folder: where artifact, checkpoint, predictions and `result.json` lie.
        result: the whole record.
    """

    folder: Path
    result: Result

    @property
    def status(self) -> str:
        """`ok`, `pruned` (a search gave it up), `nan` or `failed`."""
        return self.result.status

    @property
    def is_ok(self) -> bool:
        return self.result.status == "ok"

    @property
    def error(self) -> str | None:
        """Why it is not `ok`."""
        return self.result.error

    @property
    def metrics(self) -> Mapping[str, float]:
        """The artifact's figures: accuracies are shares from 0 to 1, sizes bytes, latencies microseconds an example."""
        return self.result.known.metrics

    @property
    def baseline(self) -> Mapping[str, float]:
        """The same figures of the baseline, measured beside it."""
        return self.result.known.baseline

    @property
    def params(self) -> Mapping[str, PlainValue]:
        """The techniques' parameters, by their keys: `{"prune.sparsity": 0.9, ...}`."""
        return self.result.params

    @property
    def choices(self) -> Mapping[str, str | list[str] | None]:
        """Which choice of each group: `{"quant": "qat", ...}`."""
        return self.result.choices

    @property
    def overrides(self) -> Sequence[str]:
        """What was asked for, in the command line's words."""
        return self.result.overrides

    @property
    def config_hash(self) -> str | None:
        """What is equal in runs of one experiment, whoever started them."""
        return self.result.config_hash

    @property
    def artifact(self) -> Path:
        """The exported network, an ONNX file."""
        return self.folder / ARTIFACT

    def __repr__(self) -> str:
        return f"<Run {self.folder}: {summary_line(self.result)}>"


class RunFailed(UserError):
    """A single run that came to no result.

    Attributes:
        run: the run, with its record.
    """

    def __init__(self, run: Run):
        super().__init__(f"{run.error} (its record: {run.folder / FILE_NAME})")
        self.run = run


class Sweep(Sequence[Run]):
    """The runs of a sweep, in the order of their folders; of a point that was tried again, the last try.

    Failed runs are among them: `sweep.failed`.

    Args:
        folder: the sweep's.

    Raises:
        UserError: no sweep is there.
    """

    def __init__(self, folder: Path | str):
        self.folder = Path(folder)
        if not (self.folder / MANIFEST).is_file():
            raise UserError(f"{self.folder}: no sweep there ({MANIFEST} is missing); name the folder of a sweep")
        self.runs = [Run(*one) for one in run_folders.latest_by_point(run_folders.recorded_runs(self.folder))]

    @overload
    def __getitem__(self, index: int) -> Run: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Run]: ...
    def __getitem__(self, index: int | slice) -> Run | Sequence[Run]:
        return self.runs[index]

    def __len__(self) -> int:
        return len(self.runs)

    def __iter__(self) -> Iterator[Run]:
        return iter(self.runs)

    @property
    def failed(self) -> list[Run]:
        """Those that came to no result, except those that a search gave up."""
        return [run for run in self.runs if run.status not in ("ok", "pruned")]

    def best(self, metric: str | None = None, lowest: bool | None = None) -> Run:
        """The finished run with the best figure.

        Args:
            metric: a figure of the records such as `gzip_bytes`; None is the task's own on validation examples.
            lowest: whether the lowest is best; None: as the task says of its own metric, else the lowest.

        Raises:
            UserError: no finished run has the figure.
        """
        finished = [run for run in self.runs if run.is_ok]
        own = finished[0].result.chosen_by if finished else None
        name = metric or (own.validation if own else "")
        having = [run for run in finished if name in run.metrics]
        if not having or own is None:
            known = sorted({key for run in finished for key in run.metrics})
            raise UserError(f"{name or 'best'}: no finished run in {self.folder} has it; they have {', '.join(known)}")
        if lowest is None:
            lowest = not own.higher_is_better if name in (own.validation, own.test) else True
        return (min if lowest else max)(having, key=lambda run: run.metrics[name])

    def to_pandas(self) -> pandas.DataFrame:
        """A row for each run, as in `results.csv`: `status`, `choices.*`, `params.*`, `metrics.*` (the artifact's),
        `baseline.*`, `seconds.*`, hashes and the command; the index is the run's folder."""
        import pandas

        from lcomp.report.runs import ReportRun
        from lcomp.report.text import csv_row

        rows = [
            csv_row(ReportRun(run.folder, run.result.known, "", self.folder), self.folder)
            for run in sorted(self.runs, key=lambda run: not run.is_ok)  # whose columns come first
        ]
        frame = pandas.DataFrame(rows)
        return frame.set_index("run").reindex([run.folder.name for run in self.runs]) if rows else frame

    def _repr_html_(self) -> str:
        return str(self.to_pandas().to_html(max_rows=30))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.folder}: {len(self.runs)} runs, {len(self.failed)} failed>"


class Search(Sweep):
    """The trials of a search.

    Attributes:
        front: the best trials' runs: those that no other beats in every objective; of one objective, the best alone.
            Empty where no trial keeps the constraints.
    """

    def __init__(self, folder: Path | str, best: Sequence[int] = ()):
        super().__init__(folder)
        numbered = {run.folder.name: run for run in self.runs}
        self.front = [numbered[str(number)] for number in best if str(number) in numbered]


def single_run(folder: Path) -> Run:
    """The run whose record lies in a folder.

    Raises:
        RunFailed: it failed.
        UserError: there is no record that can be read.
    """
    try:
        run = Run(*RecordedRun(folder, read_result(folder / FILE_NAME)))
    except (OSError, Refused) as error:
        raise UserError(f"{folder}: no record of a run can be read there ({error})") from error
    if not run.is_ok:
        raise RunFailed(run)
    return run
