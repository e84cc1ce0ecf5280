"""A network's weights from a file that somebody else may have written: its tensors, and whose they are."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeGuard

import torch
from torch import Tensor, nn

from lcomp.errors import UserError, needing
from lcomp.models.blocks import Normalize
from lcomp.record.causes import innermost_message
from lcomp.record.files import sha256
from lcomp.record.interruption import raise_machine_error
from lcomp.record.untrusted import check_checkpoint

NESTED = ("state_dict", "model")  # where training scripts and Lightning put the weights, beside other things
WRAPPERS = ("module", "network", "model", "_orig_mod")  # DataParallel's, Lightning modules' usual, torch.compile's
SHOWN = 5  # names of a kind in a message
State = Mapping[str, Tensor]


def load_weights(path: Path, network: nn.Module) -> nn.Module:
    """`network` with the weights in a file: safetensors, a state dict of torch's, by itself or under `state_dict` or
    `model`, or a Lightning checkpoint. Nothing in the file is executed.

    Names count without what a wrapper puts before them, such as `module.`. The file may lack the network's own
    normalization of its input, and how many batches a batch norm has seen.

    Raises:
        UserError: the file is missing or cannot be read so; or a tensor is missing, has no place in the network, is of
            another shape or kind, or has values that are not finite.
    """
    state = read_weights(path)
    if any(".parametrizations." in name for name in state):
        raise UserError(f"{path}: holds a pruned or quantized network; name a file of one that is neither")
    own = network.state_dict()
    found = for_names(state, own, normalized(network))
    wrong = {kind: names for kind, names in faults(found, own, optional(network)).items() if names}
    if wrong:
        said = "; ".join(f"{len(names)} {kind}: {listed(names)}" for kind, names in wrong.items())
        raise UserError(f"{path}: not the weights of this {type(network).__name__}: {said}")
    network.load_state_dict(found, strict=False)
    return network


def weights_identity(path: Path) -> str:
    """The SHA-256 of the file that `baseline.weights` names.

    Raises:
        UserError: there is none.
    """
    try:
        return sha256(found_file(path))
    except UserError as error:
        raise UserError(f"baseline.weights={error}") from error


def found_file(path: Path) -> Path:
    """The path, unless it is none of a file."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; name one of weights: .safetensors, .pt, .pth, a run's checkpoint.ckpt")
    return path


def check_overrides(overrides: Sequence[str]) -> None:
    """Raises UserError where the command asks for training a baseline that is read from a file."""
    for override in overrides:
        group, _, package = override.partition("=")[0].lstrip("+").partition("@")
        key = package or group
        if key.startswith("baseline.") and key not in ("baseline.weights", "baseline.cache"):
            raise UserError(f"{override}: nothing trains a baseline whose weights are read from baseline.weights")


def read_weights(path: Path) -> State:
    """The tensors in a file, by name.

    Raises:
        UserError: there are none, or reading them would execute code.
    """
    try:
        with open(found_file(path), "rb") as file:
            is_safetensors = file.read(9)[8:] == b"{"  # behind the length of a header of JSON
        if is_safetensors:
            with needing(
                "weights", str(path), instead="torch.save(network.state_dict(), PATH) leaves a file that needs none"
            ):
                from safetensors.torch import load_file

            loaded: object = load_file(path)
        else:
            check_checkpoint(path)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of tensors that are refused, such as sparse ones
                loaded = torch.load(path, weights_only=True, map_location="cpu")
    except UserError:
        raise
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path}: holds something else than tensors by name, and nothing else is read; save a network's weights "
            "alone, as torch.save(network.state_dict(), PATH) does"
        ) from error
    except Exception as error:  # whatever a damaged file makes of a reader
        raise_machine_error(error)
        raise UserError(f"{path}: not a file of weights ({innermost_message(error)})") from error
    state = state_in(loaded)
    if state is None:
        held = f"a {type(loaded).__name__}" + (f" of {listed(map(str, loaded))}" if isinstance(loaded, Mapping) else "")
        raise UserError(f"{path}: has no weights by name; it holds {held}")
    return state


