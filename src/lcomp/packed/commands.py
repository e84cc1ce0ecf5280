"""What `lcomp pack` and `lcomp unpack` do with the files that they are given; each returns the exit code."""

from __future__ import annotations

import sys
from pathlib import Path

from lcomp.errors import UserError
from lcomp.export import export
from lcomp.packed import SUFFIX, load, pack
from lcomp.record import limits
from lcomp.tasks import ImageClassification, Task, TextClassification


def pack_run(run: Path, out: Path | None, version: int) -> int:
    """Packs, and says where the bytes went; 1, with one line, where that cannot be.

    Args:
        run: its folder, or an ONNX file that lcomp exported.
        out: the file to write; None is one beside the artifact.
        version: of the format.
    """
    artifact = run / "artifact.onnx" if run.is_dir() else run
    path = out or artifact.with_suffix(SUFFIX)
    try:
        if not artifact.is_file():
            raise UserError(f"{artifact}: no such file; RUN is the folder of a run, or an ONNX file")
        parts = pack(artifact, path, version)
    except UserError as error:
        print(f"lcomp: {error}", file=sys.stderr)
        return 1
    print(f"{path}: {path.stat().st_size:,} bytes: " + ", ".join(f"{part} {n:,.0f}" for part, n in parts.items()))
    return 0


def unpack_file(file: Path, suffix: str, out: Path | None) -> int:
    """Unpacks; 1, with one line, where that cannot be.

    Args:
        file: a packed network.
        suffix: of what it becomes.
        out: the file to write, over what is there; None is one beside it, where there is none yet.
    """
    path = out or file.with_suffix(suffix)
    try:
        if path.exists() and out is None:
            raise UserError(f"{path}: is there already; name the file to write with --out")
        network = load(file)
        limits.check(f"{file}: its export", len(network.steps), limits.EXPORTED, "steps")
        task: Task = ImageClassification(network.classes, network.input_shape)
        if network.reads_sentences:
            length = network.input_shape[-1]
            task = TextClassification(network.classes, max_length=length, length=length)
        export(network, path, task)
    except UserError as error:
        print(f"lcomp: {error}", file=sys.stderr)
        return 1
    print(f"{path}: {path.stat().st_size:,} bytes")
    return 0
