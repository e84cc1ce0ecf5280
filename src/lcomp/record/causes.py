"""What another library's or the user's own exception says, in one line, with the user's line that it came through."""

from __future__ import annotations

import linecache
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import fx

from lcomp.errors import UserError

LONGEST = 400  # characters of one exception's message
CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b.|[\x00-\x08\x0e-\x1f\x7f-\x9f]")
TRACEBACK_LINE = re.compile(r'File "([^"]+)", line (\d+)')
LIBRARIES = {  # whose lines tell a user nothing
    *sys.stdlib_module_names,
    *("lcomp", "torch", "pytorch_lightning", "lightning_fabric", "lightning_utilities", "hydra", "omegaconf"),
    *("onnx", "onnxscript", "onnx_ir", "onnxruntime", "numpy"),
}


def error_message(error: BaseException) -> str:
    """What is recorded of `error`: a UserError's own words; of another its type and message, those of its innermost
    cause, and the user's line."""
    if isinstance(error, UserError):
        return condensed(Exception.__str__(error))
    first, last = exception_chain(error)[0], exception_chain(error)[-1]
    within = "" if last is first else f" ({type_and_message(last)})"
    location = user_line(error)
    return type_and_message(first) + within + (f", at {location}" if location else "")


def innermost_message(error: BaseException) -> str:
    """The innermost cause in its first paragraph, and the user's line: what an exporter's banner hides."""
    location = user_line(error)
    return type_and_message(exception_chain(error)[-1], paragraphs=1) + (f", at {location}" if location else "")


@contextmanager
def as_user_error(where: str, advice: str = "") -> Iterator[None]:
    """Makes a UserError of whatever a user's code raises in it: `where` it fails, why, and what to do."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{where} fails: {error_message(error)}{advice}") from error


def exception_chain(error: BaseException) -> list[BaseException]:
    """`error`, what it was raised from, and so on to the innermost."""
    chain = [error]
    while chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)
    return chain


def type_and_message(error: BaseException, paragraphs: int | None = None) -> str:
    """Type and message in one line; of an error that a data loader's worker passed on as a traceback, the last line.

    Args:
        paragraphs: of the message, the first that many; None for all.
    """
    text = "\n".join(str(error).split("\n\n")[:paragraphs])
    if "Traceback (most recent call last)" in text:
        text = text.rstrip().rpartition("\n")[2]
    return f"{type(error).__name__}: {condensed(text)}".removesuffix(": ")


def condensed(text: str) -> str:
    """`text` in one line without escape sequences and control characters, cut where it is longer than `LONGEST`."""
    return " ".join(CONTROL.sub("", text).split())[:LONGEST]


def user_line(error: BaseException) -> str | None:
    """The innermost line outside of `LIBRARIES` that `error` came through, such as `mine.py:12: return self.fc(x)`."""
    for cause in reversed(exception_chain(error)):
        if locations := [*user_frames(cause), *traced_lines(cause)]:
            path, number = locations[-1]
            return f"{Path(path).name}:{number}: {condensed(linecache.getline(path, number))}"
    return None


def user_frames(error: BaseException) -> Iterator[tuple[str, int]]:
    """File and line number of each frame of the user's, outermost first."""
    for frame, number in traceback.walk_tb(error.__traceback__):
        package = frame.f_globals.get("__package__") or frame.f_globals.get("__name__") or ""
        path = frame.f_code.co_filename
        if package.partition(".")[0] not in LIBRARIES and not path.startswith("<"):
            yield path, number


def traced_lines(error: BaseException) -> Iterator[tuple[str, int]]:
    """The same of the operations that an exporter was at: a traced network remembers where each of them was written."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        node = frame.f_locals.get("node")
        if isinstance(node, fx.Node) and node.stack_trace and (written := TRACEBACK_LINE.findall(node.stack_trace)):
            yield written[-1][0], int(written[-1][1])
