"""Pruning of whole filters and neurons, which leaves a smaller network (Li et al. 2017; Fang et al. 2023)."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from lcomp.errors import UserError
from lcomp.techniques.example import Arguments, Example, first
from lcomp.techniques.inspection import stored_tensors
from lcomp.techniques.parametrizations import chain, independent_copy, original_weight
from lcomp.techniques.pruning import channels, criteria, schedules
from lcomp.techniques.pruning.channel_removal import first_line, layers_with_channels, predict_logits, same_logits
from lcomp.techniques.pruning.criteria import Criterion
from lcomp.techniques.pruning.groups import ChannelGroup, close_masks, cut_channels
from lcomp.techniques.pruning.mask import prune_masks
from lcomp.techniques.pruning.pruning import Pruning
from lcomp.techniques.technique import Batch, Layer, StoredWeight, example_of, fits, layers, network_of, warn_of_others

log = logging.getLogger(__name__)
EXAMPLES = 8  # on which the network without filters is held against the one with them zeroed


class FilterPruning(Pruning):
    """Zeroes a growing share of the filters of convolutions and the neurons of linear layers, together with all that
    reads them, and removes them at the end.

    Filters that a residual stream, a depthwise convolution or a product ties together are one channel: they go together
    and count once. A channel's score is the sum of the criterion's scores over its filters, relative to the mean over
    its group. A head of attention is one channel, of its queries, keys and values. The network's outputs stay, and at
    least one channel of each group. A group that the network cannot do without in part (its channels are mixed) stays
    whole, and its layers are named.

    Args:
        sparsity: share of the channels that are gone at the end, 0 to below 1; reached exactly, to one channel.
        scope: `global`, all channels ranked together, or `layer`, every group of channels to the same sparsity.
        sparsities: of single layers by name; a group that holds several of them takes their one value.
        exclude: names of layers whose outputs stay.
        others: as in `Pruning`.

    Raises:
        UserError: what `Pruning` refuses; in `check` with an example, or else with the first batch: a network that
            cannot be traced or cut, or a name in `sparsities` of a layer whose outputs must stay; in `finalize`: a
            network that computes something else without its filters than with them zeroed.
    """

    narrows = True
    scopes = ("layer", "global")

    def __init__(
        self,
        sparsity: float = 0.5,
        initial_sparsity: float = 0.0,
        begin: float = 0.0,
        end: float = 0.75,
        interval: int = 100,
        schedule: Callable[[float, float, float], float] = schedules.cubic,
        criterion: Criterion = criteria.magnitude,
        scope: str = "global",
        sparsities: Mapping[str, float] | None = None,
        exclude: Sequence[str] = (),
    ):
        super().__init__(
            sparsity, initial_sparsity, begin, end, interval, schedule, criterion, scope, sparsities, exclude
        )
        self.groups: list[ChannelGroup] | None = None  # known with the first example
        self.example: Arguments = ()
        self.named_whole: set[str] = set()

    def check(self, network: nn.Module, example: Example | None = None) -> None:
        """Raises UserError where the technique cannot act on `network`; with an example it prunes, cuts
        and compares a copy."""
        super().check(network, example)
        for name, layer in layers(network):
            if not stored_tensors(layer):
                raise UserError(f"prune=filter: a hook computes the weight of {name}; make that permanent first")
        if example is not None:
            trial, technique = independent_copy(network), copy.copy(self)
            technique.criterion = criteria.magnitude
            technique.attach(trial)
            technique.find_groups(trial, example)
            technique.prune(self.sparsity)
            technique.finalize(trial)

    def broken_promise(self, before: nn.Module, after: nn.Module, weights: Sequence[StoredWeight]) -> str:
        """Of a chain of layers with biases, in which each channel is one filter or neuron."""
        *names, last = [name for name, layer in layers(before) if getattr(layer, "bias", None) is not None]
        had, has = ([len(net.get_submodule(name).bias) for name in names] for net in (before, after))  # type: ignore[arg-type]
        outputs = len(after.get_submodule(last).bias) == len(before.get_submodule(last).bias)  # type: ignore[arg-type]
        if outputs and min(has) > 0 and sum(had) - sum(has) == round(self.sparsity * sum(had)):
            return ""
        return f"{has} channels of {had}, not a share of {self.sparsity} less"

    def reason_against(self, name: str, layer: Layer) -> str | None:
        return None  # whether filters can go is tried out

    def observe_network(self, network: nn.Module) -> None:
        """Groups of channels are ranked, which `find_groups` learns of."""

    def prepare(self, network: nn.Module) -> None:
        self.check(network)
        warn_of_others(network, "prune")
        self.attach(network)

    def attach(self, network: nn.Module) -> None:
        """Registers the masks."""
        self.named, self.groups = dict(layers_with_channels(network)), None
        self.masked = list(self.named.values())  # excluded ones too: they read what others no longer write
        for layer in self.masked:
            self.register_mask(layer)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        if self.groups is None:
            self.find_groups(network_of(pl_module), example_of(pl_module, batch))
        super().on_train_batch_start(trainer, pl_module, batch, batch_idx)

    def find_groups(self, network: nn.Module, example: Example) -> None:
        """Learns from a batch which channels can only go together."""
        self.example = tuple(tensor.clone() for tensor in first(example, EXAMPLES))
        self.groups, whole = channels.find_groups(network, self.example, self.exclude)
        reason = f"{', '.join(whole)}: something mixes their channels"
        if not self.groups:
            cause = f"; it keeps those of {reason}" if whole else ""
            raise UserError(f"prune=filter: {type(network).__name__} has no filter that could go{cause}")
        if not set(whole) <= self.named_whole:
            log.warning("prune=filter keeps the filters of %s", reason)
            self.named_whole |= set(whole)
        tied = {channel_slice.module for group in self.groups for channel_slice in group.filters}
        filters = [name for name, _ in layers(network) if name in tied]
        for pattern in self.sparsities:
            if not any(fits(name, pattern) for name in filters):
                raise UserError(
                    f"prune.sparsities: the outputs of '{pattern}' stay; those of {', '.join(filters)} can go"
                )
        self.ranked, self.own_sparsities = self.groups, [self.own_sparsity_of(group) for group in self.groups]

    def own_sparsity_of(self, group: ChannelGroup) -> float | None:
        """The sparsity that was asked for the group's layers alone, if one was."""
        sparsities = {channel_slice.module: self.own_sparsity(channel_slice.module) for channel_slice in group.filters}
        values = {value for value in sparsities.values() if value is not None}
        if len(values) > 1:
            raise UserError(f"prune.sparsities: {', '.join(sparsities)} go together; give them one value, not {values}")
        return next(iter(values), None)

    def prune_group(self, group: Sequence[ChannelGroup], sparsity: float) -> None:  # type: ignore[override]
        """Brings groups of channels that are ranked together to `sparsity`, and closes their masks."""
        if not group:
            return
        kept = [self.kept_channels(channel_group) for channel_group in group]
        scores = [self.importance(channel_group, keeps) for channel_group, keeps in zip(group, kept, strict=True)]
        least = 1 - len(group) / sum(channel_group.size for channel_group in group)  # one of each must stay
        masks = {name: self.mask_of(layer).mask.clone() for name, layer in self.named.items()}
        for channel_group, keeps in zip(group, prune_masks(kept, scores, min(sparsity, least)), strict=True):
            close_masks(masks, channel_group, keeps)
        for name, layer in self.named.items():
            self.set_mask(layer, masks[name])

    def kept_channels(self, group: ChannelGroup) -> Tensor:
        """(size,): which of the group's channels are left, as the masks of its layers say."""
        kept = torch.ones(group.size, dtype=torch.bool)
        for channel_slice in group.filters:
            rows = self.mask_of(self.named[channel_slice.module]).mask.flatten(1).any(1)
            kept = kept.to(rows.device)
            kept[channel_slice.channels] = rows[channel_slice.positions]
        return kept

    def importance(self, group: ChannelGroup, kept: Tensor) -> Tensor:
        """(size,): the criterion's scores, summed over the filters of each channel, relative to the mean over those
        that are left, so that groups of layers of any size compare; infinite for the highest."""
        total = torch.zeros(group.size, device=kept.device)
        for channel_slice in group.filters:
            rows = self.scores(self.named[channel_slice.module]).flatten(1).sum(1)
            total.index_add_(0, channel_slice.channels.to(kept.device), rows[channel_slice.positions])
        mean = total[kept].abs().mean()
        scores = (total / mean if mean > 0 else total).masked_fill(~kept, -torch.inf)
        scores[scores.argmax()] = torch.inf
        return scores

    def unfinished(self, network: nn.Module) -> str:
        groups = self.groups or ()  # of a checkpoint that was loaded, known when it is cut
        target = (
            sum(
                min(self.sparsity if own_sparsity is None else own_sparsity, 1 - 1 / channel_group.size)
                * channel_group.size
                for channel_group, own_sparsity in zip(groups, self.own_sparsities, strict=True)
            )
            if groups
            else 0
        )
        gone, total = (
            sum(int((~self.kept_channels(channel_group)).sum()) for channel_group in groups),
            sum(channel_group.size for channel_group in groups),
        )
        if gone >= target - len(groups) / 2:
            return ""
        return f"prune.sparsity: {gone / total:.3g} of the channels are gone, of {target / total:.3g} that were to be"

    def scalars(self, network: nn.Module) -> dict[str, float]:
        kept = [self.kept_channels(group).cpu() for group in self.groups or ()]
        by_layer: dict[str, list[Tensor]] = {}  # of several groups, where a shortcut pads what another layer writes
        for group, keeps in zip(self.groups or (), kept, strict=True):
            for channel_slice in group.filters:
                by_layer.setdefault(channel_slice.module, []).append(keeps[channel_slice.channels])
        sparsities = {f"sparsity/{name}": gone_share(of_layer) for name, of_layer in by_layer.items()}
        return {"sparsity": gone_share(kept)} | sparsities if kept else {}

    @torch.no_grad()
    def finalize(self, network: nn.Module, calibration: Iterable[Example] = ()) -> nn.Module:
        self.named = dict(layers_with_channels(network))
        masks = {name: self.mask_of(layer).mask for name, layer in self.named.items()}
        if all(bool(mask.all()) for mask in masks.values()):
            return super().finalize(network)
        if self.groups is None:
            example = next(iter(calibration), None)
            if example is None:
                raise UserError("prune=filter needs an example to trace: finalize(calibration=batches of inputs)")
            self.find_groups(network, example)
        assert self.groups is not None
        kept = [self.kept_channels(group) for group in self.groups]
        expected = predict_logits(network, self.example)
        network = super().finalize(network)
        try:
            self.remove(network, kept, masks)
            actual = predict_logits(network, self.example)
        except Exception as error:  # whatever torch-pruning or a user's forward raises when filters are missing
            raise self.error(network, f"fails without its filters ({first_line(error)})") from error
        if not same_logits(expected, actual):
            raise self.error(network, "computes something else without its filters than with them zeroed")
        return network

    def remove(self, network: nn.Module, kept: Sequence[Tensor], masks: Mapping[str, Tensor]) -> None:
        """Cuts what the masks closed, and the parametrizations with it."""
        assert self.groups is not None
        others = {layer: detach_parametrizations(layer) for layer in self.named.values()}
        cut_channels(network, self.groups, kept)
        for (layer, ones), mask in zip(others.items(), masks.values(), strict=True):
            attach_parametrizations(layer, ones, mask)

    @staticmethod
    def error(network: nn.Module, what: str) -> UserError:
        kind, advice = type(network).__name__, "name the layers whose filters must stay in prune.exclude"
        return UserError(f"prune=filter: {kind} {what}; {advice}")


