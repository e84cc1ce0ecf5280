"""What every technique is: a Lightning callback that prepares a network, constrains it in training, finalizes it."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from types import MappingProxyType
from typing import cast

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lcomp.errors import UserError, suggestion
from lcomp.record.interruption import raise_machine_error
from lcomp.record.untrusted import check_checkpoint
from lcomp.tasks import Batch as Batch
from lcomp.techniques import inspection
from lcomp.techniques.example import Example, first
from lcomp.techniques.inspection import Calls
from lcomp.techniques.layer_kinds import ACTED_ON_NAMES, is_acted_on
from lcomp.techniques.layer_kinds import Layer as Layer
from lcomp.techniques.schedule import CandidateGate, Scheduled
from lcomp.techniques.short_training import ShortTraining

log = logging.getLogger(__name__)
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")  # of Lightning, whose weights are float32

StoredWeight = NDArray[np.float32] | NDArray[np.int8] | NDArray[np.uint8]  # as an artifact holds it


class Technique(Scheduled):
    """Base of the techniques.

    `prepare` registers parametrizations and hooks as the identity; it runs in `setup`, before the optimizer exists, so
    that a checkpoint has the same keys on the first step and the last. Schedules only change buffers. `finalize`
    returns the plain (or integer) network that is exported.
    """

    stage = 0  # order in which techniques prepare and finalize; a later one preserves what an earlier one did
    narrows = False  # True: the exported network has fewer channels
    short = ShortTraining()  # what it needs to act within 40 steps
    starts_fresh = False  # True: it trains from weights drawn from the seed, not from the trained baseline
    restarts: tuple[float, ...] = ()  # shares of training at which the learning rate's schedule begins anew
    calls: Calls | None = None  # what the network's forward does with its layers, once an example is there to ask with

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage == "fit":
            check_precision(trainer, network_of(pl_module))
            if not any(isinstance(callback, CandidateGate) for callback in trainer.callbacks):  # type: ignore[attr-defined]
                trainer.callbacks.append(CandidateGate())  # type: ignore[attr-defined]
            self.prepare_after_others(network_of(pl_module))

    def prepare_after_others(self, network: nn.Module) -> None:
        """`prepare`, when techniques of earlier stages have prepared `network`, and may have put other layers in."""
        if self.calls is not None and not self.calls.of >= {name for name, _ in layers(network)}:
            self.calls = None  # asked before there were these: the first training batch asks again
        self.prepare(network)

    def prepare(self, network: nn.Module) -> None:
        """Registers what the technique needs on `network`, once."""
        raise NotImplementedError

    def prepare_for(self, network: nn.Module, state: Mapping[str, Tensor]) -> None:
        """`prepare`, of a fresh network that is to take the weights in `state`, by name."""
        self.prepare(network)

    def finalize(self, network: nn.Module, calibration: Iterable[Example] = ()) -> nn.Module:
        """The network as it is deployed.

        Args:
            network: as `prepare` and training left it.
            calibration: batches of what the network takes in training, read only by techniques that need them.
        """
        raise NotImplementedError

    def unfinished(self, network: nn.Module) -> str:
        """What training has left undone of what was asked, for a warning; empty where nothing."""
        return ""

    def broken_promise(self, before: nn.Module, after: nn.Module, weights: Sequence[StoredWeight]) -> str:
        """What the exported network lacks of what the settings ask for, found without the technique's own masks and
        quantizers, for `lcomp.testing.TechniqueContract`; empty where nothing.

        Args:
            before: the network as it was before training.
            after: as `finalize` returned it.
            weights: of its convolutions and linear layers as the artifact holds them, integers where it is quantized.
        """
        return ""

    def check(self, network: nn.Module, example: Example | None = None) -> None:
        """Raises UserError where the technique cannot act on `network`.

        Args:
            example: a batch to ask the network with.
        """
        if example is not None:
            self.calls = inspection.observed_calls(network, example)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        if self.calls is None:
            try:
                self.calls = inspection.observed_calls(network_of(pl_module), first(example_of(pl_module, batch), 2))
            except Exception as error:  # whatever a foreign module raises that is not called with one tensor alone
                raise_machine_error(error)
                log.info("%s cannot be asked which layers it uses (%s): all are", type(pl_module).__name__, error)
                self.calls = Calls.of_all(network_of(pl_module))
            self.observe_network(network_of(pl_module))

    def observe_network(self, network: nn.Module) -> None:
        """Acts on what the first training batch has shown of the network, where `check` had no example to learn it."""

    def scalars(self, network: nn.Module) -> dict[str, float]:
        """What a user may want to watch over the epochs, such as `sparsity/fc1`; cheap, and without effect."""
        return {}


def finalize(network: nn.Module, callbacks: Iterable[pl.Callback], calibration: Iterable[Example] = ()) -> nn.Module:
    """`network` as it is deployed, after each of its techniques in the order of their stages; in evaluation mode.

    Args:
        callbacks: the techniques, and whatever other callbacks the Trainer added to its list.
        calibration: batches of training inputs, for techniques that observe ranges after training.
    """
    techniques = [callback for callback in callbacks if isinstance(callback, Technique)]
    for technique in techniques:
        undone = technique.unfinished(network)
        if undone:
            log.warning("the network is not what was asked for: %s; train until the schedules have ended", undone)
    for technique in sorted(techniques, key=lambda technique: technique.stage):
        network = technique.finalize(network, calibration)
    return network.eval()


def check_precision(trainer: pl.Trainer, network: nn.Module) -> None:
    """Raises UserError where weights would not stay float32 (or float64) throughout training."""
    if str(trainer.precision) not in PRECISIONS:
        raise UserError(
            f"precision={trainer.precision}: techniques keep weights, masks and ranges in float32; "
            f"{', '.join(PRECISIONS)} do"
        )
    for name, layer in layers(network):
        for tensor in inspection.stored_tensors(layer):
            if tensor.dtype not in (torch.float32, torch.float64):
                kind = str(tensor.dtype).removeprefix("torch.")
                raise UserError(
                    f"{name} has weights in {kind}: call .float() on the network; precision=bf16-mixed "
                    "computes in 16 bits and keeps weights in 32"
                )


def load_checkpoint(path: str | Path, module: nn.Module, techniques: Sequence[pl.Callback] = ()) -> nn.Module:
    """`module` with the state of a checkpoint of Lightning's that was trained under `techniques`, as training left it:
    for `finalize`, or to validate. Nothing in the file is executed.

    Args:
        module: a fresh LightningModule of that kind, or its network alone.
        techniques: those of the training, with the same settings and in the same order; a `BaselineModule` knows them.

    Raises:
        UserError: the file cannot be read so, takes more memory than it has bytes, or its weights are not those of
            `module` under `techniques`.
    """
    techniques = techniques or getattr(module, "techniques", ())
    try:
        check_checkpoint(Path(path))
        state: dict[str, Tensor] = torch.load(path, weights_only=True, map_location="cpu")["state_dict"]
        own = {key.removeprefix("network."): value for key, value in state.items() if key.startswith("network.")}
        for technique in techniques:
            if isinstance(technique, Technique):
                technique.prepare_for(network_of(module), own or state)  # type: ignore[arg-type]
        module.load_state_dict(state if isinstance(module, pl.LightningModule) else own or state)
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


def example_of(module: pl.LightningModule, batch: Batch) -> Example:
    """What the network sees of a training batch: as the module says, or, of a foreign one, the first tensor."""
    inputs: Callable[[Batch], Example] | None = getattr(module, "inputs", None)
    return batch[0] if inputs is None else inputs(batch)


def layers(network: nn.Module, exclude: Sequence[str] = ()) -> Iterator[tuple[str, Layer]]:
    """The named convolutions and linear layers of `network` whose names match no pattern of `exclude`."""
    for name, module in network.named_modules():
        if is_acted_on(module) and not any(fits(name, pattern) for pattern in exclude):
            yield name, cast(Layer, module)


def fits(name: str, pattern: str) -> bool:
    """Whether a pattern of names means the layer of that name, or a module that holds it."""
    return fnmatch(name, pattern) or fnmatch(name, f"{pattern}.*")


def acted_on(
    network: nn.Module,
    family: str,
    exclude: Sequence[str],
    reason: Callable[[str, Layer], str | None],
    calls: Calls | None,
) -> tuple[dict[str, Layer], dict[str, str]]:
    """The layers that a family acts on, by name, and why it leaves others as they are.

    Args:
        exclude: patterns of names that the user excludes: they need no reason.
        reason: the family's own for leaving a layer alone, or None.
        calls: what the network's forward does, where that is known.

    Raises:
        UserError: no layer is left.
    """
    candidates, shared = dict(layers(network, exclude)), inspection.weight_sharers(network)
    reasons: dict[str, str] = {}
    for name, layer in candidates.items():
        if not inspection.stored_tensors(layer):
            obstacle: str | None = "a hook computes its weight (torch.nn.utils.prune, weight_norm); make that permanent"
        elif calls is not None and name not in calls.read:
            obstacle = "the network's forward does not use it"
        else:
            obstacle = reason(name, layer)
        if obstacle:
            reasons[name] = obstacle
    fit = {f"{name}.weight" for name in candidates if name not in reasons}
    while apart := {name: shared[name] for name in candidates if apart_from(fit, name, shared)}:
        for name, others in apart.items():
            reasons[name] = f"its weight is {', '.join(others)} too"
            fit.discard(f"{name}.weight")
    if candidates and not fit:
        listed = "; ".join(f"{name}: {why}" for name, why in reasons.items())
        raise UserError(f"{family}: no layer of {type(network).__name__} can be acted on ({listed})")
    return {name: layer for name, layer in candidates.items() if name not in reasons}, reasons


def apart_from(fit: Collection[str], name: str, shared: Mapping[str, Sequence[str]]) -> bool:
    """Whether a layer is fit but shares its weight with something that is not."""
    return f"{name}.weight" in fit and not set(shared.get(name, ())) <= set(fit)


def check_patterns(network: nn.Module, patterns: Sequence[str], key: str) -> None:
    """Raises UserError for a pattern that matches no layer, or a network without any."""
    names = [name for name, _ in layers(network)]
    if not names:
        family = key.partition(".")[0]
        raise UserError(f"{family}: {type(network).__name__} has no Conv2d and no Linear layer to act on")
    for pattern in patterns:
        if not any(fits(name, pattern) for name in names):
            hint = suggestion(pattern, names)
            raise UserError(f"{key}: '{pattern}' matches no layer; the layers are {', '.join(names)}{hint}")


def warn_of_others(network: nn.Module, family: str, left_alone: Mapping[str, str] = MappingProxyType({})) -> None:
    """Names the weights that no technique acts on: those of layers in `left_alone`, with the reason, and those that
    none of the kinds that are acted on holds."""
    known = {name for name, _ in layers(network)}
    others = [
        name
        for path, module in network.named_modules()
        if path not in known and ".parametrizations." not in f".{path}."
        for name in matrix_names(path, module)
    ]
    if others:
        log.warning("%s acts on %s layers; left as they are: %s", family, ACTED_ON_NAMES, ", ".join(others))
    for name, reason in left_alone.items():
        log.warning("%s leaves %s as it is: %s", family, name, reason)


def matrix_names(path: str, module: nn.Module) -> list[str]:
    """What to call the matrices that `module` holds itself: by its own name, or by theirs where it holds layers too."""
    names = [name for name, parameter in module.named_parameters(recurse=False) if parameter.dim() > 1]
    if path and names and not any(module.children()):
        return [path]
    return [f"{path}.{name}".lstrip(".") for name in names]
