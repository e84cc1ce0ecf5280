"""A table of text, and its forms: terminal, Markdown, CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich import box
from rich.console import Console
from rich.table import Table

from lcomp.errors import terminal
from lcomp.record import escaping

FORMATS = ("terminal", "markdown", "csv")


@dataclass
class TextTable:
    """A title, column headings, rows of cells, and notes beneath."""

    title: str
    headings: Sequence[str]
    rows: list[list[str]] = field(default_factory=list)
    notes: Sequence[str] = ()

    def text(self, form: str) -> str:
        """The sheet in one of `FORMATS`; CSV has no notes."""
        if form == "csv":
            stream = io.StringIO()
            rows = [[self.title], self.headings, *self.rows]
            csv.writer(stream, lineterminator="\n").writerows(
                [escaping.csv_cell(value) for value in row] for row in rows
            )
            return stream.getvalue()
        if form == "markdown":
            line = "|".join(["---", *["---:"] * (len(self.headings) - 1)])
            cells = [" | ".join(map(escaping.markdown, row)) for row in (self.headings, *self.rows)]
            table = "\n".join([f"| {cells[0]} |", f"|{line}|", *(f"| {row} |" for row in cells[1:])])
            notes = [f"\n{escaping.markdown(note)}" for note in self.notes]
            return "\n".join([f"**{escaping.markdown(self.title)}**\n", table, *notes]) + "\n"
        rendered = Table(title=terminal(self.title), box=box.SIMPLE_HEAD, title_justify="left")
        rendered.add_column(self.headings[0])
        for heading in self.headings[1:]:
            rendered.add_column(terminal(heading), justify="right")
        for row in self.rows:
            rendered.add_row(*map(terminal, row))
        console = Console(width=None if Console().is_terminal else 160, markup=False)
        with console.capture() as captured:
            console.print(rendered)
            for note in self.notes:
                console.print(terminal(note))
        return captured.get()