def gone_share(kept: Sequence[Tensor]) -> float:
    """The share of channels that are not kept."""
    return 1 - float(torch.cat([*kept]).float().mean())


def detach_parametrizations(layer: Layer) -> list[nn.Module]:
    """Leaves a plain layer; returns the parametrizations that were on its weight."""
    ones = chain(layer)
    if ones:
        weight = original_weight(layer).detach().clone()
        parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)
        layer.weight.copy_(weight)
    return ones


def attach_parametrizations(layer: Layer, ones: Sequence[nn.Module], mask: Tensor) -> None:
    """Puts parametrizations on a layer that became smaller; what they hold for each output, input or weight is cut too.

    Args:
        mask: of the weight before the cut, (outputs, inputs, ...).
    """
    left = mask.flatten(1).any(1), mask.transpose(0, 1).flatten(1).any(1)
    for entry in ones:
        for module in entry.modules():
            for name, tensor in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
                if tensor.dim() != mask.dim():
                    continue
                smaller = tensor.detach()
                for dim, keeps in enumerate(left):
                    if tensor.shape[dim] == len(keeps):
                        smaller = smaller.index_select(dim, keeps.nonzero().flatten())
                setattr(module, name, nn.Parameter(smaller) if isinstance(tensor, nn.Parameter) else smaller)
        parametrize.register_parametrization(layer, "weight", entry, unsafe=True)
