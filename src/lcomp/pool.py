"""Worker processes that import once and outlive one another."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from pebble import ProcessPool
from tqdm import tqdm


@contextmanager
def pool_of(workers: int) -> Iterator[ProcessPool]:
    """Worker processes that import once; stopped at once when the block raises."""
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    processes = multiprocessing.get_context(method)
    if method == "forkserver":
        processes.set_forkserver_preload(["lcomp.run"])  # imports are paid once, however many workers
    pool = ProcessPool(workers, context=processes, initializer=begin)
    try:
        yield pool
    except BaseException:
        pool.stop()
        raise
    finally:
        pool.close()
        pool.join()
        del pool
        gc.collect()  # its semaphores end here, not in a thread while the interpreter ends


def begin() -> None:
    """What a worker does first."""
    die_with_parent()
    tqdm.set_lock(
        threading.RLock()
    )  # torch's exporter uses it; its lock between processes would outlive a killed worker


def die_with_parent() -> None:
    """Ends this worker when the sweep's process is gone: whoever resumes the sweep must be alone.

    Its end by SIGTERM is immediate too; Lightning would have it write a record first, beside the sweep's own.
    """
    signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))
    sweep = multiprocessing.parent_process()  # not the fork server, which lives as long as a worker does
    assert sweep is not None

    def watch() -> None:
        sweep.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def death(exitcode: int) -> str:
    """How a worker ended, and what may have ended it."""
    names = {-number: number.name for number in signal.Signals}
    return f"the worker was killed ({names.get(exitcode, exitcode)}); its memory may not have sufficed"
