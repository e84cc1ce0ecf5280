"""One fit of several networks at once, each under techniques, rates and numbers of its own, as `fit` trains one."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TypeVar, cast

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.data import _set_sampler_epoch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from lcomp.data.protocol import Data
from lcomp.modules.baseline import BaselineModule, in_32_bits
from lcomp.modules.distillation import DistillationModule
from lcomp.modules.optimizers import spare_vectors
from lcomp.tasks import Batch
from lcomp.techniques.distillation import Distillation
from lcomp.techniques.distillation.logit import logit_distillation
from lcomp.techniques.schedule import warn_of_short
from lcomp.techniques.technique import Technique
from lcomp.training import random_states
from lcomp.training.checkpoint_content import KEY, CurvesState, FitState, Row
from lcomp.training.checkpoint_files import ENDED, CheckpointFiles
from lcomp.training.stack import Loss, Settings, Stack, Unstackable

T = TypeVar("T")
Teacher = Callable[[Batch], Tensor]
NEVER = torch.iinfo(torch.int64).max  # the step of a loss that was always finite


@dataclass
class Point:
    """One of the networks that learn at once.

    Args:
        module: what trains it alone, its techniques not yet prepared.
        source: the number of its data among those of the fit.
        files: where what its training comes to is left, from which a run of it alone goes on.
        optimization: what its optimizer and scheduler are made of: points with equal ones share them.
        clip: the norm that its gradients together have at most; None: as they are.
    """

    module: BaselineModule
    source: int
    files: CheckpointFiles
    optimization: str
    clip: float | None = None
    rows: list[Row] = field(default_factory=list)
    fault: tuple[int, str] | None = None  # the step whose loss was not finite, and what is said of it


@dataclass
class Progress:
    """What techniques and schedulers ask of a Trainer in training."""

    estimated_stepping_batches: int
    global_step: int = 0


@dataclass
class SharedOptimizer:
    """An optimizer of networks `begin` to `end` of a stack: what torch's compute of each number by itself."""

    begin: int
    end: int
    parameters: dict[str, nn.Parameter]
    optimizer: torch.optim.Optimizer
    scheduler: LRScheduler | None

    def step(self, stack: Stack) -> None:
        for name, parameter in self.parameters.items():
            gradient = stack.parameters[name].grad
            parameter.grad = None if gradient is None else gradient[self.begin : self.end]
        self.optimizer.step()
        if self.scheduler is not None:
            self.scheduler.step()


def fit_stack(points: Sequence[Point], sources: Sequence[Data], max_epochs: int, device: str = "cpu") -> None:
    """Trains the points' networks at once; leaves of each the checkpoint of an ended fit, or of one whose loss became
    NaN or infinite, from which `fit` goes on.

    Args:
        points: those with equal optimization stand together.
        sources: data, of one length.

    Raises:
        Unstackable: the networks or their data differ in shape.
        RuntimeError: the network computes what cannot be mapped.
    """
    for source in sources:
        random_states.begin_anew(source)
    for point in points:
        point.module.train().to(device)
        for technique in point.module.techniques:
            technique.prepare_after_others(point.module.network)
    training = StackedFit(points, sources, max_epochs, device)
    for epoch in range(max_epochs):
        training.learn(epoch)
        if all(point.fault for point in points):
            break
        training.validate()
    training.leave()


