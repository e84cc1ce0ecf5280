"""A trial's signs of life, for workers on other machines that would take it over."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import optuna
import sqlalchemy.exc
from optuna.trial import Trial

log = logging.getLogger("lcomp")


def heartbeat(study: optuna.Study, trial_id: int) -> None:
    """Tells the storage, where it listens, that the trial's worker lives."""
    backend = getattr(study._storage, "_backend", study._storage)
    if hasattr(backend, "record_heartbeat"):
        backend.record_heartbeat(trial_id)


@contextmanager
def regular_heartbeats(trial: Trial, interval: int) -> Iterator[None]:
    """Beats while the block runs."""
    ended = threading.Event()

    def beats() -> None:
        while not ended.wait(interval):
            try:
                heartbeat(trial.study, trial._trial_id)
            except (optuna.exceptions.OptunaError, sqlalchemy.exc.SQLAlchemyError, OSError):  # the next may reach it
                log.debug("no heartbeat for trial %d", trial.number, exc_info=True)

    thread = threading.Thread(target=beats, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
