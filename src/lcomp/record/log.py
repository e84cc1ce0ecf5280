"""Every line of the log names the data set it speaks of, and no secret."""

from __future__ import annotations

import contextlib
import logging

from lcomp.escaping import terminal
from lcomp.record import redaction

dataset = "no data yet"  # of this process's present run


class NameData(logging.Filter):
    """Gives each record an attribute `dataset`, for the format of the configuration; hides what must not be written."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.dataset = dataset
        with contextlib.suppress(Exception):  # a message that cannot be put together is logging's to complain of
            record.msg, record.args = terminal(redaction.redacted_line(record.getMessage())), ()
        if record.exc_info:
            record.exc_text = terminal(redaction.redacted_line(logging.Formatter().formatException(record.exc_info)))
        return True
