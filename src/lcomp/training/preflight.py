"""A user's network, asked before training what would otherwise fail, or be wrong, hours later."""

from __future__ import annotations

import copy
import inspect
import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.utilities.seed import isolate_rng
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from lcomp.config.instantiation import find
from lcomp.config.settings import Settings
from lcomp.data.loaders import first_batch, first_inputs, last_batch
from lcomp.data.protocol import Data
from lcomp.errors import UserError
from lcomp.export import export
from lcomp.record.causes import as_user_error, error_message
from lcomp.runtimes import ONNXRuntime
from lcomp.tasks import Task
from lcomp.tasks.batch_parts import Keys, children, choose, described, leaves, say
from lcomp.tasks.task import Inputs
from lcomp.training.fit import NotFinite

OUTPUTS = ("logits", "out", "output")
CLOSE = 1e-3  # of the largest output: what two ways of computing the same may differ by
tried: set[str] = set()  # the models and shapes whose export this process has tried


def is_foreign(model: Settings) -> bool:
    """Whether a model's settings name a network that is not lcomp's own, or one of lcomp's that can hold any."""
    name = str(model.get("_target_"))
    return not name.startswith("lcomp.") or getattr(find(name, "model._target_"), "is_tried", False)


def accept(network: nn.Module, name: str, data: Data) -> nn.Module:
    """`network` as the rest calls it: its weights are there and float32, and it gives outputs (N, output_size) alone.

    Args:
        network: as it was made; what must be drawn for lazy layers is drawn from torch's global generator.
        name: of it in messages, such as `model._target_=mine.Network`.
        data: whose examples it is tried on, on a copy.

    Raises:
        UserError: it fails, gives something else, or computes what an artifact cannot.
        NotFinite: its first loss is NaN or infinite.
    """
    if not isinstance(network, nn.Module):
        raise UserError(f"{name}: gives a {type(network).__name__}, not an nn.Module")
    task, inputs = data.task, first_inputs(data)
    labels = task.labels(first_batch(data))[: count(inputs)]
    if any(t.is_floating_point() and t.dtype != torch.float32 for t in [*network.parameters(), *network.buffers()]):
        say(f"{name}: made float32 throughout")
        network.float()
    initialize(network, name, inputs)
    for module in network.modules():  # such as the weight of the older weight_norm, computed anew at each call
        vars(module).update({k: v.detach() for k, v in vars(module).items() if isinstance(v, Tensor) and not v.is_leaf})
    with isolate_rng():
        keep_outputs(network, name, inputs, task)
        trial = copied(network, name)
        learns(trial, name, inputs, labels, task, last_batch(data.train_dataloader()))
        check_deterministic(trial, name, inputs)
        copied(trial, name)
    return network


def check_arguments(network: nn.Module, name: str, task: Task) -> None:
    """Raises UserError for a network that is called with other inputs than the task has."""
    names = list(task.example_inputs(1))
    try:
        inspect.signature(network.forward).bind(*names)
    except TypeError as error:
        takes = ", ".join(inspect.signature(network.forward).parameters)
        raise UserError(f"{name}: takes ({takes}); {type(task).__name__} gives ({', '.join(names)})") from error


def count(inputs: Inputs) -> int:
    """How many examples there are."""
    return len(next(iter(inputs.values())))


def rows(inputs: Inputs, which: slice) -> Inputs:
    """Some of the examples, as tensors of their own."""
    return {name: values[which].clone() for name, values in inputs.items()}


def shapes(inputs: Inputs) -> str:
    """Such as `inputs (8, 1, 28, 28)`."""
    return ", ".join(f"{name} {tuple(values.shape)}" for name, values in inputs.items())


def call_network(network: nn.Module, inputs: Inputs) -> Any:
    return network(*inputs.values())