def state_in(loaded: object) -> State | None:
    """The tensors by name that are in what a file holds."""
    for key in NESTED:
        if isinstance(loaded, Mapping) and is_state(inner := loaded.get(key)):
            return inner
    return loaded if is_state(loaded) else None


def is_state(value: object) -> TypeGuard[State]:
    """Whether it has names and tensors, and nothing else."""
    return (
        isinstance(value, Mapping)
        and len(value) > 0
        and all(isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in value.items())
    )


def for_names(state: State, own: Iterable[str], behind: Mapping[str, str] | None = None) -> dict[str, Tensor]:
    """The tensors under the network's names: less the wrappers before them in the file, more those in the network.

    Of several ways to read the names the one that fits most counts; what a module holds beside its network, such as a
    loss, is no part of it then.

    Args:
        behind: what names begin with of layers that lcomp put behind a normalization, to what they began with before.
    """
    plain = {unwrapped(name, behind or {}): name for name in own}
    best = dict(state)
    for names in ({name: name for name in plain.values()}, plain):
        for outer in sorted({start for name in state for start in wrappers(name)}, key=len):
            for inner in sorted({start for name in names for start in wrappers(name)}, key=len):
                inside = {inner + name.removeprefix(outer): state[name] for name in state if name.startswith(outer)}
                read = {names.get(name, name): tensor for name, tensor in inside.items()}
                if len(read.keys() & plain.values()) > len(best.keys() & plain.values()):
                    best = read
    return best


def normalized(network: nn.Module) -> dict[str, str]:
    """`features.0.1.` to `features.0.` for each pair of a `Normalize` and a layer that lcomp put in a layer's place."""
    firsts = [name for name, module in network.named_modules() if isinstance(module, Normalize)]
    places = [name.removesuffix(".0") for name in firsts if name.endswith(".0")]
    return {f"{place}.1.": f"{place}." for place in places}


def unwrapped(name: str, behind: Mapping[str, str]) -> str:
    start = next((start for start in behind if name.startswith(start)), "")
    return behind.get(start, "") + name.removeprefix(start)


def wrappers(name: str) -> list[str]:
    """What may be left out at a name's beginning: nothing, `module.`, `module.model.` ..."""
    starts, parts = [""], name.split(".")[:-1]
    for part in parts:
        if part not in WRAPPERS:
            break
        starts.append(f"{starts[-1]}{part}.")
    return starts


def optional(network: nn.Module) -> set[str]:
    """The names of what a file may lack."""
    norms = [name for name, module in network.named_modules() if isinstance(module, Normalize)]
    kept = {f"{name}.{buffer}".lstrip(".") for name in norms for buffer in ("mean", "std")}
    return kept | {name for name in network.state_dict() if name.endswith("num_batches_tracked")}


def faults(found: State, own: State, may_lack: set[str]) -> dict[str, list[str]]:
    """The names of what does not fit, by what is wrong with it."""
    both = [name for name in own if name in found]
    shaped = [name for name in both if found[name].shape == own[name].shape]
    kinds = {name: kind_of(found[name]) for name in shaped}
    usable = [name for name in shaped if kinds[name] == kind_of(own[name])]
    return {
        "missing": [name for name in own if name not in found and name not in may_lack],
        "not in the network": [name for name in found if name not in own],
        "of another shape": [
            f"{name} {tuple(found[name].shape)}, not {tuple(own[name].shape)}" for name in both if name not in kinds
        ],
        "of another kind": [
            f"{name} of {kinds[name]}, not {kind_of(own[name])}" for name in shaped if name not in usable
        ],
        "not finite": [name for name in usable if not found[name].isfinite().all()],
    }


def kind_of(tensor: Tensor) -> str:
    """What its values are: floats and integers of any width are one kind each."""
    if tensor.layout != torch.strided or tensor.is_meta or tensor.is_quantized:
        return str(tensor.layout if not tensor.is_quantized else tensor.dtype)
    if tensor.is_floating_point():
        return "floats"
    return str(tensor.dtype) if tensor.is_complex() else "integers"


def listed(names: Iterable[str]) -> str:
    """The first few."""
    every = list(names)
    return ", ".join(every[:SHOWN]) + (f" and {len(every) - SHOWN} more" if len(every) > SHOWN else "")
