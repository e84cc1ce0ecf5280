"""Images decoded once, and then read from the disk as bytes; or decoded each time they are asked for."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import filelock
import numpy as np
import torch
from joblib import cpu_count
from numpy.typing import NDArray
from torch import Tensor

from lcomp.data.image_files import ImageFiles, digest, in_chunks, quiet
from lcomp.errors import UserError
from lcomp.record.files import write_atomically

PIXELS, FILES = "pixels.npy", "files.json"


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
