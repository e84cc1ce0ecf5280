"""Every line of the log names the data set it speaks of."""

from __future__ import annotations

import logging

dataset = "no data yet"  # of this process's present run


class NameData(logging.Filter):
    """Gives each record an attribute `dataset`, for the format of the configuration."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.dataset = dataset
        return True
