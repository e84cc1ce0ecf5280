"""Which channels can only go together, by torch-pruning's dependency graph (Fang et al. 2023)."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from lcomp.errors import UserError
from lcomp.record.interruption import raise_machine_error
from lcomp.techniques.example import Example, arguments, first
from lcomp.techniques.inspection import Hook
from lcomp.techniques.pruning.channel_removal import ChannelRemoval, first_line, repeatable
from lcomp.techniques.pruning.groups import (
    ChannelGroup,
    ChannelSlice,
    Shared,
    clusters,
    in_blocks,
    layers_by_weight,
    merge_groups,
)
from lcomp.techniques.pruning.padded_channels import Padding, followable
from lcomp.techniques.technique import fits, layers

if TYPE_CHECKING:
    import torch_pruning

PER_CHANNEL = (nn.BatchNorm1d, nn.BatchNorm2d, nn.PReLU)  # what may stand between a filter and its readers


def find_groups(
    network: nn.Module, example: Example, exclude: Sequence[str] = ()
) -> tuple[list[ChannelGroup], list[str]]:
    """The groups of `network`, less those that hold its outputs or an excluded layer; and the names of the layers that
    stay whole, because something mixes their channels (a layer norm, a reshape) or cannot do without one. The channels
    of a head of attention are one.

    Args:
        network: may carry parametrizations and hooks; it is not changed.
        example: a batch; its first example is traced, and each group is tried out on all of them.
        exclude: names of layers whose outputs stay.

    Raises:
        UserError: the network cannot be traced, or would compute something else without channels that can go by group.
    """
    import torch_pruning  # with timm where that is installed: a second, of runs that remove channels alone

    bare = plain_copy(network)
    padding = followable(bare)
    names = {module: name for name, module in bare.named_modules()}
    graph = torch_pruning.DependencyGraph()
    try:
        with torch.enable_grad(), repeatable():
            graph.build_dependency(bare, first(example, 1), verbose=False)
            traced = list(graph.get_all_groups())
    except Exception as error:  # whatever torch-pruning or a user's forward raises
        raise UserError(f"prune=filter: {type(network).__name__} cannot be traced ({first_line(error)})") from error
    shared, known = layers_by_weight(bare), {name for name, _ in layers(bare)}
    groups: list[ChannelGroup] = []
    stay, mixed = set(), set()
    for items in traced:
        group = ChannelGroup(len(items[0].idxs))
        clean = [collect(group, item, names, padding) for item in items]
        held = {channel_slice.module for channel_slice in (*group.filters, *group.readers)}
        if any(is_output(item.dep) for item in items) or any(
            fits(channel_slice.module, pattern) for channel_slice in group.filters for pattern in exclude
        ):
            stay.add(len(groups))
        elif not all(clean) or not group.filters or not held <= known:
            mixed.add(len(groups))
        groups.append(group)
    movable, whole = [], []
    for cluster in clusters(groups, shared):
        if not stay & set(cluster):
            joined = (
                groups[cluster[0]] if len(cluster) == 1 else merge_groups([groups[index] for index in cluster], shared)
            )
            if not mixed & set(cluster):
                movable.append(joined)
            else:
                whole += joined.layers
    trial = ChannelRemoval(plain_copy(network, hooks=True), arguments(example))
    borne = trial.removable(movable, lambda group: other_forms(graph, bare, group, names, padding, shared))
    left = {name for group in borne for name in group.layers}
    return borne, whole + [name for group in movable for name in group.layers if name not in left]


def plain_copy(network: nn.Module, hooks: bool = False) -> nn.Module:
    """A copy without parametrizations and hooks, neither of which torch-pruning sees through; all of it learns.

    Args:
        hooks: keep those that are not lcomp's own.
    """
    bare = copy.deepcopy(network).cpu().eval().requires_grad_(True)
    plain_of: dict[Tensor | nn.Module, nn.Parameter] = {}  # what several layers share, they still do
    for module in bare.modules():
        for held in (module._forward_pre_hooks, module._forward_hooks):
            for key in [key for key, hook in held.items() if not hooks or is_own_hook(hook)]:
                del held[key]
        if parametrize.is_parametrized(
            module
        ):  # remove_parametrizations would undo the original's class, which is shared
            assert isinstance(module.parametrizations, nn.ModuleDict)
            values = {
                name: plain_of.setdefault(ones.original, nn.Parameter(getattr(module, name).detach().clone()))
                for name, ones in module.parametrizations.items()
            }
            module.__class__ = type(module).__bases__[0]
            del module.parametrizations
            for name, value in values.items():
                module.register_parameter(name, value)
    return bare


def is_own_hook(hook: Hook) -> bool:
    """Whether a hook is lcomp's, such as those that round activations."""
    return (getattr(hook, "__module__", None) or "").startswith("lcomp.")


