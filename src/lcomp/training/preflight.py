"""A user's network, asked before training what would otherwise fail, or be wrong, hours later."""

from __future__ import annotations

import copy
import json
import tempfile
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from omegaconf import DictConfig
from pytorch_lightning.utilities.seed import isolate_rng
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from lcomp.config import run_config
from lcomp.data.batches import Keys, children, choose, described, leaves, say
from lcomp.data.loaders import first_images, last_batch
from lcomp.errors import UserError
from lcomp.export.onnx_export import export
from lcomp.record.causes import as_user_error, error_message
from lcomp.runtimes import ONNXRuntime
from lcomp.training.fit import NotFinite

LOGITS = ("logits", "out", "output")
CLOSE = 1e-3  # of the largest logit: what two ways of computing the same may differ by
tried: set[str] = set()  # the models and shapes whose export this process has tried


def is_foreign(model: DictConfig) -> bool:
    """Whether a model's YAML names a network that is not lcomp's own."""
    return not str(model.get("_target_")).startswith("lcomp.")


def accept(network: nn.Module, name: str, data: Any) -> nn.Module:
    """`network` as the rest calls it: its weights are there and float32, and it gives logits (N, classes) alone.

    Args:
        network: as it was made; what must be drawn for lazy layers is drawn from torch's global generator.
        name: of it in messages, such as `model._target_=mine.Network`.
        data: whose images it is tried on, on a copy.

    Raises:
        UserError: it fails, gives something else, or computes what an artifact cannot.
        NotFinite: its first loss is NaN or infinite.
    """
    if not isinstance(network, nn.Module):
        raise UserError(f"{name}: gives a {type(network).__name__}, not an nn.Module")
    images = first_images(data)
    if any(t.is_floating_point() and t.dtype != torch.float32 for t in [*network.parameters(), *network.buffers()]):
        say(f"{name}: made float32 throughout")
        network.float()
    initialize(network, name, images)
    for module in network.modules():  # such as the weight of the older weight_norm, computed anew at each call
        vars(module).update({k: v.detach() for k, v in vars(module).items() if isinstance(v, Tensor) and not v.is_leaf})
    with isolate_rng():
        keep_logits(network, name, images, data.num_classes)
        trial = copied(network, name)
        learns(trial, name, images, data.num_classes, last_batch(data.train_dataloader()))
        answers(trial, name, images)
        copied(trial, name)
    return network


@torch.no_grad()
def initialize(network: nn.Module, name: str, images: Tensor) -> None:
    """Gives lazy layers their weights."""
    if not any(isinstance(parameter, UninitializedParameter) for parameter in network.parameters()):
        return
    modes = {module: module.training for module in network.modules()}
    with as_user_error(f"{name}: forward on pixels {tuple(images.shape)}"):
        network.eval()(images)
    for module in network.modules():
        module.training = modes.get(module, True)


def keep_logits(network: nn.Module, name: str, images: Tensor, classes: int) -> None:
    """Makes `network` give its logits alone, float32, where it gives them among others in training or in evaluation.

    Its class becomes a subclass with such a forward: names of layers and weights stay.
    """
    trial, images = copied(network, name), torch.cat([images, images])
    keys: Keys = ()
    cast = False
    for training in (True, False):
        with as_user_error(f"{name}: forward on pixels {tuple(images.shape)}"), torch.no_grad():
            output = trial.train(training)(images.clone())
        parts = leaves(output)
        logits = {k: v for k, v in parts.items() if isinstance(v, Tensor) and v.shape == (len(images), classes)}
        found = choose(logits, LOGITS)
        if found is None:
            raise UserError(f"{name}: gives {described(parts)}; {wanted(parts, logits, len(images), classes)}")
        if found and not keys:
            say(f"{name}: gives {described(parts)}; '{found[-1]}' is taken for the logits, the rest is left out")
        if not logits[found].is_floating_point():
            raise UserError(f"{name}: gives logits of {logits[found].dtype}; float32 is meant")
        keys, cast = keys or found, cast or logits[found].dtype != torch.float32
    if not keys and not cast:
        return
    kind = type(network)

    def forward(self: nn.Module, pixels: Tensor) -> Tensor:
        output = at(kind.forward(self, pixels), keys)
        return output.float() if cast else output  # type: ignore[no-any-return]

    network.__class__ = type(kind.__name__, (kind,), {"forward": forward, "__module__": kind.__module__})


def at(value: Any, keys: Keys) -> Any:
    """The part of `value` that `keys` lead to, or `value` where it has no parts."""
    for key in keys:
        parts = children(value)
        value = value if parts is None else parts[key]
    return value


