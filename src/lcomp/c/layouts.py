"""How a network of C lies in a folder: by itself, as a library of Arduino's, or as a page for a browser."""

from __future__ import annotations

import base64

from lcomp.c import ARDUINO, MAKE, WASM
from lcomp.c.compiling import WASM_COMMAND, wasm_module
from lcomp.c.text import bytes_of
from lcomp.c.writing import Writing
from lcomp.errors import UserError

SKETCH = "examples/self_test"
SKETCH_EXAMPLES = 10  # of the self-test, which lie in the board's flash


def laid_out(layout: str, writing: Writing) -> dict[str, bytes]:
    """Every file of a folder, by its path in there.

    Args:
        layout: one of `lcomp.c.LAYOUTS`.

    Raises:
        UserError: there is no page for such inputs, or no compiler for it.
    """
    of = {MAKE: lambda one: one.files, ARDUINO: library, WASM: page_files}
    made = of[layout](writing)
    return {name: text.encode() if isinstance(text, str) else text for name, text in made.items()}


def library(writing: Writing) -> dict[str, str]:
    """A library, and a sketch that tests it."""
    sketch = {"self_test.ino": writing.text("self_test.ino")} | writing.examples(SKETCH_EXAMPLES)
    made = {f"src/{name}": text for name, text in writing.model.items()}
    made |= {f"{SKETCH}/{name}": text for name, text in sketch.items()}
    return made | {"library.properties": writing.text("library.properties")}


def page_files(writing: Writing) -> dict[str, str | bytes]:
    """A page that holds the compiled module, the module, and what that is made of."""
    rows, columns, channels = writing.source.network.values[0].shape
    if channels != 1 or min(rows, columns) == 1:
        raise UserError(f"--layout wasm: its page draws in one colour; this network takes {rows}x{columns}x{channels}")
    code = writing.model | {"wasm.c": writing.text("wasm.c", command=" ".join(WASM_COMMAND))}
    module = wasm_module(code)
    return {**code, "model.wasm": module, "index.html": page(writing, module)}


def page(writing: Writing, module: bytes) -> str:
    """The page that holds a compiled module."""
    return writing.text(
        "page.html",
        module=base64.b64encode(module).decode(),
        module_bytes=len(module),
        constant_bytes=sum(map(bytes_of, writing.source.arrays())),
    )
