"""The folder of C that a network becomes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from numpy.typing import NDArray

from lcomp.c.functions import float_text
from lcomp.c.source import Source
from lcomp.c.text import array_text

TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
BUILDING = ("test.c", "demo.c", "Makefile", "CMakeLists.txt")
TOLERANCE = 1e-5  # of outputs of floats, of the largest, or of 1
INCLUDE = re.compile(r'^#include "\w+\.h"\n', re.MULTILINE)


class Writing:
    """The text of a network's files.

    Args:
        title: the first line of each file's comment.
        inputs, outputs: of the self-test, (N, ...).
    """

    def __init__(self, source: Source, title: str, inputs: NDArray[np.generic], outputs: NDArray[np.generic]):
        self.source, self.inputs, self.outputs = source, inputs, outputs
        network = source.network
        self.settings = source.settings() | {
            "title": title,
            "input": network.values[0].shape,
            "outputs": network.values[-1].shape[2],
            "output_scale": f"{network.output_scale:.9e}",
            "tolerance": float_text(tolerance(outputs)).removesuffix("f"),
        }

    def text(self, template: str, **further: object) -> str:
        return TEMPLATES.get_template(f"{template}.j2").render(self.settings | further)

    def examples(self, count: int | None = None) -> dict[str, str]:
        """The files of the first `count` examples, or of all."""
        rows = {
            "example_inputs": rows_of(self.source, self.inputs[:count]),
            "example_outputs": rows_of(self.source, self.outputs[:count]),
        }
        shown = len(rows["example_inputs"])
        return {name: self.text(name, examples=shown, **rows) for name in ("examples.h", "examples.c")}

    @cached_property
    def model(self) -> dict[str, str]:
        """The files of the model by itself."""
        made = {name: self.text(name) for name in ("model.h", "weights.h", "weights.c")}
        return made | {"model.c": self.text(self.source.template)}

    @cached_property
    def files(self) -> dict[str, str]:
        """Every file of a folder that `make` builds, by name."""
        return self.model | self.examples() | {name: self.text(name) for name in BUILDING}


def whole_text(files: Mapping[str, str]) -> str:
    """The model in one file."""
    parts = [files[name] for name in ("model.h", "weights.h", "weights.c", "model.c")]
    return "".join(INCLUDE.sub("", part) for part in parts)


def tolerance(outputs: NDArray[np.generic]) -> float:
    """By how much outputs of floats may differ from the reference's."""
    return TOLERANCE * max(1.0, float(np.abs(outputs.astype(np.float64)).max(initial=0.0)))


def rows_of(source: Source, array: NDArray[np.generic]) -> list[list[str]]:
    return [array_text("", "", source.numbers(row), "")["lines"] for row in array.reshape(len(array), -1)]
