"""The baseline: trained once per identity, cached by content, safe under concurrent runs."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import filelock
import torch
from torch import nn

from lcomp.config.identity import digest
from lcomp.record.files import CHECKSUM_KEY, sha256, verified_content, with_checksum, write_atomically
from lcomp.record.result import ARTIFACT, ENTRY, Curves, finite_or_none
from lcomp.training.checkpoint_files import FOLDER as CHECKPOINTS

log = logging.getLogger(__name__)
FILES = ("weights.pt", ARTIFACT)


@dataclass
class Baseline:
    """The trained network, its cache folder, and the seconds that training it took when it was trained."""

    network: nn.Module
    folder: Path
    seconds: float

    @property
    def artifact(self) -> Path:
        return self.folder / ARTIFACT

    def figures(self, setting: Any, measured: Callable[[], dict[str, float]]) -> dict[str, float]:
        """Its figures under a measurement setting: read from the cache, or measured now and kept there."""
        path = self.folder / f"metrics-{digest(setting)}.json"
        try:
            found = json.loads(path.read_text())
            if found["of"] == digest([found["figures"], sha256(self.artifact)]):
                return dict(found["figures"])
        except (OSError, ValueError, KeyError, TypeError):
            pass
        figures = measured()
        entry = {"figures": figures, "of": digest([figures, sha256(self.artifact)])}
        write_atomically(path, json.dumps(entry).encode())
        return figures


def cached(
    cache: Path, identity: str, network: nn.Module, train: Callable[[nn.Module], Curves], export: Callable[..., None]
) -> Baseline:
    """The baseline of `identity`: read from `cache`, or trained there under a lock by the first run that needs it.

    A damaged entry (its files no longer have the hashes noted when they were written) is trained again. A training that
    was stopped has left checkpoints in `checkpoints`, and whoever needs the entry next goes on from them.

    Args:
        train: trains a network in place, and returns what was logged of each epoch.
    """
    folder = cache / identity
    folder.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(folder / "lock"):
        if not intact(folder):
            start = time.monotonic()
            curves = train(network)
            seconds = max(
                [time.monotonic() - start, *filter(None, curves.get("seconds", ())[-1:])]
            )  # all tries together
            weights = BytesIO()
            torch.save(network.state_dict(), weights)
            write_atomically(folder / "weights.pt", weights.getvalue())
            export(network, folder / ARTIFACT)
            hashes = {name: sha256(folder / name) for name in FILES}
            write_atomically(
                folder / ENTRY, with_checksum({"seconds": seconds, "sha256": hashes, "epochs": finite_or_none(curves)})
            )
            shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
        entry_seconds = json.loads((folder / ENTRY).read_text())["seconds"]
        network.load_state_dict(torch.load(folder / "weights.pt", weights_only=True))
    return Baseline(network, folder, entry_seconds)


def intact(folder: Path) -> bool:
    """Whether the entry is whole; says so in the log when it was there and is not."""
    try:
        content = (folder / ENTRY).read_bytes()
    except FileNotFoundError:
        return False
    try:
        entry = (
            verified_content(content) if CHECKSUM_KEY.encode() in content else json.loads(content)
        )  # versions before noted none
        timed = set(entry) == {"seconds", "sha256", "epochs"} and isinstance(entry["seconds"], int | float)
        same = entry["sha256"] == {name: sha256(folder / name) for name in FILES}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        timed = same = False
    if not (timed and same):
        log.warning("%s: the cached baseline is damaged; it is trained again", folder)
    return timed and same
