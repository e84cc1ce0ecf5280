"""What every technique is: a Lightning callback that prepares a network, constrains it in training, finalizes it."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import TypeVar

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from lcomp.errors import UserError, nearest
from lcomp.techniques.schedule import Candidates, Scheduled

log = logging.getLogger(__name__)
Layer = nn.Conv2d | nn.Linear
P = TypeVar("P", bound=nn.Module)
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")  # of Lightning, whose weights are float32


class Technique(Scheduled):
    """Base of the techniques.

    `prepare` registers parametrizations and hooks as the identity; it runs in `setup`, before the optimizer exists, so
    that a checkpoint has the same keys on the first step and the last. Schedules only change buffers. `finalize`
    returns the plain (or integer) network that is exported.
    """

    stage = 0  # order in which techniques prepare and finalize; a later one preserves what an earlier one did
    starts_fresh = False  # True: it trains from weights drawn from the seed, not from the trained baseline
    restarts: tuple[float, ...] = ()  # shares of training at which the learning rate's schedule begins anew

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage == "fit":
            if str(trainer.precision) not in PRECISIONS:
                raise UserError(
                    f"precision={trainer.precision}: techniques keep weights, masks and ranges in float32; "
                    f"{', '.join(PRECISIONS)} do"
                )
            for name, layer in layers(network_of(pl_module)):
                if original(layer).dtype not in (torch.float32, torch.float64):
                    kind = str(original(layer).dtype).removeprefix("torch.")
                    raise UserError(
                        f"{name} has weights in {kind}: call .float() on the network; precision=bf16-mixed "
                        "computes in 16 bits and keeps weights in 32"
                    )
            if not any(isinstance(one, Candidates) for one in trainer.callbacks):  # type: ignore[attr-defined]
                trainer.callbacks.append(Candidates())  # type: ignore[attr-defined]
            self.prepare(network_of(pl_module))

    def prepare(self, network: nn.Module) -> None:
        """Registers what the technique needs on `network`, once."""
        raise NotImplementedError

    def finalize(self, network: nn.Module, calibration: Iterable[Tensor] = ()) -> nn.Module:
        """The network as it is deployed.

        Args:
            network: as `prepare` and training left it.
            calibration: batches of training pixels (N, C, H, W), read only by techniques that need them.
        """
        raise NotImplementedError

    def unfinished(self, network: nn.Module) -> str:
        """What training has left undone of what was asked, for a warning; empty where nothing."""
        return ""

    def check(self, network: nn.Module) -> None:
        """Raises UserError where the technique cannot act on `network`."""

    def scalars(self, network: nn.Module) -> dict[str, float]:
        """What a user may want to watch over the epochs, such as `sparsity/fc1`; cheap, and without effect."""
        return {}


def finalize(network: nn.Module, callbacks: Iterable[pl.Callback], calibration: Iterable[Tensor] = ()) -> nn.Module:
    """`network` as it is deployed, after each of its techniques in the order of their stages; in evaluation mode.

    Args:
        callbacks: the techniques, and whatever other callbacks the Trainer added to its list.
        calibration: batches of training pixels, for techniques that observe ranges after training.
    """
    techniques = [callback for callback in callbacks if isinstance(callback, Technique)]
    for technique in techniques:
        undone = technique.unfinished(network)
        if undone:
            log.warning("the network is not what was asked for: %s; train until the schedules have ended", undone)
    for technique in sorted(techniques, key=lambda technique: technique.stage):
        network = technique.finalize(network, calibration)
    return network.eval()


def load_checkpoint(path: str | Path, module: nn.Module, techniques: Sequence[pl.Callback] = ()) -> nn.Module:
    """`module` with the state of a checkpoint of Lightning's that was trained under `techniques`, as training left it:
    for `finalize`, or to validate. Nothing in the file is executed.

    Args:
        module: a fresh LightningModule of that kind, or its network alone.
        techniques: those of the training, with the same settings and in the same order; a `BaselineModule` knows them.

    Raises:
        UserError: the file cannot be read so, or its weights are not those of `module` under `techniques`.
    """
    techniques = techniques or getattr(module, "techniques", ())
    for technique in techniques:
        if isinstance(technique, Technique):
            technique.prepare(network_of(module))  # type: ignore[arg-type]
    try:
        state: dict[str, Tensor] = torch.load(path, weights_only=True, map_location="cpu")["state_dict"]
        if not isinstance(module, pl.LightningModule):
            own = {key.removeprefix("network."): value for key, value in state.items() if key.startswith("network.")}
            state = own or state
        module.load_state_dict(state)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such checkpoint") from error
    except (KeyError, TypeError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        named = ", ".join(type(technique).__name__ for technique in techniques) or "no technique"
        unreadable = isinstance(error, pickle.UnpicklingError)
        cause = "it cannot be read without executing code" if unreadable else " ".join(str(error).split())[:200]
        raise UserError(
            f"{path}: not of {type(module).__name__} under {named}; name all, as in training ({cause})"
        ) from error
    return module


def network_of(module: pl.LightningModule) -> nn.Module:
    """What a technique acts on: `module.network`, or a foreign module itself."""
    network = getattr(module, "network", module)
    assert isinstance(network, nn.Module)
    return network


def pixels_of(module: pl.LightningModule, batch: Sequence[Tensor]) -> Tensor:
    """What the network sees of a training batch: as the module says, or, of a foreign one, the first tensor."""
    pixels: Tensor = getattr(module, "pixels", lambda batch: batch[0])(batch)
    return pixels


def layers(network: nn.Module, exclude: Sequence[str] = ()) -> Iterator[tuple[str, Layer]]:
    """The named convolutions and linear layers of `network` whose names match no pattern of `exclude`."""
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear) and not any(fnmatch(name, pattern) for pattern in exclude):
            yield name, module


def check_patterns(network: nn.Module, patterns: Sequence[str], key: str) -> None:
    """Raises UserError for a pattern that matches no layer, or a network without any."""
    names = [name for name, _ in layers(network)]
    if not names:
        family = key.partition(".")[0]
        raise UserError(f"{family}: {type(network).__name__} has no Conv2d and no Linear layer to act on")
    for pattern in patterns:
        if not any(fnmatch(name, pattern) for name in names):
            hint = nearest(pattern, names)
            raise UserError(f"{key}: '{pattern}' matches no layer; the layers are {', '.join(names)}{hint}")


def warn_of_others(network: nn.Module, family: str) -> None:
    """Names the weights that no technique acts on: those of layers that are neither Conv2d nor Linear."""
    known = {name for name, _ in layers(network)}
    others = [
        name
        for name, module in network.named_modules()
        if name not in known and ".parametrizations." not in name and any(p.dim() > 1 for p in module.parameters(False))
    ]
    if others:
        log.warning("%s acts on Conv2d and Linear layers; left as they are: %s", family, ", ".join(others))


def chain(layer: nn.Module) -> list[nn.Module]:
    """The parametrizations on the layer's weight, in the order in which they apply."""
    if not parametrize.is_parametrized(layer, "weight"):
        return []
    assert isinstance(layer.parametrizations, nn.ModuleDict)
    return list(layer.parametrizations["weight"].children())


def parametrization(layer: nn.Module, kind: type[P]) -> P | None:
    """The parametrization of that kind on the layer's weight."""
    return next((one for one in chain(layer) if isinstance(one, kind)), None)


def original(layer: nn.Module) -> Tensor:
    """The layer's weight beneath its parametrizations: what the optimizer moves."""
    weight = layer.weight
    if parametrize.is_parametrized(layer, "weight"):
        assert isinstance(layer.parametrizations, nn.ModuleDict)
        weight = layer.parametrizations["weight"].original
    assert isinstance(weight, Tensor)
    return weight


@torch.no_grad()
def remove_parametrization(layer: nn.Module, kind: type[nn.Module], bake: bool) -> None:
    """Takes the parametrization of that kind off the layer's weight and leaves the others in place.

    Args:
        bake: apply it to the weight beneath once and for all; only right for the first one in the chain.
    """
    ones, weight = chain(layer), original(layer).detach().clone()
    parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)
    for one in ones:
        if isinstance(one, kind):
            weight = one(weight) if bake else weight
        else:
            parametrize.register_parametrization(layer, "weight", one, unsafe=True)
    original(layer).copy_(weight)
