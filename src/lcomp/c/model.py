"""A network made ready for C."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lcomp import packed
from lcomp.c import PLAIN, reference
from lcomp.c.compiling import as_bytes
from lcomp.c.integer import Assembly
from lcomp.c.lowering import Lowering
from lcomp.c.network import CNetwork
from lcomp.c.ranges import find_grids
from lcomp.c.source import Writer
from lcomp.c.writing import file_texts, whole_text
from lcomp.errors import UserError
from lcomp.packed.artifact import from_onnx
from lcomp.packed.network import Network
from lcomp.record.files import write_atomically

SELF_TEST = 100  # examples


@dataclass(frozen=True)
class CModel:
    """A network of C with the text of its files.

    Attributes:
        form: how weights are stored, one of `lcomp.c.FORMS`.
        title: the first line of each file.
        tested: inputs of the self-test as the C takes them, (N, rows, columns, channels).
    """

    network: CNetwork
    form: str
    title: str
    tested: NDArray[np.generic]

    @cached_property
    def writer(self) -> Writer:
        return Writer(self.network, self.form)

    @cached_property
    def files(self) -> dict[str, str]:
        """The text of each file, by name."""
        return file_texts(self.writer, self.title, self.tested, self.expected)

    @property
    def whole(self) -> str:
        """The model in one file: its header, its weights and its code."""
        return whole_text(self.files)

    @cached_property
    def expected(self) -> NDArray[np.generic]:
        """What the reference answers to the examples of the self-test."""
        return reference.answer(self.network, self.tested.astype(np.uint8))

    def write(self, folder: Path) -> None:
        """Writes every file, each whole or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in self.files.items():
            write_atomically(folder / name, text.encode())


def make_model(path: Path, examples: NDArray[np.float32] | None = None, form: str = PLAIN) -> CModel:
    """The C of an artifact, `.onnx` or `.lcomp`.

    Args:
        examples: (N, channels, rows, columns) in [0, 1]; ranges of activations are found with them where the artifact
            has none, and the first of them are those of the self-test, random ones where None.
        form: how weights are stored, one of `lcomp.c.FORMS`.

    Raises:
        UserError: an operator or a setting that there is no C for, before anything is written.
    """
    network = packed.load(path) if path.suffix == packed.SUFFIX else from_onnx(path)
    try:
        made = integer_network(network, examples)
    except UserError as error:
        raise UserError(f"{path}: has no C: {error}; docs/c.md lists what has") from None
    channels, rows, columns = network.input_shape
    if examples is None:
        drawn = np.random.default_rng(0).integers(0, 256, (SELF_TEST, rows, columns, channels))
        tested = drawn.astype(np.uint8)
    else:
        tested = np.ascontiguousarray(as_bytes(examples[:SELF_TEST].transpose(0, 2, 3, 1)))
    return CModel(made, form, f"{path.name} as C, by lcomp", tested)


def integer_network(network: Network, examples: NDArray[np.float32] | None) -> CNetwork:
    layers = Lowering(network).layers
    find_grids(network, layers, examples)
    return Assembly(layers).network()
