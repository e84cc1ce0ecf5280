"""What a sweep is doing, seen from the records in its folder: whoever runs them, here or on another machine."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Literal

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from lcomp.record.listener import listener
from lcomp.record.result import FILE_NAME, Result, read_result
from lcomp.record.run_folders import numbered_folders, recorded_runs
from lcomp.record.summary_line import summary_line

Objective = tuple[str, bool]  # a metric, and whether more of it is better
INTERVAL = 0.3  # seconds between two looks at the folder


class ProgressView:
    """Tells of each run of a sweep as it ends, and shows how far the sweep is.

    On a terminal one live line below: finished, running, failed and pruned runs, the best so far, the time left. Else a
    plain line per run.

    Args:
        folder: the sweep's; runs that have a record already when the view begins are counted, not told.
        total: how many runs the sweep has in all, those counted included.
        done: how many of these are finished when the view begins.
        shown: true, false or `auto`: a live line when standard error is a terminal.
        objective: what makes a run the best; `task` is its own metric, None leaves it out.
    """

    def __init__(
        self,
        folder: Path,
        total: int,
        done: int,
        shown: bool | str,
        objective: Objective | Literal["task"] | None,
    ):
        self.folder, self.total, self.done, self.objective = folder, total, done, objective
        before = {run.folder.name: run.result for run in recorded_runs(folder)}
        self.ended = set(before)
        self.abandoned = {path.name for path in numbered_folders(folder)} - self.ended
        self.counts: Counter[str] = Counter()
        self.running: set[str] = set()
        self.best: tuple[float, str] | None = None
        self.judged: Objective = ("", True)  # what `best` is by
        self.datasets: set[str] = set()  # of finished runs: figures of two do not compare, so there is no best of them
        for name, result in before.items():  # of equals, the first
            self.update_best(name, result)
        self.start = time.monotonic()
        console = Console(stderr=True)
        lines = sys.stdout.isatty()  # elsewhere they go where they were sent
        self.bar = Progress(
            BarColumn(20),
            TextColumn("{task.description}", markup=False),
            console=console,
            disable=not (shown is True or (shown == "auto" and console.is_terminal)),
            redirect_stdout=lines,
        )
        self.task: TaskID = self.bar.add_task(self.text(), total=max(1, total), completed=done)
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)

    def __enter__(self) -> ProgressView:
        self.bar.start()
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stopped.set()
        self.thread.join()
        self.poll()
        self.bar.stop()

    def watch(self) -> None:
        while not self.stopped.wait(INTERVAL):
            self.poll()

    def poll(self) -> None:
        """Tells of the runs that ended since the last look."""
        names = {path.name for path in numbered_folders(self.folder)} - self.ended - self.abandoned
        ended = [name for name in sorted(names, key=int) if (self.folder / name / FILE_NAME).exists()]
        for name in ended:
            result = read_result(self.folder / name / FILE_NAME)
            self.ended.add(name)
            self.counts[result.status] += 1
            self.update_best(name, result)
            print(f"{self.done + self.counts.total()}/{self.total} {summary_line(result)}", flush=True)
        self.running = names - set(ended)
        completed, text = self.done + self.counts.total(), self.text()
        self.bar.update(self.task, description=text, completed=completed)
        listener.tell_progress(completed, self.total, text)

    def update_best(self, name: str, result: Result) -> None:
        """Keeps the run in mind if it is the best so far."""
        own = result.chosen_by.validation, result.chosen_by.higher_is_better
        judged = own if self.objective == "task" else self.objective
        if judged and result.status == "ok" and judged[0] in result.metrics:
            self.datasets.add(str(result.dataset.get("sha256")))
            metric, more = self.judged = judged
            value = result.metrics[metric]
            if self.best is None or ((value > self.best[0]) == more and value != self.best[0]):
                self.best = value, name

    def text(self) -> str:
        """The live line."""
        finished = self.done + self.counts["ok"]
        parts = [f"{finished} of {self.total} finished", f"{len(self.running)} running"]
        failed = self.counts["failed"] + self.counts["nan"]
        parts += [f"{failed} failed"] if failed else []
        parts += [f"{self.counts['pruned']} pruned"] if self.counts["pruned"] else []
        if self.best and len(self.datasets) == 1:
            parts.append(f"best {self.judged[0]} {self.best[0]:.4g} (run {self.best[1]})")
        ended = self.counts.total()
        left = max(0, self.total - self.done - ended)
        if ended and left:
            parts.append(f"{format_duration((time.monotonic() - self.start) / ended * left)} left")
        return ", ".join(parts)


def format_duration(seconds: float) -> str:
    """Seconds as a person would say them."""
    minutes = seconds / 60
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes:.0f} min" if minutes < 100 else f"{minutes / 60:.1f} h"
