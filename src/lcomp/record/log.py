"""Every line of the log names the data set it speaks of, and no secret."""

from __future__ import annotations

import contextlib
import logging

from lcomp.errors import terminal
from lcomp.record import redaction


class NameData(logging.Filter):
    """Gives each record an attribute `dataset`, for the format of the configuration; hides what must not be written.

    Attributes:
        dataset: that of the run whose log it is, see `name_dataset`.
    """

    dataset = "no data yet"

    def filter(self, record: logging.LogRecord) -> bool:
        record.dataset = self.dataset
        with contextlib.suppress(Exception):  # a message that cannot be put together is logging's to complain of
            record.msg, record.args = terminal(redaction.redacted_line(record.getMessage())), ()
        if record.exc_info:
            record.exc_text = terminal(redaction.redacted_line(logging.Formatter().formatException(record.exc_info)))
        return True


def name_dataset(name: str) -> None:
    """Has the lines of lcomp's log name this data set from now on: tells the filters on their way."""
    logger: logging.Logger | None = logging.getLogger("lcomp")
    while logger is not None:
        for named in (one for handler in logger.handlers for one in handler.filters if isinstance(one, NameData)):
            named.dataset = name
        logger = logger.parent
