"""What stands in records, as each output takes it: as text, and nothing but text."""

from __future__ import annotations

import html
import os
import re
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from lcomp.errors import terminal

BREAKS = re.compile(r"[\t\n\v\f\r\x1c-\x1e\x85\u2028\u2029]+")
SIGNS = re.compile(r"[\\|*_`\[\]~$]")  # of Markdown
NUMBER = re.compile(r"[-+]?\d*\.?\d+(e[-+]?\d+)?%?")
FORMULA = re.compile(r"\s*[=+@-]|[\t\n]")  # what a spreadsheet computes

V = TypeVar("V")


def one_line(text: object) -> str:
    """Text in one line of a terminal, nothing of it obeyed."""
    return terminal(BREAKS.sub(" ", str(text)))


def markdown(text: object) -> str:
    """Text in a line of Markdown, or in a cell of a table."""
    escaped = html.escape(one_line(text), quote=False)
    return SIGNS.sub(lambda match: "\\" + match[0], escaped)


def csv_cell(value: V) -> V | str:
    """A value in a CSV file: a text that a spreadsheet would compute begins with an apostrophe, numbers do not."""
    if not isinstance(value, str):
        return value
    shown = terminal(value)
    return f"'{shown}" if FORMULA.match(shown) and not NUMBER.fullmatch(shown) else shown


def relative_url(path: str) -> str:
    """A relative path as a link: no part of it is a scheme, a query or an anchor."""
    return quote(os.fsencode(Path(path)))
