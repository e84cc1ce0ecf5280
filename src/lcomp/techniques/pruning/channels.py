"""Channels that can only go together, by torch-pruning's dependency graph (Fang et al. 2023), and their removal."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from typing import Any

import torch
import torch_pruning
from torch import Tensor, nn
from torch.nn.utils import parametrize

from lcomp.errors import UserError
from lcomp.techniques.technique import layers

PER_CHANNEL = (nn.BatchNorm1d, nn.BatchNorm2d, nn.PReLU)  # what may stand between a filter and its readers
TOLERANCE = 1e-4  # of the trial's logits, relative to the largest


@dataclass(frozen=True)
class Place:
    """Where a group's channels lie in one module.

    Args:
        module: its name in the network.
        positions: (k,) indices along the module's outputs or inputs.
        channels: (k,) the group's channel at each of them; a flattened channel has several.
        remove: takes positions out of the module, in place.
    """

    module: str
    positions: Tensor
    channels: Tensor
    remove: Callable[[nn.Module, list[int]], Any]


@dataclass
class Channels:
    """A group of channels: one can go only where it goes in all of these places.

    Args:
        size: how many channels there are.
        filters: the layers whose outputs they are, more than one where a residual stream or a product ties them.
        readers: the layers whose inputs they are.
        others: batch norms and the like.
    """

    size: int
    filters: list[Place] = field(default_factory=list)
    readers: list[Place] = field(default_factory=list)
    others: list[Place] = field(default_factory=list)


def find(network: nn.Module, example: Tensor, exclude: Sequence[str] = ()) -> tuple[list[Channels], list[str]]:
    """The groups of `network`, less those that hold its outputs, an excluded layer, or a module that mixes channels
    (a grouped convolution, a layer norm); and the names of the layers that such modules keep whole.

    Args:
        network: may carry parametrizations and hooks; it is not changed.
        example: an image as a batch (1, C, H, W).
        exclude: names of layers whose outputs stay.

    Raises:
        UserError: the network cannot be traced, or would compute something else without a channel than with it zeroed.
    """
    bare = plain(network)
    names = {module: name for name, module in bare.named_modules()}
    graph = torch_pruning.DependencyGraph()
    found, whole = [], []
    try:
        with torch.enable_grad():
            graph.build_dependency(bare, example, verbose=False)
            traced = list(graph.get_all_groups())
    except Exception as error:  # whatever torch-pruning or a user's forward raises
        raise UserError(f"prune=filter: {type(network).__name__} cannot be traced ({first_line(error)})") from error
    for items in traced:
        group = Channels(len(items[0].idxs))
        others = [collect(group, item, names) for item in items]
        filters = [place.module for place in group.filters]
        if any(is_output(item.dep) for item in items) or any(fnmatch(f, p) for f in filters for p in exclude):
            continue
        if all(others):
            found.append(group)
        else:
            whole += filters
    check(bare, example, found)
    return found, whole


def plain(network: nn.Module) -> nn.Module:
    """A copy without parametrizations and hooks, neither of which torch-pruning sees through; all of it learns."""
    bare = copy.deepcopy(network).cpu().eval().requires_grad_(True)
    for module in bare.modules():
        module._forward_pre_hooks.clear()
        module._forward_hooks.clear()
        if parametrize.is_parametrized(
            module
        ):  # remove_parametrizations would undo the original's class, which is shared
            assert isinstance(module.parametrizations, nn.ModuleDict)
            values = {name: getattr(module, name).detach().clone() for name in module.parametrizations}
            module.__class__ = type(module).__bases__[0]
            del module.parametrizations
            for name, value in values.items():
                module.register_parameter(name, nn.Parameter(value))
    return bare


def collect(group: Channels, item: Any, names: dict[nn.Module, str]) -> bool:
    """Adds an item of torch-pruning's to `group`; false where it mixes channels."""
    module = item.dep.target.module
    if module not in names:  # an operation: an addition, a concatenation, a flattening; a parameter is none
        return isinstance(module, nn.Module)
    place = Place(names[module], torch.tensor(item.idxs), torch.tensor(item.root_idxs), item.dep.handler)
    if isinstance(module, PER_CHANNEL):
        group.others.append(place)
    elif isinstance(module, nn.Conv2d | nn.Linear):
        groups = getattr(module, "groups", 1)
        reads = item.dep.handler in (torch_pruning.prune_conv_in_channels, torch_pruning.prune_linear_in_channels)
        (group.readers if reads else group.filters).append(place)
        return groups == 1 or is_depthwise(module)
    else:
        return False
    return True


def is_depthwise(layer: nn.Module) -> bool:
    """Whether every filter reads the one channel of its own number."""
    return isinstance(layer, nn.Conv2d) and 1 < layer.groups == layer.in_channels == layer.out_channels


def is_output(dependency: Any) -> bool:
    """Whether the network gives these channels to nobody but its caller."""
    reads = (torch_pruning.prune_conv_in_channels, torch_pruning.prune_linear_in_channels)
    return not dependency.target.outputs and dependency.handler not in reads


def cut(network: nn.Module, groups: Sequence[Channels], kept: Sequence[Tensor]) -> None:
    """Takes channels out of a plain `network`, in place.

    Args:
        kept: for each group a boolean tensor (size,); false takes a channel away.
    """
    gone: dict[Any, set[int]] = defaultdict(set)
    for group, keeps in zip(groups, kept, strict=True):
        for place in (*group.filters, *group.readers, *group.others):
            gone[place.module, place.remove] |= set(place.positions[~keeps.cpu()[place.channels]].tolist())
    for (name, remove), positions in gone.items():
        if positions:
            remove(network.get_submodule(name), sorted(positions))


def close(masks: dict[str, Tensor], group: Channels, kept: Tensor) -> None:
    """Makes the masks of layers, by name, false where the group's channels that are not kept leave a layer and where
    they enter the next, in place: what lies between (a bias, a batch norm, an activation) no longer matters."""
    for place in group.filters:
        masks[place.module][place.positions[~kept.cpu()[place.channels]]] = False
    for place in group.readers:
        masks[place.module][:, place.positions[~kept.cpu()[place.channels]]] = False


@torch.no_grad()
def check(bare: nn.Module, example: Tensor, groups: Sequence[Channels]) -> None:
    """Tries it out: without every second channel, `bare` must compute what it computes with these zeroed.

    Raises:
        UserError: it does not.
    """
    masked, smaller = copy.deepcopy(bare), copy.deepcopy(bare)
    kept = [torch.arange(group.size) % 2 == 0 for group in groups]
    masks = {name: torch.ones_like(layer.weight, dtype=torch.bool) for name, layer in layers(masked)}
    advice = "name the layers whose filters must stay in prune.exclude"
    try:
        for group, keeps in zip(groups, kept, strict=True):
            close(masks, group, keeps)
        for name, layer in layers(masked):
            layer.weight.mul_(masks[name])
        cut(smaller, groups, kept)
        expected, seen = masked(example.cpu()), smaller(example.cpu())
    except Exception as error:
        raise UserError(
            f"prune=filter: {type(bare).__name__} fails without a filter ({first_line(error)}); {advice}"
        ) from error
    difference = (expected - seen).abs().max() if expected.shape == seen.shape else torch.inf
    if not difference <= TOLERANCE * expected.abs().max().clamp(min=1):
        raise UserError(f"prune=filter: {type(bare).__name__} mixes channels outside of its layers; {advice}")


def first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:160]
