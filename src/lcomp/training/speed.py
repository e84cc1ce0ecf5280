"""`speed=auto`: what a network's training computes in, chosen once by a probe of some steps, kept, and used again."""

from __future__ import annotations

import json
import logging
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, TypeVar

import filelock
import torch
from torch import Tensor, nn

from lcomp.config.identity import digest
from lcomp.config.run_spec import RunSpec, TrainerSettings, TrainingSpec
from lcomp.config.settings import Settings
from lcomp.data.protocol import Data
from lcomp.record.environment import cpu
from lcomp.record.files import write_atomically
from lcomp.record.plain import PlainValue
from lcomp.tasks.task import Batch, Task
from lcomp.training import devices, random_states
from lcomp.training.fit import layout

log = logging.getLogger(__name__)
EXACT = "32-true"
STEPS = 5  # of each choice, after one that is not timed
GAIN = 0.9  # another choice than the exact one takes at most this share of its time
Kind = TypeVar("Kind", bound=TrainingSpec)


class Choice(NamedTuple):
    """A precision of the layers, and a memory format, None being that of the network's class."""

    precision: str
    memory_format: str | None

    def __str__(self) -> str:
        return f"{self.precision}, {self.memory_format or 'the usual memory format'}"


def with_speed(spec: RunSpec, data: Data, make: Callable[[Settings], nn.Module]) -> RunSpec:
    """`spec` where `speed=exact`; where `auto`, with the precision and the memory format that a step is fastest in, of
    the trained network and of the baseline, each as if the command line had named them.

    A precision other than 32-true, or a memory format, that is stated stays. The choice lies in `baseline.cache`, by
    what it depends on (network, batch, processor, torch): a run that is repeated or goes on computes in the same.

    Args:
        make: the network of a model's settings.
    """
    if spec.speed == "exact":
        return spec
    changed = chosen_for(spec, spec, spec.distillation.student, data, make)
    if spec.baseline.weights is None:
        changed = replace(changed, baseline=chosen_for(spec, spec.baseline, spec.model, data, make))
    baseline = spec.config["baseline"]
    assert isinstance(baseline, Mapping)
    config = with_trainer(spec.config, changed.trainer) | {"baseline": with_trainer(baseline, changed.baseline.trainer)}
    return replace(changed, config=config)


def with_trainer(section: Settings, chosen: TrainerSettings) -> dict[str, PlainValue]:
    """A part of the configuration with the precision and the memory format of `chosen` under `trainer`."""
    trainer = section["trainer"]
    assert isinstance(trainer, Mapping)
    return {
        **section,
        "trainer": {**trainer, "precision": chosen.precision, "memory_format": chosen.memory_format},
    }


def chosen_for(
    spec: RunSpec, training: Kind, model: Settings, data: Data, make: Callable[[Settings], nn.Module]
) -> Kind:
    """`training` of a network with the choice for it."""
    stated, network = training.trainer, make(model)
    found = choices(network, stated)
    if len(found) == 1:
        return training
    batch = first_batch(data)
    device = devices.device(spec.device)
    machine = cpu() if device == "cpu" else torch.cuda.get_device_name(device)
    shapes = {name: list(values.shape) for name, values in data.task.inputs(batch).items()}
    key = digest([model, spec.task, shapes, machine, spec.threads, torch.__version__, found])
    choice = kept(
        spec.baseline.cache / f"speed-{key}.json", found, lambda: step_seconds(network, data.task, batch, found, device)
    )
    trainer = replace(stated, precision=choice.precision, memory_format=choice.memory_format)
    return replace(training, trainer=trainer)


def choices(network: nn.Module, stated: TrainerSettings) -> list[Choice]:
    """What can be chosen, the exact one first. Bfloat16 is no choice where a precision is stated or gradients are
    clipped, the other memory format none where one is stated or no weight has rows and columns."""
    precisions = [stated.precision]
    if stated.precision == EXACT and not stated.gradient_clip_val:
        precisions.append("bf16-mixed")
    formats = [stated.memory_format]
    if stated.memory_format is None and any(weight.ndim == 4 for weight in network.parameters()):
        formats.append("contiguous" if layout(network, None) is torch.channels_last else "channels_last")
    return [Choice(precision, name) for precision in precisions for name in formats]


def first_batch(data: Data) -> Batch:
    """Of training; whatever draws at random goes on as if it had not been read."""
    states = random_states.capture([data])
    try:
        return next(iter(data.train_dataloader()))
    finally:
        random_states.restore(states, [data])


def kept(path: Path, found: Sequence[Choice], measure: Callable[[], Mapping[Choice, float]]) -> Choice:
    """The choice that `path` holds; where it holds none of `found`, the fastest by `measure`, which is then kept."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(path.with_suffix(".lock")):  # whoever needs the same waits
        try:
            held = json.loads(path.read_text())
            choice = Choice(held["precision"], held["memory_format"])
            if choice in found:
                return choice
        except (OSError, ValueError, KeyError, TypeError):
            pass
        seconds = measure()
        choice = fastest(seconds, found[0])
        spoken = {str(one): round(value, 6) for one, value in seconds.items()}
        write_atomically(path, json.dumps({**choice._asdict(), "seconds_per_step": spoken}).encode())
    took = "; ".join(f"{name} {1000 * value:.1f} ms" for name, value in spoken.items())
    log.info("speed=auto: trains in %s (a step: %s); kept in %s", choice, took, path)
    return choice


def fastest(seconds: Mapping[Choice, float], exact: Choice) -> Choice:
    """The choice with the shortest step, if it saves a tenth of the exact one's; else the exact one."""
    best = min(seconds, key=lambda one: seconds[one])
    return best if seconds[best] <= GAIN * seconds[exact] else exact


def step_seconds(
    network: nn.Module, task: Task, batch: Batch, found: Sequence[Choice], device: str
) -> dict[Choice, float]:
    """The median seconds of a step forward and back in each choice, measured in turns; without those that a layer does
    not know, or whose loss is not finite."""
    inputs = [values.to(device) for values in task.inputs(batch).values()]
    labels = task.labels(batch).to(device)
    states = random_states.capture([])
    copies = {
        one: deepcopy(network).train().to(device).to(memory_format=layout(network, one.memory_format)) for one in found
    }
    seconds: dict[Choice, list[float]] = {one: [] for one in found}
    try:
        for _ in range(1 + STEPS):
            for one in list(seconds):
                taken = step(copies[one], task, inputs, labels, one.precision, device)
                if taken is None and one != found[0]:
                    del seconds[one]
                elif taken is not None:
                    seconds[one].append(taken)
    finally:
        random_states.restore(states, [])
    return {one: statistics.median(times[1:] or [0.0]) for one, times in seconds.items()}


def step(
    network: nn.Module, task: Task, inputs: Sequence[Tensor], labels: Tensor, precision: str, device: str
) -> float | None:
    """Seconds of a step; None where a layer refuses the precision, or the loss is not finite."""
    kind = torch.device(device).type
    start = now(kind)
    try:
        with torch.autocast(kind, torch.bfloat16, enabled=precision == "bf16-mixed"):
            outputs = network(*inputs)
        loss = task.loss(outputs.float(), labels)
        loss.backward()
    except RuntimeError as error:
        log.debug("speed=auto: %s is refused: %s", precision, error)
        return None
    network.zero_grad()
    return now(kind) - start if bool(torch.isfinite(loss)) else None


def now(kind: str) -> float:
    """Seconds by the clock, once a GPU has done what it was asked."""
    if kind == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()
