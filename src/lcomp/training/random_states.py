"""The states of whatever draws at random in a fit, so that one that goes on draws what it would have drawn."""

from __future__ import annotations

import functools
import json
import logging
import random
import sys
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NotRequired, TypedDict

import numpy as np
import torch
from numpy.random import Generator, RandomState
from torch import Tensor, nn

log = logging.getLogger(__name__)
MOST = 20_000  # objects that are looked at
LONGEST = 1_000  # entries of a list that may hold a generator
LIBRARIES = {"builtins", "random", "numpy", "torch", "torchvision", "pytorch_lightning", "lightning_fabric", "lcomp"}
LEAVES = (
    *(str, bytes, bytearray, int, float, complex, type(None), Tensor, np.ndarray, np.generic, nn.Module),
    *(type, types.ModuleType, types.BuiltinFunctionType),
)

Own = torch.Generator | Generator | RandomState | random.Random


class States(TypedDict):
    """Of Python and NumPy, as JSON; of torch and its GPUs; of the loaders' own generators, by path."""

    host: str
    torch: Tensor
    own: dict[str, Tensor | str]
    cuda: NotRequired[list[Tensor]]


def capture(loaders: Sequence[Any]) -> States:
    """The global states of Python, NumPy, torch and its GPUs, and those of the loaders' own generators."""
    own = {path: own_state(one) for path, one in own_generators(loaders)}
    host = {"python": random.getstate(), "numpy": plain(np.random.get_state(legacy=False))}
    states: States = {"host": json.dumps(host), "torch": torch.get_rng_state(), "own": own}
    if torch.cuda.is_initialized():
        states["cuda"] = torch.cuda.get_rng_state_all()
    return states


def restore(states: States, loaders: Sequence[Any]) -> None:
    """Sets them; says which generators of the loaders' own are there no more."""
    host = json.loads(states["host"])
    random.setstate(as_python_state(host["python"]))
    np.random.set_state(host["numpy"])
    torch.set_rng_state(states["torch"])
    if "cuda" in states and torch.cuda.is_initialized():
        torch.cuda.set_rng_state_all(states["cuda"])
    found = dict(own_generators(loaders))
    for path, state in states["own"].items():
        if path in found:
            set_own_state(found[path], state)
        else:
            log.warning("%s: a generator of the loader's that is not there any more; it may draw otherwise", path)


def remember(data: Any) -> None:
    """Keeps with the data the states of their own generators, for `begin_anew`."""
    data._first_states = {path: own_state(one) for path, one in own_generators([data])}


def begin_anew(data: Any) -> None:
    """Has the data's own generators draw what they drew first, whatever was read meanwhile: a fit is the same whether
    this process trained the baseline before it or not."""
    states = getattr(data, "_first_states", None) or {}
    for path, one in own_generators([data]) if states else ():
        if path in states:
            set_own_state(one, states[path])


def own_state(one: Own) -> Tensor | str:
    if isinstance(one, torch.Generator):
        return one.get_state()
    if isinstance(one, random.Random):
        return json.dumps(one.getstate())
    return json.dumps(plain(one.get_state(legacy=False) if isinstance(one, RandomState) else one.bit_generator.state))


def set_own_state(one: Own, state: Tensor | str) -> None:
    if isinstance(one, torch.Generator):
        assert isinstance(state, Tensor)
        one.set_state(state)
        return
    assert isinstance(state, str)
    value = json.loads(state)
    if isinstance(one, random.Random):
        one.setstate(as_python_state(value))
    elif isinstance(one, RandomState):
        one.set_state(value)
    else:
        one.bit_generator.state = value


def as_python_state(value: Sequence[Any]) -> tuple[Any, ...]:
    version, numbers, gauss = value
    return version, tuple(numbers), gauss


def plain(value: Any) -> Any:
    """A state of NumPy's with lists for arrays, which it takes as well."""
    if isinstance(value, Mapping):
        return {key: plain(one) for key, one in value.items()}
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def own_generators(roots: Sequence[Any]) -> Iterator[tuple[str, Own]]:
    """The generators that loaders, their samplers and data sets hold, and the modules of their classes, with the path
    of attributes that leads to each; objects in their order, each once, containers of a bounded length."""
    waiting: list[tuple[str, Any]] = [(str(number), root) for number, root in reversed([*enumerate(roots)])]
    seen: set[int] = set()
    kept: list[Any] = []  # alive, so that no id is given twice
    while waiting and len(seen) < MOST:
        path, one = waiting.pop()
        if isinstance(one, LEAVES) or id(one) in seen:
            continue
        seen.add(id(one))
        kept.append(one)
        if isinstance(one, torch.Generator | Generator | RandomState | random.Random):
            if not isinstance(one, random.SystemRandom):
                yield path, one
        else:
            waiting += [(f"{path}.{name}", part) for name, part in reversed(parts(one))]


def parts(one: Any) -> list[tuple[str, Any]]:
    """What an object holds, by name."""
    if isinstance(one, Mapping):
        return [(str(key), value) for key, value in one.items()] if len(one) <= LONGEST else []
    if isinstance(one, list | tuple):
        return [(str(number), value) for number, value in enumerate(one)] if len(one) <= LONGEST else []
    if isinstance(one, functools.partial):
        return [("func", one.func), ("args", one.args), ("keywords", one.keywords)]
    if isinstance(one, types.MethodType):
        return [("self", one.__self__)]
    if isinstance(one, types.FunctionType):
        cells = zip(one.__code__.co_freevars, one.__closure__ or (), strict=True)
        return [*module_generators(one.__module__), *((name, cell) for name, cell in cells)]
    if isinstance(one, types.CellType):
        return [("contents", one.cell_contents)] if one != types.CellType() else []
    return [*module_generators(type(one).__module__), *getattr(one, "__dict__", {}).items()]


def module_generators(name: str) -> list[tuple[str, Any]]:
    """The generators that a user's module holds."""
    if name.partition(".")[0] in LIBRARIES:
        return []
    held = vars(sys.modules[name]) if name in sys.modules else {}
    return [(f"{name}.{key}", one) for key, one in held.items() if isinstance(one, Own)]