@torch.no_grad()
def initialize(network: nn.Module, name: str, inputs: Inputs) -> None:
    """Gives lazy layers their weights."""
    if not any(isinstance(parameter, UninitializedParameter) for parameter in network.parameters()):
        return
    modes = {module: module.training for module in network.modules()}
    with as_user_error(f"{name}: forward on {shapes(inputs)}"):
        call_network(network.eval(), inputs)
    for module in network.modules():
        module.training = modes.get(module, True)


def keep_outputs(network: nn.Module, name: str, inputs: Inputs, task: Task) -> None:
    """Makes `network` give its outputs alone, float32, where it gives them among others in training or in evaluation.

    Its class becomes a subclass with such a forward: names of layers and weights stay.
    """
    trial = copied(network, name)
    inputs = {key: torch.cat([values, values]) for key, values in inputs.items()}
    keys: Keys = ()
    cast = False
    for training in (True, False):
        with as_user_error(f"{name}: forward on {shapes(inputs)}"), torch.no_grad():
            output = call_network(trial.train(training), rows(inputs, slice(None)))
        parts = leaves(output)
        shape = (count(inputs), task.output_size)
        outputs = {k: v for k, v in parts.items() if isinstance(v, Tensor) and v.shape == shape}
        found = choose(outputs, OUTPUTS)
        if found is None:
            raise UserError(f"{name}: gives {described(parts)}; {output_advice(parts, outputs, count(inputs), task)}")
        if found and not keys:
            say(f"{name}: gives {described(parts)}; '{found[-1]}' is taken for the {task.output}, the rest is left out")
        if not outputs[found].is_floating_point():
            raise UserError(f"{name}: gives {task.output} of {outputs[found].dtype}; float32 is meant")
        keys, cast = keys or found, cast or outputs[found].dtype != torch.float32
    if not keys and not cast:
        return
    kind = type(network)

    def chosen(output: Any) -> Tensor:
        found: Tensor = value_at(output, keys)
        return found.float() if cast else found

    def forward_of_one(self: nn.Module, given: Tensor) -> Tensor:  # which can be traced
        return chosen(kind.forward(self, given))

    def forward_of_several(self: nn.Module, *given: Tensor) -> Tensor:
        return chosen(kind.forward(self, *given))

    forward = forward_of_one if len(inputs) == 1 else forward_of_several
    network.__class__ = type(kind.__name__, (kind,), {"forward": forward, "__module__": kind.__module__})


def value_at(value: Any, keys: Keys) -> Any:
    """The part of `value` that `keys` lead to, or `value` where it has no parts."""
    for key in keys:
        parts = children(value)
        value = value if parts is None else parts[key]
    return value


def output_advice(parts: dict[Keys, Any], outputs: dict[Keys, Tensor], examples: int, task: Task) -> str:
    """What a network should give, where it gives `parts`."""
    if outputs:
        return f"more than one of these may be the {task.output}; name one '{task.output}', or return it alone"
    found = [tuple(part.shape) for part in parts.values() if isinstance(part, Tensor)]
    if found in ([(examples,)], [(examples, 1)]):
        return task.advice(1)
    if len(found) == 1 and len(found[0]) == 2:
        return f"{task.advice(found[0][1])}, as many as its argument num_classes says"
    return f"give {task.output} (N, {task.output_size})"


def learns(network: nn.Module, name: str, inputs: Inputs, labels: Tensor, task: Task, last: int | None) -> None:
    """Raises UserError unless a step of training can be taken, with the last batch of an epoch too."""
    network.train()
    sizes = [count(inputs)] + ([last] if last is not None and last < count(inputs) else [])
    for size in sizes:
        few = rows(inputs, slice(size))
        advice = "; a training batch has one example: choose another batch size, or drop_last=True" if size == 1 else ""
        with as_user_error(f"{name}: a training step on {shapes(few)}", advice), torch.enable_grad():
            outputs = call_network(network, few)
            loss = task.loss(outputs, labels[:size])
            if not loss.requires_grad:
                raise UserError(f"{name}: nothing in it learns: no weight of its {task.output} requires a gradient")
            loss.backward()
        if not outputs.isfinite().all():
            raise NotFinite(f"the training loss is nan at step 0: {name} gives {task.output} that are not finite")


