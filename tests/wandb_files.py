"""Reads a `.wandb` file back: a LevelDB log (7 bytes of header, blocks of 32 KiB, records with CRC, length, type)
of protocol buffers."""

import json
import struct
import time
from pathlib import Path

from google.protobuf.message import DecodeError
from wandb.proto import wandb_internal_pb2

BLOCK, HEADER = 32 * 1024, 7
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def records(path: Path) -> list:
    """Every record of the file, in its order."""
    content, place, found, parts = path.read_bytes(), HEADER, [], b""
    assert content[:4] == b":W&B"
    while place + 7 <= len(content):
        left = BLOCK - place % BLOCK
        if left < 7:
            place += left
            continue
        _, length, kind = struct.unpack_from("<IHB", content, place)
        parts += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (FULL, LAST):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            found.append(record)
            parts = b""
    return found


def written(path: Path) -> list:
    """The same of a file that W&B's own process may still be writing, once every record of it is whole."""
    end = time.monotonic() + 20
    while True:
        try:
            return records(path)
        except DecodeError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def items(updates) -> dict:
    """The items of a history, summary or configuration, by key (`a.b` for nested ones)."""
    return {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in updates}


class Mirrored:
    """What a W&B run's file says."""

    def __init__(self, folder: Path):
        [path] = folder.glob("wandb/*run-*/*.wandb")
        self.summary, self.history, self.artifacts, self.config = {}, [], [], {}
        for record in written(path):
            kind = record.WhichOneof("record_type")
            if kind == "run":
                self.run = record.run
                self.config |= items(record.run.config.update)
            elif kind == "config":
                self.config |= items(record.config.update)
            elif kind == "history":
                self.history.append(items(record.history.item))
            elif kind == "summary":
                self.summary |= items(record.summary.update)
            elif kind == "artifact":
                self.artifacts.append(record.artifact)
            elif kind == "exit":
                self.exit_code = record.exit.exit_code
