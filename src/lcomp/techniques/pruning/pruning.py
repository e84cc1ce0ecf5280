"""Scheduled pruning of weights (Zhu & Gupta 2017; constant from the first step with that schedule)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from lcomp.errors import UserError, validate_choice
from lcomp.tasks import Batch
from lcomp.techniques import inspection
from lcomp.techniques.example import Example
from lcomp.techniques.gradients import gradient
from lcomp.techniques.parametrizations import (
    Parametrization,
    bake,
    chain,
    original_weight,
    parametrization,
    weight_before,
)
from lcomp.techniques.pruning import criteria, schedules
from lcomp.techniques.pruning.criteria import Criterion, GradientCriterion, InputCriterion, ObservingCriterion
from lcomp.techniques.pruning.mask import Mask, mask_of, prune_masks, prune_outputs
from lcomp.techniques.pruning.settings import check_own_sparsities, check_shares
from lcomp.techniques.schedule import Window, check_window, first_step_after, total_steps, training_progress
from lcomp.techniques.short_training import ShortTraining
from lcomp.techniques.technique import (
    Layer,
    StoredWeight,
    Technique,
    acted_on,
    check_patterns,
    fits,
    layers,
    network_of,
    warn_of_others,
)

UPDATES = 10  # where `interval` leaves fewer updates in a window than its schedule needs, it has so many


class Pruning(Technique):
    """Zeroes a growing share of the weights of every convolution and linear layer; biases stay.

    Args:
        sparsity: share of zeros at the end, 0 to below 1; reached exactly, to one weight.
        initial_sparsity: share of zeros when the schedule begins.
        begin, end: the schedule's window, as shares of training.
        interval: optimizer steps between two updates of the masks; fewer in a window that is too short for it.
        schedule: (progress, initial, final) to a sparsity, see `schedules`.
        criterion: weight to scores, or an `ObservingCriterion`, see `criteria`.
        scope: `global`, all weights ranked together, or to the same sparsity every `layer`, or `output` of a layer.
        sparsities: a sparsity of their own for layers by name, such as {"fc1": 0.95, "conv*": 0.5}; the others are
            ranked without them. The first pattern that fits counts.
        exclude: names of layers (`fc3`, `conv*`) that are never pruned.

    Raises:
        UserError: a value outside its range, or a name in `exclude` that matches no layer.
    """

    stage = 1
    short = ShortTraining({"interval": 5})
    scopes: tuple[str, ...] = ("layer", "global", "output")
    mask_of = staticmethod(mask_of)
    ranked: Sequence[Any]  # what goes to a sparsity of its own or together: here layers

    def __init__(
        self,
        sparsity: float = 0.8,
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
        check_shares(sparsity, initial_sparsity, sparsities or {})
        check_window("prune.begin", begin, "prune.end", end)
        if interval < 1:
            raise UserError(f"prune.interval={interval}: optimizer steps between updates, 1 or more")
        validate_choice("prune.scope", scope, self.scopes)
        self.sparsity, self.initial_sparsity, self.begin, self.end = sparsity, initial_sparsity, begin, end
        self.export_ready_from = end
        self.interval, self.schedule, self.criterion = interval, schedule, criterion
        self.needed = schedules.updates(schedule, initial_sparsity, sparsity)
        self.scope, self.exclude, self.sparsities = scope, tuple(exclude), dict(sparsities or {})
        self.watching: list[RemovableHandle] = []  # what layers are given, while a batch lasts

    def broken_promise(self, before: nn.Module, after: nn.Module, weights: Sequence[StoredWeight]) -> str:
        zeros, least, most = sum(int((w == 0).sum()) for w in weights), *self.promised_zeros(before)
        rounded = any(w.dtype.itemsize == 1 for w in weights)  # which adds some
        return "" if least <= zeros and (rounded or zeros <= most) else f"{zeros} zeros, not {least} to {most}"

    def promised_zeros(self, network: nn.Module) -> tuple[int, int]:
        """The least and the most weights of `network` that are zero in the end."""
        zeros = [self.target_count(name, layer.weight) for name, layer in layers(network, self.exclude)]
        rounding = 0.5 if self.scope == "global" and not self.sparsities else len(zeros) / 2  # of all together, or each
        return math.ceil(sum(zeros) - rounding), math.floor(sum(zeros) + rounding)

    def check(self, network: nn.Module, example: Example | None = None) -> None:
        super().check(network, example)
        check_patterns(network, self.exclude, "prune.exclude")
        check_patterns(network, list(self.sparsities), "prune.sparsities")
        _, left_alone = self.acted_on(network)
        check_own_sparsities(self.sparsities, left_alone)

    def acted_on(self, network: nn.Module) -> tuple[dict[str, Layer], dict[str, str]]:
        """The layers to prune, by name, and why others are left alone."""
        return acted_on(network, "prune", self.exclude, self.reason_against, self.calls)

    def reason_against(self, name: str, layer: Layer) -> str | None:
        """Why the layer cannot be pruned."""
        foreign = any(not isinstance(entry, Parametrization) for entry in chain(layer))
        if foreign and isinstance(self.criterion, GradientCriterion):
            return "something else is parametrized on its weight, and the criterion needs the gradient of a plain one"
        if not inspection.keeps_zeros(layer):
            return "what it computes has no zeros where its weight has"
        return None

    def prepare(self, network: nn.Module) -> None:
        self.check(network)
        selected, left_alone = self.acted_on(network)
        warn_of_others(network, "prune", left_alone)
        masks: dict[int, Mask] = {}
        for layer in selected.values():
            self.register_mask(layer, masks)
        self.rank_layers(selected)

    def rank_layers(self, selected: Mapping[str, Layer]) -> None:
        """Ranks these layers from now on; those that share a weight have one mask, and count once."""
        once = {id(self.mask_of(layer)): name for name, layer in reversed(list(selected.items()))}
        names = [name for name in selected if once[id(self.mask_of(selected[name]))] == name]
        self.ranked = self.masked = [selected[name] for name in names]
        self.own_sparsities = [self.own_sparsity(name) for name in names]

    def observe_network(self, network: nn.Module) -> None:
        self.rank_layers(self.acted_on(network)[0])

    def register_mask(self, layer: Layer, masks: dict[int, Mask] | None = None) -> None:
        """Registers a mask on the layer's weight, once.

        Args:
            masks: those of weights so far, by the weight's id.
        """
        if parametrization(layer, Mask) is None:
            if any(isinstance(entry, Parametrization) for entry in chain(layer)):
                raise UserError("prune: masks go beneath whatever else acts on the weights: name Pruning first")
            known = self.criterion.statistic(layer.weight) if isinstance(self.criterion, ObservingCriterion) else None
            [*_, last] = inspection.stored_tensors(layer)
            mask = ({} if masks is None else masks).setdefault(id(last), Mask(layer.weight, known))
            parametrize.register_parametrization(layer, "weight", mask, unsafe=True)

    def own_sparsity(self, name: str) -> float | None:
        """The sparsity that was asked for that layer alone, if one was."""
        return next((value for pattern, value in self.sparsities.items() if fits(name, pattern)), None)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        super().on_train_batch_start(trainer, pl_module, batch, batch_idx)
        if isinstance(self.criterion, InputCriterion):
            self.watching = self.criterion.watch(network_of(pl_module))
        if not isinstance(self.criterion, ObservingCriterion):
            self.update_masks(trainer)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
        while self.watching:
            self.watching.pop().remove()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self.on_train_batch_end(trainer, pl_module)

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        if isinstance(self.criterion, GradientCriterion):
            for layer in self.masked:
                grad = gradient(layer, trainer, optimizer)
                if grad is not None:
                    self.criterion.observe(self.mask_of(layer).statistic, original_weight(layer).detach(), grad)
        if isinstance(self.criterion, ObservingCriterion):
            self.update_masks(trainer)

    def update_interval(self, trainer: pl.Trainer) -> int:
        """Optimizer steps between two updates: `interval`, or less where the window is too short for it."""
        total = total_steps(trainer)
        window = first_step_after(self.end, total) - first_step_after(self.begin, total)
        if window // self.interval >= self.needed:
            return self.interval
        return min(self.interval, max(1, window // max(UPDATES, self.needed)))

    def windows(self, trainer: pl.Trainer) -> Sequence[Window]:
        if self.begin == self.end:
            return ()
        otherwise = f"masks are updated every {self.update_interval(trainer)} instead, and at the window's end"
        return [Window(f"prune.interval={self.interval}", self.begin, self.end, self.needed, otherwise, self.interval)]

    def update_masks(self, trainer: pl.Trainer) -> None:
        """Updates the masks, if the coming optimizer step is one at which the schedule says so."""
        total, progress = total_steps(trainer), training_progress(trainer)
        before_end = progress < self.end
        first_after = (trainer.global_step - 1) / total < self.end <= progress
        if progress >= self.begin and (
            first_after or (before_end and trainer.global_step % self.update_interval(trainer) == 0)
        ):
            window = (progress - self.begin) / (self.end - self.begin) if before_end else 1.0
            self.prune(self.schedule(window, self.initial_sparsity, self.sparsity))

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if training_progress(trainer) >= self.end:  # no step came after the window
            self.prune(self.sparsity)

    @torch.no_grad()
    def prune(self, sparsity: float) -> None:
        """Brings the masks to `sparsity`; they only ever shrink."""
        together = [
            layer for layer, own_sparsity in zip(self.ranked, self.own_sparsities, strict=True) if own_sparsity is None
        ]
        for group in [together] if self.scope == "global" else [[layer] for layer in together]:
            self.prune_group(group, sparsity)
        span = self.sparsity - self.initial_sparsity
        fraction = (sparsity - self.initial_sparsity) / span if span else 1.0
        for layer, own_sparsity in zip(self.ranked, self.own_sparsities, strict=True):
            if own_sparsity is not None:
                self.prune_group([layer], self.initial_sparsity + fraction * (own_sparsity - self.initial_sparsity))

    def prune_group(self, group: Sequence[Layer], sparsity: float) -> None:
        """Brings the masks of layers that are ranked together to `sparsity`."""
        if not group:
            return
        masks = [self.mask_of(layer).mask for layer in group]
        shrunk = self.pruned_masks(masks, [self.scores(layer) for layer in group], sparsity)
        for layer, values in zip(group, shrunk, strict=True):
            self.set_mask(layer, values)

    def set_mask(self, layer: Layer, values: Tensor) -> None:
        """Gives the layer's mask other values; what goes may be made up for by what stays."""
        mask = self.mask_of(layer)
        if isinstance(self.criterion, ObservingCriterion):
            weight = original_weight(layer)
            weight.copy_(self.criterion.compensated(weight, mask.statistic, mask.mask, mask.mask & ~values))
        mask.mask.copy_(values)

    def pruned_masks(self, masks: Sequence[Tensor], scores: Sequence[Tensor], sparsity: float) -> list[Tensor]:
        """The granularity: which weights are pruned together; here each by itself."""
        return (prune_outputs if self.scope == "output" else prune_masks)(masks, scores, sparsity)

    def scores(self, layer: Layer) -> Tensor:
        weight = weight_before(layer, Mask)
        if isinstance(self.criterion, ObservingCriterion):
            mask = self.mask_of(layer)
            return self.criterion.scores(weight, mask.statistic, mask.mask)
        return self.criterion(weight)

    def scalars(self, network: nn.Module) -> dict[str, float]:
        layer_masks = {name: parametrization(layer, Mask) for name, layer in layers(network, self.exclude)}
        masks = {name: mask.mask for name, mask in layer_masks.items() if mask is not None}
        once = {id(mask): mask for mask in masks.values()}.values()
        kept, weights = sum(int(m.sum()) for m in once), sum(m.numel() for m in once)
        return {"sparsity": 1 - kept / weights} | {
            f"sparsity/{name}": 1 - int(mask.sum()) / mask.numel() for name, mask in masks.items()
        }

    def unfinished(self, network: nn.Module) -> str:
        ranked = {id(self.mask_of(layer)) for layer in self.masked}
        masks = {
            name: mask.mask
            for name, layer in layers(network, self.exclude)
            if (mask := parametrization(layer, Mask)) and id(mask) in ranked
        }
        target = sum(self.target_count(name, mask) for name, mask in masks.items())
        gone, total = sum(int((~mask).sum()) for mask in masks.values()), sum(mask.numel() for mask in masks.values())
        if gone >= target - len(masks) / 2:  # each layer may be rounded by itself
            return ""
        return f"prune.sparsity: {gone / total:.3g} of the weights are zero, of {target / total:.3g} that were to be"

    def target_count(self, name: str, weight: Tensor) -> float:
        """How many weights of the layer of that name are to be zero in the end; on average, where ranked together."""
        sparsity = self.sparsity if (own := self.own_sparsity(name)) is None else own
        if self.scope == "output":
            return len(weight) * round(sparsity * weight[0].numel())
        return sparsity * weight.numel()

    def finalize(self, network: nn.Module, calibration: Iterable[Example] = ()) -> nn.Module:
        for _, layer in layers(network):
            if parametrization(layer, Mask) is not None:
                bake(layer, Mask)
        return network
