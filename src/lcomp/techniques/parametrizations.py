"""Parametrizations on a layer's weight: those that a network came with, and above them those of techniques."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from lcomp.techniques import inspection

P = TypeVar("P", bound=nn.Module)


class Parametrization(nn.Module):
    """Base of what techniques register on a weight, above whatever the network came with."""


def chain(layer: nn.Module) -> list[nn.Module]:
    """The parametrizations on the layer's weight, in the order in which they apply."""
    if not parametrize.is_parametrized(layer, "weight"):
        return []
    assert isinstance(layer.parametrizations, nn.ModuleDict)
    return list(layer.parametrizations["weight"].children())


def parametrization(layer: nn.Module, kind: type[P]) -> P | None:
    """The parametrization of that kind on the layer's weight."""
    return next((entry for entry in chain(layer) if isinstance(entry, kind)), None)


def original_weight(layer: nn.Module) -> Tensor:
    """The layer's weight beneath its parametrizations: what the optimizer moves."""
    weight = layer.weight
    if parametrize.is_parametrized(layer, "weight"):
        assert isinstance(layer.parametrizations, nn.ModuleDict)
        weight = layer.parametrizations["weight"].original
    assert isinstance(weight, Tensor)
    return weight


def weight_before(layer: nn.Module, kind: type[nn.Module]) -> Tensor:
    """The weight as the first parametrization of that kind is given it; the weight in force, where there is none."""
    weights, entries = inspection.stored_tensors(layer), chain(layer)
    with inspection.evaluation_mode(
        nn.ModuleList(entries)
    ):  # a parametrization of the user's own may learn when it is asked
        for entry in entries:
            if isinstance(entry, kind):
                break
            weights = [entry(*weights)]
    return weights[0]


@torch.no_grad()
def bake(layer: nn.Module, kind: type[nn.Module]) -> None:
    """Makes the parametrization of that kind, and those beneath it, permanent: the weight then is what they gave; those
    above it stay."""
    entries = chain(layer)
    last = next(number for number, entry in enumerate(entries) if isinstance(entry, kind))
    remove_all(layer, entries[last](weight_before(layer, kind)))
    for entry in entries[last + 1 :]:
        parametrize.register_parametrization(layer, "weight", entry, unsafe=True)


@torch.no_grad()
def remove_all(layer: nn.Module, weight: Tensor) -> None:
    """Takes every parametrization off the layer's weight, and gives it the values of `weight`; it stays the parameter
    that it was, so that layers still share it, where it was one."""
    values = weight.detach().clone()
    parametrize.remove_parametrizations(layer, "weight", leave_parametrized=len(inspection.stored_tensors(layer)) > 1)
    if "weight" in layer._buffers:  # what torch makes of several parameters, such as a direction and a norm
        del layer._buffers["weight"]
        layer.weight = nn.Parameter(values)
    assert isinstance(layer.weight, Tensor)
    layer.weight.copy_(values)


def independent_copy(network: nn.Module) -> nn.Module:
    """A copy from which parametrizations can be removed: torch takes them off a class that other copies share."""
    duplicate = copy.deepcopy(network)
    for module in duplicate.modules():
        if parametrize.is_parametrized(module):
            kind = type(module)
            module.__class__ = type(kind.__name__, kind.__bases__, dict(kind.__dict__))
    return duplicate
