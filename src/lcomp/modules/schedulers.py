"""How the learning rate moves from optimizer step to optimizer step: lcomp's schedulers, and what torch's are told."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from lcomp.errors import UserError

SchedulerFactory = Callable[[Optimizer, int], LRScheduler]  # of an optimizer, for so many steps of it
LENGTHS = ("total_steps", "T_max", "total_iters", "num_training_steps")  # what constructors call these steps


class ShareOfRate(LambdaLR):
    """The rate as a share of the optimizer's own, told by how much of training is done; a subclass says `share`.

    Args:
        optimizer: whose groups each keep their own highest rate.
        total_steps: of training.
        warmup: share of training, 0 to below 1, over which the rate first rises in a line (Goyal et al. 2017); the
            subclass's share is of what comes after it.

    Raises:
        UserError: a warm-up outside its range.
    """

    def __init__(self, optimizer: Optimizer, total_steps: int, warmup: float = 0.0):
        if not 0 <= warmup < 1:
            raise UserError(f"scheduler.warmup={warmup}: a share of training, from 0 to below 1")
        self.total_steps, self.warmup = total_steps, warmup
        super().__init__(optimizer, self.after)

    def after(self, step: int) -> float:
        """The share after so many steps: in the warm-up that of its end, risen so far."""
        rising = self.warmup * self.total_steps
        progress = min(1.0, max(0.0, step - rising) / (self.total_steps - rising))
        return self.share(progress) * (min(1.0, (step + 1) / rising) if rising else 1.0)

    def share(self, progress: float) -> float:
        """0 to 1, after `progress` of what follows the warm-up, 0 to 1."""
        raise NotImplementedError


class Constant(ShareOfRate):
    """One rate, after a warm-up; arguments as in `ShareOfRate`."""

    def share(self, progress: float) -> float:
        return 1.0


class Falling(ShareOfRate):
    """Ends at the share `final` of the rate, 0 to 1.

    Raises:
        UserError: a final share or a warm-up outside its range.
    """

    def __init__(self, optimizer: Optimizer, total_steps: int, warmup: float = 0.0, final: float = 0.0):
        if not 0 <= final <= 1:
            raise UserError(f"scheduler.final={final}: a share of the highest rate, from 0 to 1")
        self.final = final
        super().__init__(optimizer, total_steps, warmup)


class Cosine(Falling):
    """Falls with a cosine (Loshchilov & Hutter 2017); arguments as in `Falling`."""

    def share(self, progress: float) -> float:
        return self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * progress))


class Linear(Falling):
    """Falls in a line; arguments as in `Falling`."""

    def share(self, progress: float) -> float:
        return self.final + (1 - self.final) * (1 - progress)


class Step(ShareOfRate):
    """Multiplies the rate by `gamma` at each of `milestones` (He et al. 2016: 0.1, halfway and after three quarters).

    Args:
        milestones: shares of what follows the warm-up, rising, above 0 and below 1.
        gamma: above 0, to 1.

    Raises:
        UserError: a value outside its range.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        total_steps: int,
        milestones: Sequence[float] = (0.5, 0.75),
        gamma: float = 0.1,
        warmup: float = 0.0,
    ):
        within = all(0 < share < 1 for share in milestones)
        if not within or not all(one < other for one, other in pairwise(milestones)):
            raise UserError(f"scheduler.milestones={list(milestones)}: rising shares of training, above 0 and below 1")
        if not 0 < gamma <= 1:
            raise UserError(f"scheduler.gamma={gamma}: what is left of the rate at a milestone, above 0, to 1")
        self.milestones, self.gamma = tuple(milestones), gamma
        super().__init__(optimizer, total_steps, warmup)

    def share(self, progress: float) -> float:
        return float(self.gamma ** bisect_right(self.milestones, progress))


def arguments(names: Sequence[str], optimizer: Optimizer, total_steps: int) -> dict[str, Any]:
    """What a scheduler's constructor is given beside its settings and the optimizer, where it names it: the steps of
    training, and each group's own rate as the highest (OneCycleLR's `max_lr`)."""
    known = dict.fromkeys(LENGTHS, total_steps) | {"max_lr": [group["lr"] for group in optimizer.param_groups]}
    return {name: value for name, value in known.items() if name in names}


class Restarting(LRScheduler):
    """Any scheduler, begun anew at each of `starts` with the optimizer's own settings, for the steps to the next one.

    Args:
        make: the scheduler of one part.
        starts: optimizer steps, rising, the first being 0.
        total_steps: of training.
    """

    def __init__(self, optimizer: Optimizer, make: SchedulerFactory, starts: Sequence[int], total_steps: int):
        self.optimizer, self.make, self.starts, self.last_epoch = optimizer, make, list(starts), 0
        self.lengths = [end - start for start, end in pairwise([*starts, total_steps])]
        self.own = [{key: value for key, value in g.items() if key != "params"} for g in optimizer.param_groups]
        self.part = self.begun(0)

    def begun(self, number: int) -> LRScheduler:
        """The scheduler of that part, the optimizer as it was before any."""
        for group, own in zip(self.optimizer.param_groups, self.own, strict=True):
            for key in group.keys() - own.keys() - {"params"}:
                del group[key]
            group.update(own)
        return self.make(self.optimizer, self.lengths[number])

    def step(self, epoch: int | None = None) -> None:
        self.last_epoch += 1
        if self.last_epoch in self.starts:
            self.part = self.begun(self.starts.index(self.last_epoch))
        else:
            self.part.step()

    def get_last_lr(self) -> list[Any]:
        return self.part.get_last_lr()

    def state_dict(self) -> dict[str, Any]:
        return {"last_epoch": self.last_epoch, "part": self.part.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        groups = self.optimizer.param_groups
        loaded = [{key: value for key, value in group.items() if key != "params"} for group in groups]
        self.last_epoch = state_dict["last_epoch"]
        self.part = self.begun(bisect_right(self.starts, self.last_epoch) - 1)
        self.part.load_state_dict(state_dict["part"])
        for group, values in zip(groups, loaded, strict=True):  # beginning a part has changed what was loaded
            group.update(values)
