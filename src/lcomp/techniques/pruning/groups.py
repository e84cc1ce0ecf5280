"""Groups of channels that can only go together: their places in a network, their masks, their removal."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate

import torch
from torch import Tensor, nn

Removal = Callable[[nn.Module, list[int]], nn.Module]  # takes positions out of a module, in place


@dataclass(frozen=True)
class ChannelSlice:
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
    remove: Removal


@dataclass
class ChannelGroup:
    """A group of channels: one can go only where it goes in all of these places.

    Args:
        size: how many channels there are.
        filters: the layers whose outputs they are, more than one where a residual stream or a product ties them.
        readers: the layers whose inputs they are.
        others: batch norms and the like.
    """

    size: int
    filters: list[ChannelSlice] = field(default_factory=list)
    readers: list[ChannelSlice] = field(default_factory=list)
    others: list[ChannelSlice] = field(default_factory=list)

    @property
    def layers(self) -> list[str]:
        """The names of the layers whose outputs the channels are."""
        return list(dict.fromkeys(channel_slice.module for channel_slice in self.filters))


Shared = dict[str, str]  # a layer whose weight another has too, by name: the first of those that have it
Spot = tuple[str, str, int]  # (role, module or the first that shares its weight, position)


def layers_by_weight(network: nn.Module) -> Shared:
    """Which layers hold one weight."""
    holders = defaultdict(list)
    for name, module in network.named_modules():
        weight = module._parameters.get("weight")
        if weight is not None:
            holders[weight].append(name)
    return {name: names[0] for names in holders.values() if len(names) > 1 for name in names}


def channel_spots(group: ChannelGroup, shared: Shared) -> Iterable[tuple[Spot, int]]:
    """Every place that a channel of `group` takes, with the channel."""
    for role, slices in (("filter", group.filters), ("reader", group.readers), ("other", group.others)):
        for channel_slice in slices:
            name = shared.get(channel_slice.module, channel_slice.module)
            for position, channel in zip(
                channel_slice.positions.tolist(), channel_slice.channels.tolist(), strict=True
            ):
                yield (role, name, position), channel


def connected_components(count: int, links: Iterable[tuple[int, int]]) -> list[int]:
    """The connected component, from 0 in the order of its first member, of each of `count` things."""
    parents = list(range(count))

    def root(one: int) -> int:
        while parents[one] != one:
            parents[one] = one = parents[parents[one]]
        return one

    for one, linked in links:
        low, high = sorted((root(one), root(linked)))
        parents[high] = low
    numbers: dict[int, int] = {}
    return [numbers.setdefault(root(one), len(numbers)) for one in range(count)]


def clusters(groups: Sequence[ChannelGroup], shared: Shared) -> list[list[int]]:
    """Which of `groups`, by number, layers with one weight tie together."""
    first: dict[Spot, int] = {}
    links = [
        (first.setdefault(spot, number), number)
        for number, group in enumerate(groups if shared else ())
        for spot, _ in channel_spots(group, shared)
        if spot[1] in shared
    ]
    members: dict[int, list[int]] = defaultdict(list)
    for number, component in enumerate(connected_components(len(groups), links)):
        members[component].append(number)
    return list(members.values())


def merge_groups(groups: Sequence[ChannelGroup], shared: Shared) -> ChannelGroup:
    """One group of the channels of several, in which those that take one place are one channel."""
    first: dict[Spot, int] = {}
    starts = [0, *accumulate(group.size for group in groups)]
    links = [
        (first.setdefault(spot, start + channel), start + channel)
        for start, group in zip(starts, groups, strict=False)
        for spot, channel in channel_spots(group, shared)
    ]
    number = torch.tensor(connected_components(starts[-1], links))
    union = ChannelGroup(int(number.max()) + 1)
    for start, group in zip(starts, groups, strict=False):
        for mine, theirs in (
            (union.filters, group.filters),
            (union.readers, group.readers),
            (union.others, group.others),
        ):
            mine += [
                replace(channel_slice, channels=number[start + channel_slice.channels]) for channel_slice in theirs
            ]
    return ChannelGroup(
        union.size, merge_slices(union.filters), merge_slices(union.readers), merge_slices(union.others)
    )


def in_blocks(group: ChannelGroup, size: int) -> ChannelGroup:
    """The same channels, `size` in a row as one, such as those of a head of attention."""

    def tied(slices: Sequence[ChannelSlice]) -> list[ChannelSlice]:
        return [replace(one, channels=one.channels // size) for one in slices]

    return ChannelGroup(group.size // size, tied(group.filters), tied(group.readers), tied(group.others))


def merge_slices(slices: Iterable[ChannelSlice]) -> list[ChannelSlice]:
    """One place for each module and what is taken out of it, each position once."""
    by_module: dict[tuple[str, Removal], dict[int, int]] = defaultdict(dict)
    for channel_slice in slices:
        by_module[channel_slice.module, channel_slice.remove] |= dict(
            zip(channel_slice.positions.tolist(), channel_slice.channels.tolist(), strict=True)
        )
    return [
        ChannelSlice(module, torch.tensor(list(channels)), torch.tensor(list(channels.values())), remove)
        for (module, remove), channels in by_module.items()
    ]


def cut_channels(network: nn.Module, groups: Sequence[ChannelGroup], kept: Sequence[Tensor]) -> None:
    """Takes channels out of a plain `network`, in place.

    Args:
        kept: for each group a boolean tensor (size,); false takes a channel away.
    """
    shared = layers_by_weight(network)
    gone: dict[tuple[str, Removal], set[int]] = defaultdict(set)
    for group, keeps in zip(groups, kept, strict=True):
        for channel_slice in (*group.filters, *group.readers, *group.others):
            gone[channel_slice.module, channel_slice.remove] |= set(
                channel_slice.positions[~keeps.cpu()[channel_slice.channels]].tolist()
            )
    for (name, remove), positions in gone.items():
        if positions:
            remove(network.get_submodule(name), sorted(positions))
    for name, first in shared.items():
        network.get_submodule(name).weight = network.get_submodule(first).weight


def close_masks(masks: dict[str, Tensor], group: ChannelGroup, kept: Tensor) -> None:
    """Makes the masks of layers, by name, false where the group's channels that are not kept leave a layer and where
    they enter the next, in place: what lies between (a bias, a batch norm, an activation) no longer matters."""
    for channel_slice in group.filters:
        masks[channel_slice.module][channel_slice.positions[~kept.cpu()[channel_slice.channels]]] = False
    for channel_slice in group.readers:
        masks[channel_slice.module][:, channel_slice.positions[~kept.cpu()[channel_slice.channels]]] = False
