"""Packed networks: everything that is needed to rebuild the logits, in as few bytes as it takes. See docs/format.md."""

from __future__ import annotations

import math
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import nn

from lcomp.errors import UserError
from lcomp.export.onnx_export import export as export_onnx
from lcomp.packed.artifact import from_onnx
from lcomp.packed.file import HEADER, file_content, load, read_network, write_network
from lcomp.record.files import write_atomically
from lcomp.tasks import Task

__all__ = ["SUFFIX", "export", "load", "pack"]
SUFFIX = ".lcomp"


def pack(artifact: Path, path: Path, version: int = 1) -> dict[str, float]:
    """Writes the packed form of an ONNX artifact to `path`, once it has been read back to the same bits.

    Args:
        version: of the file's format: 2 takes less for dense convolutions of few bits.

    Returns:
        How many bytes each part takes: `header`, `structure`, `weights`, `scales`, `biases`; fractions are the coder's.

    Raises:
        UserError: the artifact has an operator or a setting that has no place in a packed network.
    """
    network = from_onnx(artifact)
    writer = write_network(network, version)
    content = file_content(writer)
    try:
        back = read_network(content, math.inf)
    except UserError as error:
        raise UserError(f"{artifact}: has no packed form: {error}") from None
    if not same_tensors(network, back):
        raise RuntimeError(f"{artifact}: its packed form is another network; please report this")
    write_atomically(path, content)
    return {"header": HEADER} | {part: bits / 8 for part, bits in writer.spent.items()}


def export(network: nn.Module, path: Path | str, task: Task, version: int = 1) -> Path:
    """Writes a finalized network to a file: `.onnx`, or `.lcomp`, which is packed; returns the path.

    Args:
        path: the file, written whole or not at all, over what is there.
        task: what its inputs are.
        version: of the packed format.

    Raises:
        UserError: another suffix, or a network that cannot be exported or packed.
    """
    path = Path(path)
    if path.suffix not in (".onnx", SUFFIX):
        raise UserError(f"{path}: its suffix says what is written: .onnx, or {SUFFIX}, a packed network")
    if path.suffix == ".onnx":
        export_onnx(network, path, task)
        return path
    with TemporaryDirectory() as folder:
        artifact = Path(folder) / "artifact.onnx"
        export_onnx(network, artifact, task)
        pack(artifact, path, version)
    return path


def same_tensors(first: nn.Module, second: nn.Module) -> bool:
    """Whether two networks have the same tensors, bit for bit."""
    states = first.state_dict(), second.state_dict()
    return states[0].keys() == states[1].keys() and all(
        a.dtype == b.dtype and torch.equal(tensor_bytes(a), tensor_bytes(b))
        for a, b in zip(*(s.values() for s in states), strict=True)
    )


def tensor_bytes(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.view(torch.int32) if tensor.dtype == torch.float32 else tensor
