"""Worker processes that import once and outlive one another."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType
from typing import Generic, TypeVar, TypeVarTuple

from tqdm import tqdm

from lcomp.record.interruption import BY_MACHINE, Interrupted, machine_interruption

FAILED_STARTS = 4  # workers in a row that end before they are ready
STDERR_BYTES = 2000  # bytes of a worker's standard error that are kept
STDERR_LINES = 3  # of these, in the account of its death
POLL_INTERVAL = 1.0  # seconds between looks at workers whose fork server is gone
Outcome = TypeVar("Outcome")  # what a pool's tasks return
Arguments = TypeVarTuple("Arguments")


class WorkerExit(Exception):
    """A worker ended, by whatever exit code or signal, without its task's result."""


@dataclass
class PoolWorker:
    """A process of a pool, what it is about, and the last that it wrote to standard error."""

    process: BaseProcess
    pipe: Connection
    errors: Connection
    ready: bool = False
    task: int | None = None
    stderr_tail: bytes = field(default=b"", repr=False)

    def forward_stderr(self) -> None:
        """Passes on what it wrote to standard error."""
        with suppress(BrokenPipeError):
            while not self.errors.closed and self.errors.poll():
                text = os.read(self.errors.fileno(), 65536)
                if not text:
                    self.errors.close()
                self.stderr_tail = (self.stderr_tail + text)[-STDERR_BYTES:]
                sys.stderr.write(text.decode(errors="replace"))
                sys.stderr.flush()

    @property
    def is_alive(self) -> bool:
        """Whether it runs; its exit code is unknown when its fork server was killed, as its own may go on."""
        if self.process.exitcode != 255:
            return self.process.exitcode is None
        try:
            return Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False

    def exit(self) -> WorkerExit:
        self.process.join()
        self.forward_stderr()
        lines = [line.strip() for line in self.stderr_tail.decode(errors="replace").splitlines() if line.strip()]
        return WorkerExit(
            ": ".join([exit_reason(self.process.exitcode), *([" | ".join(lines[-STDERR_LINES:])] if lines else [])])
        )