@torch.no_grad()
def check_deterministic(network: nn.Module, name: str, inputs: Inputs) -> None:
    """Raises UserError unless each example has one answer in evaluation: the same at each call, whatever stands beside
    it in the batch."""
    network.eval()
    examples = {key: varied(values) for key, values in inputs.items()}
    size, given = count(examples), rows(examples, slice(None))
    with as_user_error(f"{name}: forward on {shapes(given)}"):
        outputs, again = call_network(network, given), call_network(network, rows(examples, slice(None)))
    if not all(torch.equal(given[key], values) for key, values in examples.items()):
        raise UserError(
            f"{name}: changes the {', '.join(inputs)} that it is given; compute new ones (x = x - 1, not x -= 1)"
        )
    if not alike(outputs, again):
        raise UserError(
            f"{name}: answers otherwise when it is asked again, in evaluation; it draws at random, or keeps something "
            "from call to call: do that in training alone (if self.training, F.dropout(x, training=self.training))"
        )
    for place in (0, size - 1):
        single = rows(examples, slice(place, place + 1))
        with as_user_error(f"{name}: forward on a single example, {shapes(single)}", "; any number may come"):
            alone = call_network(network, single)
        if alone.shape != outputs[:1].shape:
            raise UserError(f"{name}: gives {tuple(alone.shape)} for a single example; give {tuple(outputs[:1].shape)}")
        if not alike(alone, outputs[place : place + 1]):
            raise UserError(
                f"{name}: an example's outputs depend on the examples beside it in the batch, in "
                "evaluation; compute each by itself (dim=0 is the batch)"
            )


def varied(values: Tensor) -> Tensor:
    """Examples and, of real numbers, the same again at other strengths: twice as many, no two alike."""
    twice = torch.cat([values, values])
    if not values.is_floating_point():
        return twice
    return twice * torch.linspace(1, 0.25, len(twice)).view(-1, *[1] * (values.dim() - 1))


def alike(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, rtol=CLOSE, atol=CLOSE * float(one.abs().max()), equal_nan=True)


def copied(network: nn.Module, name: str) -> nn.Module:
    """A copy, such as those that are exported and compressed."""
    try:
        return copy.deepcopy(network)
    except Exception as error:
        kept = [
            ".".join(filter(None, (path, key)))
            for path, module in network.named_modules()
            for key, value in vars(module).items()
            if isinstance(value, Tensor) and not value.is_leaf
        ]
        what = f"it keeps {kept[0]}, computed in forward: keep {kept[0]}.detach()" if kept else error_message(error)
        raise UserError(f"{name}: cannot be copied, as exporting it needs: {what}") from error


def try_export(network: nn.Module, model: Settings, data: Data) -> None:
    """Raises UserError unless an artifact of the user's network as it is now gives its outputs; once in a process for a
    model, and not for lcomp's own.

    Args:
        network: accepted, of `model`.
    """
    task, name = data.task, f"model._target_={model.get('_target_')}"
    key = json.dumps([model, type(task).__name__, task.arguments], sort_keys=True, default=str)
    if not is_foreign(model) or key in tried:
        return
    with tempfile.TemporaryDirectory() as folder, isolate_rng(), torch.no_grad():
        path, trial, inputs = Path(folder) / "trial.onnx", copied(network, name).eval(), first_inputs(data)
        export(trial, path, task)
        with as_user_error(f"{name}: its exported network", "; it must take any number of examples"):
            session = ONNXRuntime().session(path)
            some = [inputs, rows(inputs, slice(1))]
            given = [torch.from_numpy(session({k: v.numpy() for k, v in few.items()})) for few in some]
        if not all(alike(call_network(trial, few), outputs) for few, outputs in zip(some, given, strict=True)):
            raise UserError(
                f"{name}: its exported network gives other {task.output} than itself; something in forward is decided "
                "once, while it is exported: a branch on a value or on the number of examples, self.training, a random "
                "number"
            )
    tried.add(key)
