"""C for microcontrollers: what `lcomp c` writes, compiled for this machine to be asked, and for a small one to be
measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lcomp.c import ARITHMETICS, AUTO, FORMS, PLAIN, compiling
from lcomp.c.model import CModel, make_model
from lcomp.errors import UserError, validate_choice
from lcomp.record.files import write_atomically
from lcomp.runtimes.runtime import Converting, Session
from lcomp.tasks.split import Arrays

EXAMPLES = 2_000  # of the validation split, with which ranges of activations are found where the artifact has none


class C(Converting):
    """Deploys the artifact as C, all of it in one file.

    Args:
        weights: how flash holds them, see `lcomp.c.weights`.
        arithmetic: of integers or of floats; `auto` is integers where the artifact has any.
        arena: bytes that values of integers are to be within, strip by strip; what cannot be is as it is without.
    """

    packages = ()

    def __init__(self, weights: str = PLAIN, arithmetic: str = AUTO, arena: int | None = None):
        validate_choice("runtime.weights", weights, FORMS)
        validate_choice("runtime.arithmetic", arithmetic, ARITHMETICS)
        self.weights, self.arithmetic, self.arena = weights, arithmetic, arena
        self.suffix = f".{arithmetic}.{weights}.c" if arena is None else f".{arithmetic}.{weights}.{arena}.c"
        self.examples: NDArray[np.float32] | None = None
        self.models: dict[Path, CModel] = {}

    def versions(self) -> dict[str, str]:
        names = {compiling.host(), compiling.smallest_target().compiler}
        return {name: compiling.version(name) for name in sorted(names)}

    def setting(self) -> dict[str, str | bool]:
        setting = super().setting() | {"weights": self.weights, "arithmetic": self.arithmetic}
        return setting if self.arena is None else setting | {"arena": str(self.arena)}

    def see(self, validation: Arrays) -> None:
        if len(validation) != 1:
            raise UserError(f"runtime=c: no C of a network of several inputs ({', '.join(validation)})")
        [examples] = validation.values()
        self.examples = examples[:EXAMPLES]

    def convert(self, artifact: Path, path: Path) -> None:
        write_atomically(path, self.model(artifact).whole.encode())

    def model(self, artifact: Path) -> CModel:
        if artifact not in self.models:
            whole = make_model(artifact, self.examples, self.weights, self.arithmetic)
            self.models[artifact] = whole if self.arena is None else whole.within(self.arena)
        return self.models[artifact]

    def session(self, path: Path) -> Session:
        library = compiling.Library(path.read_text())

        def answer(inputs: Arrays) -> NDArray[np.float32]:
            [examples] = inputs.values()
            return library.logits(examples)

        return answer

    def figures(self, artifact: Path) -> dict[str, float]:
        taken = compiling.footprint(self.model(artifact).whole, compiling.smallest_target())
        return {"flash_bytes": taken.flash, "ram_bytes": taken.ram}