def wanted(parts: dict[Keys, Any], logits: dict[Keys, Tensor], count: int, classes: int) -> str:
    """What a network should give, where it gives `parts`."""
    if logits:
        return "more than one of these may be the logits; name one 'logits', or return it alone"
    shapes = [tuple(part.shape) for part in parts.values() if isinstance(part, Tensor)]
    if shapes in ([(count,)], [(count, 1)]):
        return f"one logit; lcomp learns by cross-entropy: give one for each class, (N, {classes})"
    if len(shapes) == 1 and len(shapes[0]) == 2:
        return f"the data have {classes} classes: give (N, {classes}), as many as its argument num_classes says"
    return f"give logits (N, {classes})"


def learns(network: nn.Module, name: str, images: Tensor, classes: int, last: int | None) -> None:
    """Raises UserError unless a step of training can be taken, with the last batch of an epoch too."""
    network.train()
    sizes = [len(images)] + ([last] if last is not None and last < len(images) else [])
    for size in sizes:
        few = images[:size]
        advice = "; a training batch has one image: choose another batch size, or drop_last=True" if size == 1 else ""
        with as_user_error(f"{name}: a training step on pixels {tuple(few.shape)}", advice), torch.enable_grad():
            logits = network(few.clone())
            loss = F.cross_entropy(logits, torch.zeros(size, dtype=torch.int64))
            if not loss.requires_grad:
                raise UserError(f"{name}: nothing in it learns: no weight of its logits requires a gradient")
            loss.backward()
        if not logits.isfinite().all():
            raise NotFinite(f"the training loss is nan at step 0: {name} gives logits that are not finite")


@torch.no_grad()
def answers(network: nn.Module, name: str, images: Tensor) -> None:
    """Raises UserError unless each image has one answer in evaluation: the same at each call, whatever stands beside it
    in the batch."""
    network.eval()
    images = torch.cat([images, images]) * torch.linspace(1, 0.25, 2 * len(images)).view(-1, *[1] * (images.dim() - 1))
    given = images.clone()
    with as_user_error(f"{name}: forward on pixels {tuple(given.shape)}"):
        logits, again = network(given), network(images.clone())
    if not torch.equal(given, images):
        raise UserError(f"{name}: changes the pixels that it is given; compute new ones (x = x - 1, not x -= 1)")
    if not alike(logits, again):
        raise UserError(
            f"{name}: answers otherwise when it is asked again, in evaluation; it draws at random, or keeps something "
            "from call to call: do that in training alone (if self.training, F.dropout(x, training=self.training))"
        )
    for place in (0, len(images) - 1):
        with as_user_error(
            f"{name}: forward on a single image, pixels {tuple(images[:1].shape)}", "; any number may come"
        ):
            alone = network(images[place : place + 1].clone())
        if alone.shape != logits[:1].shape:
            raise UserError(f"{name}: gives {tuple(alone.shape)} for a single image; give {tuple(logits[:1].shape)}")
        if not alike(alone, logits[place : place + 1]):
            raise UserError(
                f"{name}: an image's logits depend on the images beside it in the batch, in evaluation; compute each "
                "image by itself (dim=0 is the batch)"
            )


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


def try_export(network: nn.Module, model: DictConfig, data: Any) -> None:
    """Raises UserError unless an artifact of the user's network as it is now gives its logits; once in a process for a
    model, and not for lcomp's own.

    Args:
        network: accepted, of `model`.
    """
    shape, classes, name = list(data.input_shape), data.num_classes, f"model._target_={model.get('_target_')}"
    key = json.dumps([run_config.plain_dict(model), shape, classes], sort_keys=True, default=str)
    if not is_foreign(model) or key in tried:
        return
    with tempfile.TemporaryDirectory() as folder, isolate_rng(), torch.no_grad():
        path, trial, images = Path(folder) / "trial.onnx", copied(network, name).eval(), first_images(data)
        export(trial, path, shape, classes)
        with as_user_error(f"{name}: its exported network", "; it must take any number of images"):
            session = ONNXRuntime().session(path)
            given = [torch.from_numpy(session(pixels.numpy())) for pixels in (images, images[:1])]
        if not all(alike(trial(images[: len(logits)]), logits) for logits in given):
            raise UserError(
                f"{name}: its exported network gives other logits than itself; something in forward is decided once, "
                "while it is exported: a branch on a value or on the number of images, self.training, a random number"
            )
    tried.add(key)