def collect(
    group: ChannelGroup, item: torch_pruning.dependency.GroupItem, names: dict[nn.Module, str], padding: Padding
) -> bool:
    """Adds an item of torch-pruning's to `group`; false where it mixes channels."""
    module = item.dep.target.module
    if module in padding:
        name, remove = padding[module]
        group.others.append(ChannelSlice(name, torch.tensor(item.idxs), torch.tensor(item.root_idxs), remove))
        return True
    if module not in names:  # an operation: an addition, a concatenation, a flattening; a parameter is none
        return isinstance(module, nn.Module)
    channel_slice = ChannelSlice(names[module], torch.tensor(item.idxs), torch.tensor(item.root_idxs), item.dep.handler)
    if isinstance(module, PER_CHANNEL):
        group.others.append(channel_slice)
    elif isinstance(module, nn.Conv2d | nn.Linear):
        groups = getattr(module, "groups", 1)
        (group.readers if reads_channels(item.dep.handler) else group.filters).append(channel_slice)
        return groups == 1 or is_depthwise(module)
    else:
        return False
    return True


def is_depthwise(layer: nn.Module) -> bool:
    """Whether every filter reads the one channel of its own number."""
    return isinstance(layer, nn.Conv2d) and 1 < layer.groups == layer.in_channels == layer.out_channels


def is_output(dependency: torch_pruning.dependency.Dependency) -> bool:
    """Whether the network gives these channels to nobody but its caller."""
    return not dependency.target.outputs and not reads_channels(dependency.handler)


def reads_channels(handler: Any) -> bool:
    """Whether a function of torch-pruning's removes what a layer reads, not what it gives."""
    import torch_pruning

    return handler in (torch_pruning.prune_conv_in_channels, torch_pruning.prune_linear_in_channels)


def other_forms(
    graph: torch_pruning.DependencyGraph,
    bare: nn.Module,
    group: ChannelGroup,
    names: dict[nn.Module, str],
    padding: Padding,
    shared: Shared,
) -> Iterator[ChannelGroup]:
    """The group as torch-pruning follows its channels one by one; then, where products tie layers as in attention, in
    blocks from small ones to halves, of which those of its heads will pass."""
    retied = retied_group(graph, bare, group, names, padding, shared)
    if retied is not None:
        yield retied
    sizes = range(2, group.size // 2 + 1) if len(group.layers) > 1 else ()
    yield from (in_blocks(group, size) for size in sizes if group.size % size == 0)


def retied_group(
    graph: torch_pruning.DependencyGraph,
    bare: nn.Module,
    group: ChannelGroup,
    names: dict[nn.Module, str],
    padding: Padding,
    shared: Shared,
) -> ChannelGroup | None:
    """The group as torch-pruning follows its channels one by one, which sees that a product ties halves of it; None
    where that finds something else than channels."""
    root, retied = group.filters[0], ChannelGroup(group.size)
    module = bare.get_submodule(root.module)
    for position, channel in zip(root.positions.tolist(), root.channels.tolist(), strict=True):
        one = ChannelGroup(group.size)
        try:
            items = graph.get_pruning_group(module, root.remove, [position])
        except Exception as error:  # whatever torch-pruning raises: the group's layers are named as those that stay
            raise_machine_error(error)
            return None
        if not all([collect(one, item, names, padding) for item in items]):
            return None
        for mine, found in ((retied.filters, one.filters), (retied.readers, one.readers), (retied.others, one.others)):
            mine += [replace(place, channels=torch.full_like(place.channels, channel)) for place in found]
    return merge_groups([retied], shared)
