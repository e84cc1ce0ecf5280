"""The files from which a fit goes on: whole or not there, of one identity, two of them."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import pickle
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from lcomp.config.identity import digest
from lcomp.record.files import sha256, write_atomically
from lcomp.record.limits import Refused
from lcomp.record.untrusted import check_checkpoint
from lcomp.training.checkpoint_content import Content

log = logging.getLogger(__name__)
FOLDER = "checkpoints"  # in that of a run, or of a cached baseline
EPOCH, WITHIN, ENDED = "epoch", "within", "ended"  # where in a fit one was written
HASH = 16  # digits of a file's SHA-256 in its name
UNREADABLE = (OSError, Refused, EOFError, KeyError, TypeError, RuntimeError, ValueError, pickle.UnpicklingError)


@dataclass(frozen=True)
class CheckpointFiles:
    """The checkpoints of one fit.

    Args:
        folder: where they lie, and nothing else.
        identity: of all that the fit depends on: a checkpoint of another one is not taken.
        minutes: how far they are apart, within epochs too; None: they stand at the ends of epochs.
        beside: a sweep's folder, in whose runs a try before may have left some.
    """

    folder: Path
    identity: str
    minutes: float | None = None
    beside: Path | None = None

    @property
    def prefix(self) -> str:
        """Of the files' names."""
        return digest([self.identity, version("pytorch-lightning")])

    def found(self) -> list[Path]:
        """Those of this identity, the latest first."""
        places = [self.folder, *(sorted(self.beside.glob(f"*/{FOLDER}")) if self.beside else ())]
        paths = [path for place in dict.fromkeys(places) for path in place.glob(f"{self.prefix}-*.ckpt")]
        return sorted(paths, key=step_of, reverse=True)

    def newest(self) -> tuple[Path, Content] | None:
        """The latest that is whole, and what it holds; says of each that is not, and of those of another identity."""
        paths = self.found()
        if not paths and any(self.folder.glob("*.ckpt")):
            log.warning("%s: checkpoints of another configuration, code or version; training begins anew", self.folder)
        for path in paths:
            try:
                check_checkpoint(path)
                if sha256(path)[:HASH] != path.stem.rpartition("-")[2]:
                    raise Refused("it is not what was written")
                content: Content = torch.load(path, weights_only=True, map_location="cpu")
            except UNREADABLE as error:
                log.warning("%s: a damaged checkpoint, not taken (%s)", path, " ".join(str(error).split())[:200])
            else:
                return path, content
        return None

    @property
    def has_end(self) -> bool:
        """Whether the latest was written when training had ended."""
        return (newest := self.newest()) is not None and f"-{ENDED}-" in newest[0].name

    def write(self, content: Mapping[str, Any], step: int, where: str) -> Path | None:
        """Writes one and keeps one before it, of an epoch's end if there is one.

        Returns:
            Its path; None where what callbacks keep in it could not be read again without executing code.
        """
        buffer = io.BytesIO()
        torch.save(dict(content), buffer)
        first = not any(self.folder.glob("*.ckpt"))
        if first and not is_readable(buffer):
            return None
        self.folder.mkdir(parents=True, exist_ok=True)
        for left in self.folder.glob(".*"):  # by a process that was killed as it wrote
            left.unlink(missing_ok=True)
        data = buffer.getbuffer()
        name = f"{self.prefix}-{step:012}-{where}-{hashlib.sha256(data).hexdigest()[:HASH]}.ckpt"
        write_atomically(self.folder / name, data)
        self.keep(self.folder / name)
        return self.folder / name

    def keep(self, newest: Path) -> None:
        """Removes all but `newest` and one other."""
        others = sorted((path for path in self.folder.glob("*.ckpt") if path != newest), key=step_of, reverse=True)
        others.sort(key=lambda path: not (path.name.startswith(self.prefix) and f"-{EPOCH}-" in path.name))
        for path in others[1:]:
            path.unlink(missing_ok=True)
        handle = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(handle)  # names too outlive the machine
        finally:
            os.close(handle)

    def clear(self) -> None:
        """Removes them: there is nothing to go on with."""
        for path in self.found():
            path.unlink(missing_ok=True)
            with suppress(OSError):
                path.parent.rmdir()
        shutil.rmtree(self.folder, ignore_errors=True)


def step_of(path: Path) -> tuple[int, bool]:
    """The optimizer step that a checkpoint was written at; the end of training comes after its last."""
    _, step, where, _ = path.stem.rsplit("-", 3) if path.stem.count("-") >= 3 else ("", "0", "", "")
    return int(step) if step.isdecimal() else 0, where == ENDED


def is_readable(buffer: io.BytesIO) -> bool:
    """Whether what was saved is data and nothing more; says so where it is not."""
    try:
        buffer.seek(0)
        torch.load(buffer, weights_only=True, map_location="cpu")
    except (pickle.UnpicklingError, RuntimeError, TypeError, ValueError) as error:
        log.warning(
            "no checkpoints: what a callback, the optimizer or the schedule keeps in them is code (%s); keep numbers, "
            "texts, lists, dictionaries and tensors in its state_dict", " ".join(str(error).split())[:200]
        )  # fmt: skip
        return False
    return True
