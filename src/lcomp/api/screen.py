"""Where a program sees what its runs say: a terminal, a notebook, a file, nothing."""

from __future__ import annotations

import importlib.util
import sys
from types import TracebackType
from typing import Any, Literal, TextIO

from lcomp.errors import UserError

Progress = bool | Literal["auto"]
BAR = "{percentage:3.0f}% |{bar}| {desc}"


class Screen:
    """Shows lines and a bar.

    A terminal gets what a command shows there. A notebook gets the lines, and one bar that this process draws: a widget
    where ipywidgets is installed, else text. Elsewhere there are lines alone.

    Args:
        progress: True draws a bar wherever this is, False shows nothing at all.
    """

    def __init__(self, progress: Progress = "auto"):
        if progress not in (True, False, "auto"):
            raise UserError(f"progress={progress!r}: True, False or 'auto'")
        self.shown = progress is not False
        self.draws = in_notebook() if progress == "auto" else progress and not sys.stderr.isatty()
        self.bar: Any = None

    @property
    def mode(self) -> str:
        """What the process that runs is told: whether the bar is drawn here."""
        return "draws" if self.draws else "silent" if not self.shown else "lines"

    def is_terminal(self, stream: TextIO, descriptor: int) -> bool:
        """Whether a stream is the terminal that a process of ours writes to by itself."""
        try:
            return self.shown and stream.isatty() and stream.fileno() == descriptor
        except (OSError, ValueError, AttributeError):  # no file, or closed
            return False

    def write(self, to: TextIO, text: str) -> None:
        if not self.shown:
            return
        if self.bar is not None:
            self.bar.clear()
        to.write(text)
        to.flush()
        if self.bar is not None:
            self.bar.refresh()

    def progress(self, done: int, total: int, text: str) -> None:
        """Draws how far a sweep, or a training, is; a new bar for another training."""
        if not self.draws:
            return
        if self.bar is not None and (self.bar.total != total or done < self.bar.n):
            self.close()
        if self.bar is None:
            self.bar = make_bar(total)
        self.bar.set_description_str(text, refresh=False)
        self.bar.n = done
        self.bar.refresh()

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def __enter__(self) -> Screen:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def in_notebook() -> bool:
    """Whether this is a notebook's kernel."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return type(shell).__name__ == "ZMQInteractiveShell"


def make_bar(total: int) -> Any:
    """tqdm's bar: a widget in a notebook that can show one."""
    if in_notebook() and importlib.util.find_spec("ipywidgets"):
        from tqdm.notebook import tqdm as widget

        return widget(total=total, bar_format="{percentage:3.0f}%{bar}{desc}")
    from tqdm.std import tqdm

    return tqdm(total=total, bar_format=BAR, file=sys.stderr, ncols=100)
