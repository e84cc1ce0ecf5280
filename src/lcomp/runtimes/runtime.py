"""What an engine is to lcomp."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from lcomp.errors import UserError, missing_package
from lcomp.export import space_to_depth
from lcomp.record.files import write_atomically
from lcomp.tasks.split import Arrays

Session = Callable[[Arrays], NDArray[np.float32]]  # the task's inputs (N, ...) by name to its outputs (N, output_size)


class Runtime(ABC):
    """An engine: what it deploys, and how that is run.

    Attributes:
        packages: distributions that it is made of; a record names their versions.
        space_to_depth: whether what it deploys was rewritten as `lcomp.export.space_to_depth` describes.
    """

    packages: ClassVar[tuple[str, ...]]
    space_to_depth = False

    def versions(self) -> dict[str, str]:
        """Of its packages.

        Raises:
            UserError: one is not installed.
        """
        try:
            return {package: version(package) for package in self.packages}
        except PackageNotFoundError as error:
            name = type(self).__name__.lower()
            raise UserError(missing_package(name, f"runtime={name}")) from error

    def setting(self) -> dict[str, str | bool]:
        """What figures of an artifact depend on."""
        return {**self.versions(), "space_to_depth": self.space_to_depth}

    def see(self, validation: Arrays) -> None:  # noqa: B027 - most engines need none
        """Is shown validation examples, before it is asked for a file that may be made with them."""

    def figures(self, artifact: Path) -> dict[str, float]:
        """What this engine alone measures of an artifact, by name."""
        return {}

    def file(self, artifact: Path) -> Path:
        """The file that this engine deploys: the ONNX `artifact` itself."""
        return artifact

    @abstractmethod
    def session(self, path: Path) -> Session:
        """That file, ready to answer examples on one CPU thread."""

    def session_for_many(self, path: Path) -> Session:
        """The same answers to the bit, from what answers many examples sooner."""
        return self.session(path)


class Converting(Runtime):
    """An engine that deploys a file of its own, beside the ONNX artifact.

    Attributes:
        suffix: of that file.
    """

    suffix: str

    def file(self, artifact: Path) -> Path:
        """The engine's own file, made unless it is there already.

        Raises:
            UserError: the artifact has an operator that the engine, or the way there, does not know.
        """
        path = artifact.with_suffix(self.suffix)
        if not (path.exists() and path.stat().st_mtime_ns >= artifact.stat().st_mtime_ns):
            self.convert(artifact, path)
        return path

    @abstractmethod
    def convert(self, artifact: Path, path: Path) -> None:
        """Writes the engine's own file, whole or not at all."""


class ReadsONNX(Converting):
    """An engine that deploys the ONNX artifact as it is, or rewritten.

    Args:
        space_to_depth: deploy what `lcomp.export.space_to_depth` makes of it.
    """

    suffix = ".space_to_depth.onnx"

    def __init__(self, space_to_depth: bool = False):
        self.space_to_depth = space_to_depth

    def file(self, artifact: Path) -> Path:
        return super().file(artifact) if self.space_to_depth else artifact

    def convert(self, artifact: Path, path: Path) -> None:
        write_atomically(path, space_to_depth.rewritten(artifact).SerializeToString(deterministic=True))