class StackedFit:
    """What goes on between the epochs of `fit_stack`; arguments as there."""

    def __init__(self, points: Sequence[Point], sources: Sequence[Data], max_epochs: int, device: str):
        self.start, self.points, self.device = time.monotonic(), points, device
        modules = [point.module for point in points]
        self.task, self.stack = modules[0].task, Stack([module.network for module in modules])
        first = [next(point.module for point in points if point.source == number) for number in range(len(sources))]
        self.batches = [module.batches(source) for module, source in zip(first, sources, strict=True)]
        self.held_out = [source.val_dataloader() for source in sources]
        lengths = {len(loader) for loader in self.batches}, {len(loader.dataset) for loader in self.held_out}
        if any(len(different) > 1 for different in lengths):
            raise Unstackable("their data differ in length")
        self.teachers = [teacher_of(module, device) for module in first]
        self.progress = Progress(max_epochs * len(self.batches[0]))
        self.trainer = cast(pl.Trainer, self.progress)
        self.loss, self.settings = loss_of(modules, device)
        self.optimizers = shared_optimizers(points, self.stack, self.progress)
        self.clips = any(point.clip for point in points)
        self.norms = torch.tensor([point.clip or math.inf for point in points], device=device)
        self.seen: list[tuple[Tensor, int]] = []  # the losses (K,) of this epoch's batches, with their lengths
        self.faults = torch.full((len(points),), NEVER, device=device)  # the first step whose loss was not finite
        self.wrong = torch.zeros(len(points), device=device)  # and that loss
        own = (window for one in modules for window in one.windows())
        of_techniques = (window for one, technique in self.acting() for window in technique.windows(self.trainer))
        warn_of_short(dict.fromkeys([*own, *of_techniques]), self.trainer)

    def acting(self) -> Iterator[tuple[BaselineModule, Technique]]:
        """The techniques of the points that go on, each with its module."""
        going = (point.module for point in self.points if point.fault is None)
        return ((module, technique) for module in going for technique in module.techniques)

    def learn(self, epoch: int) -> None:
        """An epoch of steps; then notes whose loss has become NaN or infinite, who is left alone from there on."""
        self.seen.clear()
        for loader in self.batches:
            _set_sampler_epoch(loader, epoch)
        for number, read in enumerate(zip(*self.batches, strict=True)):
            self.step([on(self.device, batch) for batch in read], number)
        for point, step, loss in zip(self.points, self.faults.tolist(), self.wrong.tolist(), strict=True):
            if point.fault is None and step != NEVER:
                point.fault = step, f"the training loss is {loss} at step {step}"

    def step(self, batches: Sequence[Batch], number: int) -> None:
        """One optimizer step of each network.

        Args:
            batches: of each source.
            number: of them in the epoch.
        """
        for point in self.points:
            for technique in point.module.techniques if point.fault is None else ():
                technique.on_train_batch_start(self.trainer, point.module, batches[point.source], number)
        inputs, labels = [self.task.inputs(batch) for batch in batches], [self.task.labels(batch) for batch in batches]
        asked = zip(self.teachers, batches, labels, strict=True)
        expected = [given if teacher is None else teacher(batch) for teacher, batch, given in asked]
        shown = (self.each(inputs), self.each(labels), self.each(expected))
        losses = self.stack.losses(*shown, self.loss, self.settings)
        losses.sum().backward()  # of each network its own gradient: none has a part in another's loss
        if self.clips:
            self.stack.clip_gradients(self.norms)
        for optimizer in self.optimizers:
            optimizer.step(self.stack)
        for parameter in self.stack.parameters.values():
            parameter.grad = None
        self.progress.global_step += 1
        losses = losses.detach()
        begins = ~losses.isfinite() & (self.faults == NEVER)  # looked at when the epoch ends: a GPU need not wait
        self.wrong = torch.where(begins, losses, self.wrong)
        self.faults = torch.where(begins, self.progress.global_step, self.faults)
        self.seen.append((losses, len(labels[0])))

    def each(self, values: list[T]) -> list[T]:
        """Of values for each source those of each network; the one that there is where all have one source."""
        return [values[point.source] for point in self.points] if len(values) > 1 else values

    def validate(self) -> None:
        """Adds a row to the curves of each point that goes on, as an epoch of a Trainer does."""
        for module, technique in self.acting():
            technique.on_validation_start(self.trainer, module)
        sums: list[Row] = [{} for _ in self.points]
        for read in zip(*self.held_out, strict=True):
            batches = [on(self.device, batch) for batch in read]
            outputs = self.stack.outputs(self.each([self.task.inputs(batch) for batch in batches]))
            for row, point, of_point in zip(sums, self.points, outputs, strict=True):
                labels = self.task.labels(batches[point.source])
                for name, value in self.task.metrics(of_point, labels).items():
                    row[f"val_{name}"] = row.get(f"val_{name}", 0.0) + len(labels) * float(value)
        losses, lengths = zip(*self.seen, strict=True)
        weights = torch.tensor(lengths, device=self.device) / sum(lengths)
        of_training = (torch.stack(losses).T @ weights).tolist()
        for row, point, loss in zip(sums, self.points, of_training, strict=True):
            if point.fault is None:
                examples = len(self.held_out[point.source].dataset)
                figures = {name: value / examples for name, value in row.items()}
                for technique in point.module.techniques:
                    figures |= technique.scalars(point.module.network)
                    technique.on_train_epoch_end(self.trainer, point.module)
                logged = {name: float(torch.tensor(value)) for name, value in figures.items()}  # 32 bits, as alone
                point.rows.append(logged | {"train_loss": loss, "seconds": time.monotonic() - self.start})

    def leave(self) -> None:
        """Writes what the training of each network came to."""
        seconds = time.monotonic() - self.start
        for module, technique in self.acting():
            technique.on_train_end(self.trainer, module)
        for point in self.points:
            curves: CurvesState = {"rows": point.rows, "reported": [], "seconds": seconds, "networks": len(self.points)}
            state: FitState = {"epochs": curves, "best": None, "steps": self.progress.global_step}
            weights = {name: value.detach().cpu().clone() for name, value in point.module.state_dict().items()}
            if point.fault is not None:
                state["steps"], state["not_finite"] = point.fault
            point.files.write({"state_dict": weights, KEY: state}, state["steps"], ENDED)