class WorkerPool(Generic[Outcome]):
    """Tasks for `size` processes; one that ends is replaced, and its task's outcome is a `WorkerExit`. They stop at
    the end of the block, at once when it raises.

    Raises:
        Interrupted: no worker can begin.
    """

    def __init__(self, size: int, processes: multiprocessing.context.BaseContext):
        self.size, self.context = size, processes
        self.workers: list[PoolWorker] = []
        self.waiting: deque[tuple[int, Callable[[], Outcome]]] = deque()
        self.failed_starts = 0

    def __enter__(self) -> WorkerPool[Outcome]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop(now=kind is not None)

    def schedule(self, number: int, function: Callable[[*Arguments], Outcome], *arguments: *Arguments) -> None:
        """Puts a task last."""
        self.waiting.append((number, partial(function, *arguments)))

    def outcomes(self) -> Iterator[tuple[int, Outcome | BaseException]]:
        """Each task's number, and the value or the exception that it came to, as they end; more may be scheduled."""
        while self.waiting or any(worker.task is not None for worker in self.workers):
            self.assign_tasks()
            heard = wait([end for one in self.workers for end in self.connections(one)], POLL_INTERVAL)
            for worker in list(self.workers):
                worker.forward_stderr()
                if worker.pipe in heard or not worker.is_alive:
                    yield from self.receive(worker)

    @staticmethod
    def connections(worker: PoolWorker) -> list[Connection | int]:
        """What tells of a worker; without its fork server, its pipes alone."""
        alone = worker.process.exitcode is not None
        errors = [] if worker.errors.closed else [worker.errors]
        return [worker.pipe, *errors, *([] if alone else [worker.process.sentinel])]

    def assign_tasks(self) -> None:
        """Gives tasks to those that are free, and begins as many workers as there are tasks for."""
        for worker in self.workers:
            if worker.ready and worker.task is None and self.waiting:
                number, task = self.waiting.popleft()
                worker.task = number
                with suppress(OSError):  # it has ended meanwhile: heard of next
                    worker.pipe.send_bytes(pickle.dumps(task))
        while len(self.workers) < self.size and sum(one.task is None for one in self.workers) < len(self.waiting):
            try:
                self.workers.append(self.start_worker())
            except (OSError, EOFError) as error:  # no process, no file, a fork server that was killed just now
                self.count_failed_start(f"{type(error).__name__}: {error}")

    def start_worker(self) -> PoolWorker:
        pipe, theirs = multiprocessing.Pipe()
        errors, writing = multiprocessing.Pipe(duplex=False)
        process = self.context.Process(target=serve, args=(theirs, writing))  # type: ignore[attr-defined]
        try:
            process.start()
        finally:
            theirs.close()
            writing.close()
        return PoolWorker(process, pipe, errors)

    def receive(self, worker: PoolWorker) -> Iterator[tuple[int, Outcome | BaseException]]:
        try:
            if not worker.pipe.poll():
                raise EOFError
            result = worker.pipe.recv_bytes()
        except (EOFError, OSError):
            self.workers.remove(worker)
            dead = worker.exit()
            if worker.task is not None:
                yield worker.task, dead
            elif not worker.ready:
                self.count_failed_start(str(dead))
            return
        self.failed_starts = 0
        number, worker.task = worker.task, None
        if worker.ready and number is not None:
            yield number, pickle.loads(result)
        worker.ready = True

    def count_failed_start(self, cause: str) -> None:
        self.failed_starts += 1
        if self.failed_starts >= FAILED_STARTS:
            raise Interrupted(f"{BY_MACHINE}: no worker can begin ({self.failed_starts} in a row: {cause})")

    def stop(self, now: bool) -> None:
        """Ends the workers, `now` or when they notice."""
        for worker in self.workers:
            worker.pipe.close()
            if now:
                worker.process.terminate()
        for worker in self.workers:
            wait([worker.process.sentinel], 5)
            if worker.is_alive:
                with suppress(OSError):
                    os.kill(worker.process.pid or 0, signal.SIGKILL)
            worker.process.join()
            worker.forward_stderr()
            worker.errors.close()


def open_pool(workers: int) -> WorkerPool[Outcome]:
    """Worker processes that import once."""
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    processes = multiprocessing.get_context(method)
    if method == "forkserver":
        processes.set_forkserver_preload(["lcomp.run"])  # imports are paid once, however many workers
    return WorkerPool(workers, processes)


def serve(pipe: Connection, errors: Connection) -> None:
    """What a worker does: tasks, until its pool has none."""
    os.dup2(errors.fileno(), 2)
    errors.close()
    initialize_worker()
    pipe.send_bytes(b"")
    while True:
        try:
            task = pipe.recv_bytes()
        except (EOFError, OSError):
            return
        pipe.send_bytes(run_task(task))


def run_task(task: bytes) -> bytes:
    """What a task came to, pickled; of an exception that cannot be read back, its words."""
    try:
        return pickle.dumps(pickle.loads(task)())
    except BaseException as error:
        try:
            pickled = pickle.dumps(machine_interruption(error) or error)  # before its causes are lost on the way
            pickle.loads(pickled)
        except Exception:
            pickled = pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))
        return pickled


def initialize_worker() -> None:
    """What a worker does first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the sweep, which ends its workers
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


def exit_reason(exitcode: int | None) -> str:
    """How a worker ended, and what may have ended it."""
    if exitcode is None or exitcode >= 0:
        return f"the worker ended in the middle of its task (exit code {exitcode})"
    names = {-number: number.name for number in signal.Signals}
    memory = "; its memory may not have sufficed" if exitcode == -signal.SIGKILL else ""
    return f"the worker was killed ({names.get(exitcode, exitcode)}){memory}"
