"""The folder of C that a network becomes."""

from __future__ import annotations

import re
from collections.abc import Mapping
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
FILES = (
    *("model.h", "weights.h", "weights.c", "examples.h", "examples.c", "test.c", "demo.c"),
    *("Makefile", "CMakeLists.txt"),
)
TOLERANCE = 1e-5  # of outputs of floats, of the largest, or of 1
INCLUDE = re.compile(r'^#include "\w+\.h"\n', re.MULTILINE)


def file_texts(source: Source, title: str, inputs: NDArray[np.generic], outputs: NDArray[np.generic]) -> dict[str, str]:
    """The text of every file, by name.

    Args:
        title: the first line of each file's comment.
        inputs, outputs: of the self-test, (N, ...).
    """
    network = source.network
    settings = source.settings() | {
        "title": title,
        "input": network.values[0].shape,
        "outputs": network.values[-1].shape[2],
        "output_scale": f"{network.output_scale:.9e}",
        "tolerance": float_text(tolerance(outputs)).removesuffix("f"),
        "examples": len(inputs),
        "example_inputs": rows_of(source, inputs),
        "example_outputs": rows_of(source, outputs),
    }
    made = {name: TEMPLATES.get_template(f"{name}.j2").render(settings) for name in FILES}
    return made | {"model.c": TEMPLATES.get_template(f"{source.template}.j2").render(settings)}


def whole_text(files: Mapping[str, str]) -> str:
    """The model in one file."""
    parts = [files[name] for name in ("model.h", "weights.h", "weights.c", "model.c")]
    return "".join(INCLUDE.sub("", part) for part in parts)


def tolerance(outputs: NDArray[np.generic]) -> float:
    """By how much outputs of floats may differ from the reference's."""
    return TOLERANCE * max(1.0, float(np.abs(outputs.astype(np.float64)).max(initial=0.0)))


def rows_of(source: Source, array: NDArray[np.generic]) -> list[list[str]]:
    return [array_text("", "", source.numbers(row), "")["lines"] for row in array.reshape(len(array), -1)]
