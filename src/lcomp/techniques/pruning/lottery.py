"""The lottery ticket: prune, rewind the weights that are left, train again (Frankle & Carbin 2019)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from lcomp.errors import UserError
from lcomp.techniques.example import Example
from lcomp.techniques.parametrizations import original_weight
from lcomp.techniques.pruning import criteria, schedules
from lcomp.techniques.pruning.criteria import Criterion, ObservingCriterion
from lcomp.techniques.pruning.pruning import Pruning
from lcomp.techniques.schedule import Window, total_steps
from lcomp.techniques.short_training import ShortTraining
from lcomp.techniques.technique import Batch, network_of

EARLY = "early/"  # buffers of the network: what each of its parameters and buffers was at `rewind`
ROUND = "lottery_round"  # buffer of the network: rounds that are over; -1 until the early weights are kept


class LotteryTicket(Pruning):
    """Trains a fresh network `rounds` + 1 times within one fit, in equal parts of training; after each part but the
    last the lowest weights go, and everything that is left returns to what it was early in the first part.

    A round takes 1 - (1 - sparsity)^(1 / rounds) of the weights that are left (Frankle & Carbin 2019, strategy 1 of
    appendix B), so that the last one reaches `sparsity`. Parameters, and buffers such as those of a batch norm, return
    to their values at `rewind` (Frankle et al. 2020, algorithm 2); the optimizer's moments and the learning rate's
    schedule begin anew. What other techniques learn, such as a quantizer's step, goes on.

    Args:
        sparsity: share of zeros after the last round, 0 to below 1; reached exactly, to one weight.
        rounds: how often weights go, 1 or more.
        rewind: the share of the first part after which weights are kept to return to, 0 (the initial ones) to below 1.
        criterion, scope, exclude: as in `Pruning`.

    Raises:
        UserError: a value outside its range, or what `Pruning` refuses.
    """

    starts_fresh = True
    short = ShortTraining({"rounds": 1})

    def __init__(
        self,
        sparsity: float = 0.8,
        rounds: int = 4,
        rewind: float = 0.05,
        criterion: Criterion = criteria.magnitude,
        scope: str = "global",
        exclude: Sequence[str] = (),
    ):
        if rounds < 1:
            raise UserError(f"prune.rounds={rounds}: how often weights go, 1 or more")
        if not 0 <= rewind < 1:
            raise UserError(f"prune.rewind={rewind}: a share of the first part of training, from 0 to below 1")
        end = rounds / (rounds + 1)
        super().__init__(sparsity, end=end, criterion=criterion, scope=scope, exclude=exclude)
        self.rounds, self.rewind = rounds, rewind
        self.restarts = tuple(number / (rounds + 1) for number in range(1, rounds + 1))

    @torch.no_grad()
    def prepare(self, network: nn.Module) -> None:
        if not hasattr(network, ROUND):
            for name, value in list(unmasked_state(network)):
                network.register_buffer(EARLY + name, value.detach().clone())
            network.register_buffer(ROUND, torch.tensor(-1))
        super().prepare(network)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        network, step = network_of(pl_module), trainer.global_step * (self.rounds + 1)
        total, over = total_steps(trainer), network.get_buffer(ROUND)
        if over < 0 and step >= self.rewind * total:
            self.keep_state(network)
        while 0 <= over < self.rounds and step >= (int(over) + 1) * total:
            self.end_round(network)
            for optimizer in trainer.optimizers:
                optimizer.state.clear()

    def windows(self, trainer: pl.Trainer) -> Sequence[Window]:
        otherwise = "rounds fall together, and nothing is learned between them"
        return [Window(f"prune.rounds={self.rounds}", 0.0, 1.0, self.rounds + 1, otherwise)]

    def unfinished(self, network: nn.Module) -> str:
        over = max(0, int(network.get_buffer(ROUND))) if hasattr(network, ROUND) else self.rounds
        rounds = f"prune.rounds: {over} of {self.rounds} are over" if over < self.rounds else ""
        return ", ".join(filter(None, [rounds, super().unfinished(network)]))

    def update_masks(self, trainer: pl.Trainer) -> None:
        """Nothing between rounds; these end before a forward pass, whatever the criterion, since a gradient at the
        weights as they were must not move those that have returned."""

    @torch.no_grad()
    def keep_state(self, network: nn.Module) -> None:
        """Keeps what the network is now, to return to."""
        for early, value in kept_and_current(network):
            early.copy_(value)
        network.get_buffer(ROUND).fill_(0)

    @torch.no_grad()
    def end_round(self, network: nn.Module) -> None:
        """The lowest weights go, everything returns to what was kept."""
        number = int(network.get_buffer(ROUND)) + 1
        last = number == self.rounds
        self.prune(self.sparsity if last else schedules.exponential(number / self.rounds, 0.0, self.sparsity))
        for early, value in kept_and_current(network):
            value.copy_(early)
        if isinstance(self.criterion, ObservingCriterion):
            for layer in self.masked:
                self.mask_of(layer).statistic.copy_(self.criterion.statistic(original_weight(layer)))
        network.get_buffer(ROUND).fill_(number)

    def finalize(self, network: nn.Module, calibration: Iterable[Example] = ()) -> nn.Module:
        for name in [name for name, _ in network.named_buffers(recurse=False)]:
            if name.startswith(EARLY) or name == ROUND:
                delattr(network, name)
        return super().finalize(network, calibration)


def unmasked_state(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers; a masked weight under the name that it has without its mask, and slashes for dots."""
    for name, value in chain(network.named_parameters(), network.named_buffers()):
        yield name.replace(".parametrizations.weight.original", ".weight").replace(".", "/"), value


def kept_and_current(network: nn.Module) -> Iterator[tuple[Tensor, Tensor]]:
    """What was kept and what is now, of all that the network had when it was prepared."""
    kept = {name: value for name, value in network.named_buffers(recurse=False) if name.startswith(EARLY)}
    for name, value in unmasked_state(network):
        if EARLY + name in kept:
            yield kept[EARLY + name], value
