"""The report's page and its data as the folders are now, made anew only where they changed."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from lcomp.record.files import Jsonable
from lcomp.record.result import FILE_NAME
from lcomp.report import page
from lcomp.report.runs import ReportRun, relative_path, report_runs
from lcomp.report.writing import comparable_runs
from lcomp.watch.sweep_reader import SweepReader, sweeps_in
from lcomp.watch.sweep_state import sweep_state

INTERVAL = 1.0  # seconds between two looks at the folders, however many pages ask
SHARE = 10  # data are made anew after so many times the processor seconds that it took: a tenth of a core at most


class Built(NamedTuple):
    """The page's data, of a version of the folders' content."""

    version: int
    runs: list[ReportRun]
    data: dict[str, Jsonable]


class LivePage:
    """Sweeps, as the browsers that watch them are told of them.

    Args:
        folders: a sweep's each, or one that holds sweeps.
    """

    def __init__(self, folders: Sequence[Path]):
        self.roots = [folder.resolve() for folder in folders]
        self.folder = Path(os.path.commonpath(self.roots))  # to which links are relative
        self.sweeps: dict[Path, SweepReader] = {}
        self.lock = threading.Lock()
        self.looked, self.not_before = -INTERVAL, 0.0
        self.built = Built(0, [], {})
        self.made_of: object = None  # what `built` was made of

    def look(self) -> None:
        """Reads what is new, where the last look is a moment ago; the caller has the lock."""
        if time.monotonic() - self.looked < INTERVAL:
            return
        for root in self.roots:
            for folder in sweeps_in(root):
                if folder not in self.sweeps:
                    self.sweeps[folder] = SweepReader(folder, root, str(len(self.sweeps)))
        for sweep in self.sweeps.values():
            sweep.look()
        self.looked = time.monotonic()

    def runs(self) -> list[ReportRun]:
        """The runs that have a record, as a report shows them."""
        known = [(run.path, run.result, sweep) for sweep in self.sweeps.values() for run in sweep.recorded]
        recorded = [(path, result) for path, result, _ in known if result is not None]
        return comparable_runs(report_runs(recorded, {path: sweep.root for path, _, sweep in known}))

    def build(self) -> None:
        """Makes the data anew where the folders changed and it is time; the caller has the lock."""
        content = [(sweep.folder, sweep.changes) for sweep in self.sweeps.values()]
        if content == self.made_of or (self.made_of is not None and time.monotonic() < self.not_before):
            return
        begin = time.thread_time()
        runs = self.runs()
        data = page.report_data(runs, [*self.sweeps], self.folder)
        self.built, self.made_of = Built(self.built.version + 1, runs, data), content
        self.not_before = time.monotonic() + SHARE * (time.thread_time() - begin)

    def state(self, known: int) -> dict[str, Jsonable]:
        """How far each sweep is, and the page's data where they are another version than the page's.

        Args:
            known: the version of the data that the page has.
        """
        with self.lock:
            self.look()
            self.build()
            version, _, data = self.built
            new: dict[str, Jsonable] = {"data": data} if version != known else {}
            sweeps: list[Jsonable] = [sweep_state(sweep) for sweep in self.sweeps.values()]
            return {"version": version, "sweeps": sweeps, **new}

    def html(self, settings: dict[str, Jsonable]) -> str:
        """The page; `settings` are for its script, beside the version of the data that it has."""
        with self.lock:
            self.look()
            self.build()
            version, runs, data = self.built
            js = f"const WATCHED = {page.embedded(settings | {'version': version})};\n{source('watch.js')}"
            return page.render_page(runs, (), self.roots, self.folder, data=data, css=source("watch.css"), js=js)

    def run_folder(self, key: str) -> Path | None:
        """The folder of the run that the page calls so."""
        of, _, name = key.partition("/")
        with self.lock:
            self.look()
            found = [sweep.runs[name] for sweep in self.sweeps.values() if sweep.key == of and name in sweep.runs]
        return found[0].path if found else None

    def record_file(self, link: str) -> Path | None:
        """The record that a link of the page leads to."""
        with self.lock:
            paths = (run.path / FILE_NAME for sweep in self.sweeps.values() for run in sweep.recorded)
            return next((path for path in paths if relative_path(path, self.folder) == unquote(link)), None)


def source(name: str) -> str:
    return files("lcomp.watch").joinpath(name).read_text(encoding="utf-8")
