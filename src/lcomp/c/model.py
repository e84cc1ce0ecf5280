"""A network made ready for C."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lcomp import packed
from lcomp.c import ARITHMETICS, AUTO, INTEGER, MAKE, PLAIN, reference
from lcomp.c.compiling import as_bytes
from lcomp.c.cropping import cropped
from lcomp.c.float_source import FloatSource
from lcomp.c.floats import float_network
from lcomp.c.integer import Assembly
from lcomp.c.integer_source import IntegerSource
from lcomp.c.layouts import laid_out
from lcomp.c.lowering import Lowering
from lcomp.c.network import CNetwork
from lcomp.c.ranges import find_grids
from lcomp.c.source import Source
from lcomp.c.writing import Writing, whole_text
from lcomp.errors import UserError, validate_choice
from lcomp.packed.artifact import from_onnx
from lcomp.packed.network import Network
from lcomp.record.files import write_atomically
from lcomp.techniques.quantization.integer_layers import CodedWeight, Input

SELF_TEST = 100  # examples

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CModel:
    """A network of C with the text of its files.

    Attributes:
        form: how weights of integers are stored, one of `lcomp.c.FORMS`.
        title: the first line of each file.
        tested, expected: inputs of the self-test as the C takes them, (N, rows, columns, channels), and what is to be
            answered.
        arena: bytes that memory of integers is to be within; None where there is no limit.
    """

    network: CNetwork
    form: str
    title: str
    tested: NDArray[np.generic]
    expected: NDArray[np.generic]
    arena: int | None = None

    @cached_property
    def source(self) -> Source:
        if self.network.is_integer:
            return IntegerSource(self.network, self.form, self.arena)
        if self.arena is not None:
            raise UserError("arena: networks of floats are not carried out strip by strip; arithmetic=integer is")
        return FloatSource(self.network)

    def within(self, arena: int) -> CModel:
        """The same in so many bytes, strip by strip, where that can be; else as it is, and a line in the log."""
        less = replace(self, arena=arena)
        try:
            less.source  # noqa: B018 - what does not fit is refused here
        except UserError as error:
            log.warning("runtime.arena=%s is left out: %s", arena, error)
            return self
        return less

    @cached_property
    def writing(self) -> Writing:
        return Writing(self.source, self.title, self.tested, self.expected)

    @property
    def files(self) -> dict[str, str]:
        """The text of each file of a folder that `make` builds, by name."""
        return self.writing.files

    @property
    def whole(self) -> str:
        """The model in one file: its header, its weights and its code."""
        return whole_text(self.files)

    def write(self, folder: Path, layout: str = MAKE) -> None:
        """Writes every file, each whole or not at all; see `lcomp.c.layouts`."""
        for name, content in laid_out(layout, self.writing).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            write_atomically(folder / name, content)


def make_model(
    path: Path,
    examples: NDArray[np.float32] | None = None,
    form: str = PLAIN,
    arithmetic: str = AUTO,
    arena: int | None = None,
) -> CModel:
    """The C of an artifact, `.onnx` or `.lcomp`.

    Args:
        examples: (N, channels, rows, columns) in [0, 1]; ranges of activations are found with them where the artifact
            has none, and the first of them are those of the self-test, random ones where None.
        form: how weights of integers are stored, one of `lcomp.c.FORMS`.
        arithmetic: one of `lcomp.c.ARITHMETICS`; `auto` is integers where the artifact has any.
        arena: see `CModel`.

    Raises:
        UserError: an operator or a setting that there is no C for, before anything is written.
    """
    network = packed.load(path) if path.suffix == packed.SUFFIX else from_onnx(path)
    if network.reads_sentences:
        raise UserError(f"{path}: has no C: a network that reads sentences; docs/c.md lists what has")
    shape = (SELF_TEST, *network.input_shape)
    shown = np.random.default_rng(0).random(shape, np.float32) if examples is None else examples[:SELF_TEST]
    title = f"{path.name} as C, by lcomp"
    try:
        if not is_integer(network, arithmetic):
            layers = Lowering(network).layers
            expected = asked(network, torch.from_numpy(shown))
            made = CModel(cropped(float_network(layers)), form, title, as_rows(shown), expected, arena)
        else:
            integers, tested = integer_network(network, examples), as_bytes(as_rows(shown))
            made = CModel(integers, form, title, tested, reference.answer(integers, tested), arena)
        made.files  # noqa: B018 - whatever cannot be written is refused here
    except UserError as error:
        raise UserError(f"{path}: has no C: {error}; docs/c.md lists what has") from None
    return made


def is_integer(network: Network, arithmetic: str) -> bool:
    """Whether the C computes with integers."""
    validate_choice("arithmetic", arithmetic, ARITHMETICS)
    return arithmetic == INTEGER or (
        arithmetic == AUTO and any(isinstance(module, CodedWeight | Input) for module in network.modules())
    )


def integer_network(network: Network, examples: NDArray[np.float32] | None) -> CNetwork:
    layers = Lowering(network).layers
    find_grids(network, layers, examples)
    return cropped(Assembly(layers).network())


@torch.no_grad()
def asked(network: Network, examples: Tensor) -> NDArray[np.float32]:
    answers: NDArray[np.float32] = network(examples).numpy()
    return answers


def as_rows(examples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Examples (N, channels, rows, columns) as C has them."""
    return np.ascontiguousarray(examples.transpose(0, 2, 3, 1))