def on(device: str, batch: Batch) -> Batch:
    """A batch there."""
    return tuple(tensor.to(device) for tensor in cast(Sequence[Tensor], batch))


def teacher_of(module: BaselineModule, device: str) -> Teacher | None:
    """From a batch to the teacher's outputs; None where there is no teacher."""
    if not isinstance(module, DistillationModule):
        return None
    if module.outputs_in_batch:
        return lambda batch: batch[-1]
    teacher = module.teacher.to(device)

    def ask(batch: Batch) -> Tensor:
        with torch.no_grad():
            return in_32_bits(teacher(*module.inputs(batch).values()))

    return ask


def loss_of(modules: Sequence[BaselineModule], device: str) -> tuple[Loss, Settings]:
    """The loss that all modules have, and the numbers (K,) in which theirs differ."""
    task = modules[0].task
    if not isinstance(modules[0], DistillationModule):
        return lambda outputs, labels, expected, settings: task.loss(outputs, labels), {}
    logit = [cast(Distillation, cast(DistillationModule, module).objective).logit for module in modules]
    numbers = {name: [getattr(one, name) for one in logit] for name in ("temperature", "alpha")}

    def distillation(outputs: Tensor, labels: Tensor, expected: Tensor, settings: Settings) -> Tensor:
        return logit_distillation(
            outputs, expected, labels, settings["temperature"], settings["alpha"], logit[0].labels_loss
        )

    return distillation, {name: torch.tensor(values, device=device) for name, values in numbers.items()}


def shared_optimizers(points: Sequence[Point], stack: Stack, progress: Progress) -> list[SharedOptimizer]:
    """An optimizer for each kind of optimization; the points of one stand together."""
    made: list[SharedOptimizer] = []
    for _, together in groupby(enumerate(points), key=lambda one: one[1].optimization):
        numbers, same = zip(*together, strict=True)
        begin, end, module = numbers[0], numbers[-1] + 1, same[0].module
        own = {name: nn.Parameter(stack.parameters[name].detach()[begin:end]) for name in stack.learned}
        optimizer = module.optimizer(list(own.values()), lr=module.learning_rate)
        spare_vectors(optimizer, stacked=True)
        moves = module.scheduler is not None or module.schedule != "constant" or module.warmup
        scheduler = module.make_scheduler(optimizer, progress.estimated_stepping_batches) if moves else None
        made.append(SharedOptimizer(begin, end, own, optimizer, scheduler))
    return made
