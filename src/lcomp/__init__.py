"""lcomp: the compression of neural networks, measured honestly."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from lcomp.config.renamed import former_module
from lcomp.errors import UserError

if TYPE_CHECKING:
    __version__: str
    from lcomp.api import Run, RunFailed, Search, Sweep, export, load, report, results, run, search, sweep

__all__ = [
    "Run",
    "RunFailed",
    "Search",
    "Sweep",
    "UserError",
    "__version__",
    "export",
    "load",
    "report",
    "results",
    "run",
    "search",
    "sweep",
]


class Room(ModuleType):
    """A module with the name of a function: `lcomp.report(folder)` calls that, `lcomp.report.page` is in the module."""

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        return getattr(importlib.import_module("lcomp.api"), self.__name__.rpartition(".")[2])(*arguments, **keywords)


class House(ModuleType):
    """The package: its functions wait in `lcomp.api` until they are asked for; importing a module of the same name
    takes none of them away."""

    def __getattr__(self, name: str) -> Any:
        if name == "__version__":
            from importlib.metadata import version  # brings the parsing of e-mails along

            return version("lcomp")
        return getattr(importlib.import_module("lcomp.api"), name) if name in __all__ else former_module(name)

    def __setattr__(self, name: str, value: object) -> None:
        if name in __all__ and isinstance(value, ModuleType):
            value.__class__ = Room
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = House
