"""A user's image files: known by their content, decoded once, and then read from the disk as bytes."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import filelock
import numpy as np
import PIL
import torch
from joblib import cpu_count
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from lcomp.data.image_files import ImageForm, Undecodable
from lcomp.errors import UserError
from lcomp.record.files import write_atomically

T = TypeVar("T")
log = logging.getLogger(__name__)
CHUNK = 256  # files that are decoded, or hashed, before their rows are written
PIXELS, FILES = "pixels.npy", "files.json"


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


class CachedImages:
    """Rows of decoded images in a file, read as they are asked for."""

    def __init__(self, path: Path, rows: Tensor):
        self.pixels = torch.from_numpy(np.lib.format.open_memmap(path, mode="c"))  # nothing is ever written to it
        self.rows = rows

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self.rows), *self.pixels.shape[1:]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Tensor) -> Tensor:
        return self.pixels[self.rows[index]]


class StreamedImages:
    """Images that are decoded each time they are asked for."""

    def __init__(self, files: ImageFiles, rows: Tensor):
        self.files, self.rows = files, rows

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self.rows), *self.files.form.shape

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Tensor) -> Tensor:
        with quiet(), ThreadPoolExecutor(cpu_count()) as pool:
            found = list(pool.map(self.files.read, self.rows[index].tolist()))
        for number, image in zip(self.rows[index].tolist(), found, strict=True):
            if isinstance(image, str):
                raise UserError(f"{self.files.root / self.files.paths[number]}: has changed meanwhile, {image}")
        return torch.from_numpy(np.stack(found))


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


def decoded(files: ImageFiles, cache: Path, streamed: bool) -> tuple[Path, dict[int, str]]:
    """The folder where the bytes of all files lie, decoded now if need be, and which files are broken, and why.

    Args:
        streamed: whether their bytes are not kept: then each is decoded once to see that it can be.
    """
    kind = files.settings_hash[:16]
    name = f"{kind}-{digest(list(files.hashes))[:16]}" + ("-streamed" if streamed else "")
    folder = cache / name
    cache.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(cache / f".{name}.lock"):
        if not (folder / FILES).is_file():
            for left in cache.glob(f".{name}.part-*"):  # by a process that was killed
                shutil.rmtree(left)
            if not streamed:
                check_space(files, cache)
            part = Path(tempfile.mkdtemp(prefix=f".{name}.part-", dir=cache))
            try:
                decode(files, part, streamed, earlier_rows(cache, kind))
                os.replace(part, folder)
            except BaseException:
                shutil.rmtree(part)
                raise
    broken = json.loads((folder / FILES).read_text())["broken"]
    return folder, {int(number): why for number, why in broken.items()}


def check_space(files: ImageFiles, cache: Path) -> None:
    """Raises UserError where the disk has no room for the bytes."""
    free = shutil.disk_usage(cache).free
    if free < files.bytes:
        raise UserError(
            f"data.cache={cache}: {len(files):,} images take {files.bytes / 2**30:.1f} GiB there, and "
            f"{free / 2**30:.1f} are free; name another disk, choose a smaller data.size, or have them streamed: "
            "data.cache_gb=0"
        )


def decode(files: ImageFiles, folder: Path, streamed: bool, earlier: dict[str, tuple[Path, int]]) -> None:
    """Writes the bytes of all files, and which are broken, into `folder`; those of files that an `earlier` folder holds
    are taken from there."""
    shape = (len(files), *files.form.shape)
    rows = None if streamed else np.lib.format.open_memmap(folder / PIXELS, "w+", np.uint8, shape)
    broken: dict[int, str] = {}
    opened: dict[Path, NDArray[np.uint8]] = {}

    def image(number: int) -> NDArray[np.uint8] | str:
        if files.hashes[number] in earlier:
            path, row = earlier[files.hashes[number]]
            if path not in opened:
                opened[path] = np.lib.format.open_memmap(path, mode="r")
            return np.asarray(opened[path][row])
        return files.read(number)

    with in_chunks(range(len(files)), "decoding images, once") as (chunks, pool):
        for some in chunks:
            for number, found in zip(some, pool.map(image, some), strict=True):
                if isinstance(found, str):
                    broken[number] = found
                elif rows is not None:
                    rows[number] = found
    if rows is not None:
        rows.flush()
    content = {"hashes": [] if streamed else list(files.hashes), "broken": broken}
    write_atomically(folder / FILES, json.dumps(content).encode())


def earlier_rows(cache: Path, kind: str) -> dict[str, tuple[Path, int]]:
    """Where the bytes of files lie that were decoded so before, by the files' hashes."""
    found: dict[str, tuple[Path, int]] = {}
    for path in sorted(cache.glob(f"{kind}-*/{FILES}"), key=os.path.getmtime):
        content = json.loads(path.read_text())
        found |= {
            one: (path.parent / PIXELS, row)
            for row, one in enumerate(content["hashes"])
            if str(row) not in content["broken"]
        }
    return found


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
