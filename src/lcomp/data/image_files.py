"""A user's image files: each known by its content, and read in threads, some at a time."""

from __future__ import annotations

import hashlib
import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import PIL
from joblib import cpu_count
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from lcomp.data.image_form import ImageForm, Undecodable
from lcomp.errors import UserError
from lcomp.record.files import write_atomically

T = TypeVar("T")
log = logging.getLogger(__name__)
CHUNK = 256  # files that are read before what they give is used


@dataclass(frozen=True)
class ImageFiles:
    """Files under a folder and what each is to become.

    Attributes:
        paths: within `root`, in order.
        hashes: the SHA-256 of each.
    """

    root: Path
    paths: Sequence[str]
    hashes: Sequence[str]
    form: ImageForm

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def settings_hash(self) -> str:
        """What the bytes depend on beside the files."""
        return digest([asdict(self.form), PIL.__version__])

    def read(self, number: int) -> NDArray[np.uint8] | str:
        """The image of that number, (C, H, W); why there is none where it is broken."""
        try:
            return self.form.read(self.root / self.paths[number])
        except Undecodable as error:
            return str(error)

    @property
    def sha256(self) -> str:
        """What the examples are: their names, which say class and split, their content, and what is made of it."""
        return digest([asdict(self.form), list(zip(self.paths, self.hashes, strict=True))])

    @property
    def bytes(self) -> int:
        """What all take when they are decoded."""
        return len(self) * int(np.prod(self.form.shape))


def digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def known_files(root: Path, paths: Sequence[str], form: ImageForm, cache: Path) -> ImageFiles:
    """The files with their hashes. One that is as it was (size, times, place on the disk) is not read again."""
    noted = cache / f"{digest(str(root.resolve()))[:16]}.json"
    try:
        before = dict(json.loads(noted.read_text()))
    except (OSError, ValueError, TypeError):
        before = {}
    stamps = {path: stamp(root / path) for path in paths}
    changed = [path for path in paths if before.get(path, [None])[0] != stamps[path]]
    now = {path: before[path] for path in paths if path in before}
    with in_chunks(changed, "reading image files") as (chunks, pool):
        for some in chunks:
            hashes = pool.map(lambda path: hash_of(root / path), some)
            now |= {path: [stamps[path], found] for path, found in zip(some, hashes, strict=True)}
    if changed or len(before) != len(now):
        write_atomically(noted, json.dumps(now).encode())
    return ImageFiles(root, paths, [now[path][1] for path in paths], form)


def stamp(path: Path) -> list[int]:
    """What changes with a file."""
    try:
        found = path.stat()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); mend or remove it") from error
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


def hash_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); mend or remove it") from error


@contextmanager
def in_chunks(items: Sequence[T], what: str) -> Iterator[tuple[Iterator[Sequence[T]], ThreadPoolExecutor]]:
    """Some items at a time, and threads to treat them in: a bar on a terminal shows how many are done, elsewhere one
    line says what begins. What Pillow warns of is not shown."""
    console = Console(stderr=True)
    bar = Progress(console=console, transient=True, disable=not items or not console.is_terminal)

    def chunks() -> Iterator[Sequence[T]]:
        for start in range(0, len(items), CHUNK):
            yield items[start : start + CHUNK]
            bar.advance(task, CHUNK)

    if len(items) > CHUNK and not console.is_terminal:
        log.info("%s: %s files", what, f"{len(items):,}")
    with quiet(), bar, ThreadPoolExecutor(cpu_count()) as pool:
        task = bar.add_task(what, total=len(items))
        yield chunks(), pool


@contextmanager
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
