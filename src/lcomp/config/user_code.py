"""Which code a class of the user's own depends on: the modules that it reaches by its imports."""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import importlib.util
import inspect
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

LIBRARIES = tuple(sysconfig.get_path(name) for name in ("stdlib", "platstdlib"))
INSTALLED = {"site-packages", "dist-packages"}


def reachable_code(targets: Mapping[str, Callable[..., Any]]) -> dict[str, str]:
    """The SHA-256 of each of the user's modules that `targets` (by their dotted paths) reach, and what identifies each
    installed package.

    The imports in a module's source are followed, wherever they stand, then those of what it imports; an import whose
    name is computed is not seen. An installed package is known by its version; one that holds a target, also by the
    hashes of its files as they were installed.
    """
    hashes: dict[str, str] = {}
    packages: dict[str, str] = {}
    homes = [name for target, target_object in targets.items() for name in home_modules(target, target_object)]
    waiting, named = list(homes), {name.partition(".")[0] for name in homes}
    while waiting:
        name = waiting.pop()
        top = name.partition(".")[0]
        if name in hashes or top in packages or top == "lcomp":
            continue
        spec = find_spec(name)
        path = Path(spec.origin) if spec and spec.origin else None
        if is_installed(top):
            packages[top] = installed_identity(top, files=top in named)
        elif path is not None and path.is_file() and not str(path).startswith(LIBRARIES):
            hashes[name] = hashlib.sha256(path.read_bytes()).hexdigest()
            waiting += [*parent_packages(name), *(imports(path, name) if path.suffix == ".py" else ())]
    return hashes | {f"{name} (installed)": version for name, version in packages.items()}


def home_modules(target: str, target_object: Any) -> Iterable[str]:
    """The module that `target` names, and the one that defines what stands there."""
    named = [name for name in parent_packages(target) if find_spec(name) is not None][-1:]
    defining = getattr(inspect.unwrap(target_object), "__module__", None)
    return dict.fromkeys([*named, *([defining] if defining else [])])


def parent_packages(name: str) -> list[str]:
    """The packages around a module, from the outermost; their own code runs before its."""
    parts = name.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts))]


def find_spec(name: str) -> ModuleSpec | None:
    """Where a module is, found without running anything; None where it is not."""
    loaded = getattr(sys.modules.get(name), "__spec__", None)
    if isinstance(loaded, ModuleSpec):
        return loaded
    outer, _, _ = name.rpartition(".")
    if not outer:
        try:
            return importlib.util.find_spec(name)
        except ValueError:  # a module of the process that was not imported, such as __main__
            return None
    around = find_spec(outer)
    if around is None or around.submodule_search_locations is None:
        return None
    return PathFinder.find_spec(name, list(around.submodule_search_locations))


def imports(path: Path, module: str) -> Iterator[str]:
    """The absolute names of what a file imports; of `from a import b` a, and a.b where that is a module."""
    package = (module if path.name == "__init__.py" else module.rpartition(".")[0]).split(".")
    try:
        tree = ast.parse(path.read_bytes())
    except SyntaxError:  # for another Python, behind a condition
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            outer = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*outer, *([node.module] if node.module else [])])
            yield base
            if not is_installed(base.partition(".")[0]):
                yield from (f"{base}.{alias.name}" for alias in node.names if find_spec(f"{base}.{alias.name}"))
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if called in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                yield node.args[0].value


def is_installed(package: str) -> bool:
    """Whether a package lies where installers put them, and one of them knows it."""
    spec = find_spec(package)
    locations = [spec.origin or "", *(spec.submodule_search_locations or ())] if spec else []
    return any(INSTALLED & set(Path(location).parts) for location in locations) and package in distributions()


@cache
def distributions() -> Mapping[str, list[str]]:
    """The distributions that bring each package."""
    return importlib.metadata.packages_distributions()


def installed_identity(package: str, files: bool) -> str:
    """What identifies an installed package: its version, and with `files` the hashes of its files."""
    installed = [importlib.metadata.distribution(name) for name in sorted(set(distributions()[package]))]
    identity = [
        [distribution.metadata["Name"], distribution.version, *([distribution.read_text("RECORD")] if files else [])]
        for distribution in installed
    ]
    return hashlib.sha256(repr(identity).encode()).hexdigest()
