"""Which test examples each run answers rightly, so that the page can hold any two runs against each other."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence

import numpy as np

from lcomp.record import predictions
from lcomp.record.files import Jsonable
from lcomp.report.ranking import validation_merit
from lcomp.report.runs import ReportRun

BYTES = 400_000  # of all runs together; of more runs, the best on validation


def right_answers(runs: Sequence[ReportRun]) -> dict[ReportRun, dict[str, Jsonable]]:
    """Of each run: a bit for every test example (most significant first, base64), how many, and whose labels."""
    kept: dict[ReportRun, dict[str, Jsonable]] = {}
    left = BYTES
    for run in sorted(
        (run for run in runs if run.is_ok), key=lambda run: -validation_merit(run.result.metrics.get, run)
    ):
        own = predictions.read_predictions(run.folder)
        if own is None:
            continue
        bits = np.packbits(own.correct).tobytes()
        if (left := left - len(bits)) < 0:
            break
        labels = hashlib.sha256(own.labels.astype(np.int64).tobytes()).hexdigest()[:8]
        kept[run] = {"bits": base64.b64encode(bits).decode(), "n": len(own.labels), "of": labels}
    return kept
