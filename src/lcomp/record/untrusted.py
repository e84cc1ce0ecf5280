"""Reading what somebody else may have written: regular files of a bounded size, that are data and nothing more."""

from __future__ import annotations

import io
import json
import math
import mmap
import os
import stat
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lcomp.record import limits
from lcomp.record.limits import DEPTH, Refused
from lcomp.record.plain import PlainValue

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray


def read_bytes(path: Path, limit: int, linked: bool = False) -> bytes:
    """The bytes of a regular file.

    Args:
        linked: it may be a link into another folder, as where the user has named it.

    Raises:
        OSError: it cannot be opened.
        Refused: it is a pipe or a device, a link into another folder, or has more bytes than `limit`.
    """
    if not linked and path.is_symlink() and os.path.dirname(os.path.realpath(path)) != os.path.realpath(path.parent):
        raise Refused(f"{path}: is a link into another folder")
    with open(path, "rb", opener=open_nonblocking) as file:
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode):
            raise Refused(f"{path}: is no regular file")
        limits.check(str(path), about.st_size, limit)
        return file.read(about.st_size)


def open_nonblocking(path: str, flags: int) -> int:
    """Opens without waiting, as for a pipe that nobody writes into."""
    return os.open(path, flags | os.O_NONBLOCK)


def read_json(path: Path) -> PlainValue:
    """What a file of JSON holds.

    Raises:
        OSError: it cannot be opened.
        Refused: it is no JSON, too large, or nests too deep; the message names the file.
    """
    try:
        content: PlainValue = json.loads(read_bytes(path, limits.RECORD))
    except RecursionError:
        raise Refused(f"{path}: nests deeper than {DEPTH} levels") from None
    except Refused:
        raise
    except ValueError as error:
        raise Refused(f"{path}: no JSON ({error})") from None
    if is_too_deep(content):
        raise Refused(f"{path}: nests deeper than {DEPTH} levels")
    return content


def is_too_deep(content: PlainValue) -> bool:
    """Whether lists and dictionaries nest deeper than `DEPTH`."""
    level = [content]
    for _ in range(DEPTH):
        level = [inner for node in level for inner in nested_values(node)]
        if not level:
            return False
    return True


def nested_values(node: PlainValue) -> Iterator[PlainValue]:
    yield from node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()


def read_yaml(path: Path) -> DictConfig | ListConfig:
    """What a file of YAML holds, interpolations as they stand.

    Raises:
        OSError: it cannot be opened.
        Refused: it holds neither a dictionary nor a list in YAML, is too large, nests too deep, or has aliases, which
            can stand for any number of copies; the message names the file.
    """
    written = read_bytes(path, limits.CONFIGURATION)
    try:
        check_events(path, written)
        return OmegaConf.load(io.StringIO(written.decode()))
    except Refused:
        raise
    except (yaml.YAMLError, OmegaConfBaseException, OSError, ValueError, TypeError) as error:
        raise Refused(f"{path}: no configuration ({' '.join(str(error).split())[:200]})") from None


def check_events(path: Path, written: bytes) -> None:
    """Raises Refused for aliases and deep nesting, before anything is built."""
    depth = 0
    for event in yaml.parse(written, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise Refused(f"{path}: line {event.start_mark.line + 1} has an alias (*{event.anchor}); write it out")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEPTH:
            raise Refused(f"{path}: nests deeper than {DEPTH} levels")


def read_onnx(path: Path, limit: int = limits.ARTIFACT, linked: bool = False) -> onnx.ModelProto:
    """The model in an ONNX file, which holds all of it; `linked` as of `read_bytes`.

    Raises:
        OSError: it cannot be opened.
        Refused: it is no ONNX file, too large, or names other files that hold its weights.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model_from_string(read_bytes(path, limit, linked))
    except DecodeError as error:
        raise Refused(f"{path}: no ONNX file ({error})") from None
    for tensor in model.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            raise Refused(f"{path}: the weights {tensor.name!r} lie in another file; export them into this one")
    return model


def check_checkpoint(path: Path) -> None:
    """Raises Refused for a checkpoint that would take more memory than it has bytes.

    torch compresses nothing that it saves; and of what it unpickles without executing code, `bytearray(n)` alone fills
    memory that is not in the file.
    """
    with open(path, "rb") as file:
        length = os.fstat(file.fileno()).st_size
        if length and mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ).find(b"\nbytearray\n") >= 0:
            raise Refused(f"{path}: has bytearrays, which no checkpoint of a network has")
        if not zipfile.is_zipfile(file):  # as torch saved them before 1.6: read from the file as it is
            return
        with zipfile.ZipFile(file) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > length:
            raise Refused(
                f"{path}: unpacks to {unpacked:,} bytes, and has {length:,}; torch saves what it saves uncompressed"
            )


def read_arrays(path: Path, limit: int = limits.PREDICTIONS) -> dict[str, NDArray[np.integer]]:
    """The arrays of whole numbers in an .npz file, by name.

    Raises:
        OSError: it cannot be opened.
        Refused: it is no such file, has arrays of anything else, or unpacks to more bytes than `limit`.
    """
    packed = io.BytesIO(read_bytes(path, limit))
    try:
        with zipfile.ZipFile(packed) as archive:
            limits.check(str(path), sum(entry.file_size for entry in archive.infolist()), limit)
            return {entry.filename.removesuffix(".npy"): read_array(archive, entry) for entry in archive.infolist()}
    except Refused:
        raise
    except (EOFError, ValueError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise Refused(f"{path}: no arrays ({error})") from None


def read_array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> NDArray[np.integer]:
    """One array: no memory is taken before its header says that the entry holds all of it."""
    import numpy as np  # not of every command line, which all read records

    with archive.open(entry) as file:
        version = np.lib.format.read_magic(file)
        shape, fortran, kind = np.lib.format.read_array_header_1_0(file)
        if version != (1, 0) or kind.kind not in "iu":
            raise Refused(f"{entry.filename} is no array of whole numbers")
        if math.prod(shape) * kind.itemsize != entry.file_size - file.tell():
            raise Refused(f"{entry.filename} has not the {shape} numbers that it states")
        return np.frombuffer(file.read(), kind).reshape(shape, order="F" if fortran else "C")
