"""Removal of whole layers and blocks before training (the residual blocks of a network, as in Chen & Zhao 2018)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from lcomp.errors import UserError, suggestion
from lcomp.record.interruption import raise_machine_error
from lcomp.techniques import layer_graph
from lcomp.techniques.example import Arguments, Example, arguments
from lcomp.techniques.inspection import Argument
from lcomp.techniques.pruning.channel_removal import evaluated_logits, first_line
from lcomp.techniques.pruning.channels import is_own_hook
from lcomp.techniques.short_training import ShortTraining
from lcomp.techniques.technique import StoredWeight, Technique


class LayerPruning(Technique):
    """Puts an identity in the place of named submodules, before training; what is left fine-tunes. A submodule's own
    forward hooks go over to the identity.

    Args:
        layers: names of submodules that give a tensor of the shape of the first that they take, such as a residual
            block `layer1.1`, or an encoder's layer `layers.3`, which is called with a mask as well.

    Raises:
        UserError: a name of no submodule, of one inside another, or of one that holds hooks; in `check` with inputs,
            or else with the first batch: a submodule that does not give one tensor of the shape of its first; in
            `check` also a network that fails without it.
    """

    stage = 1
    short = ShortTraining({"layers": ["relu"]})  # all of the small network that keeps its shape

    def __init__(self, layers: Sequence[str] = ()):
        self.layers = tuple(layers)

    def broken_promise(self, before: nn.Module, after: nn.Module, weights: Sequence[StoredWeight]) -> str:
        left = [name for name in self.layers if not isinstance(after.get_submodule(name), nn.Identity)]
        return f"{', '.join(left)} are still there" if left else ""

    def check(self, network: nn.Module, example: Example | None = None) -> None:
        """Raises UserError where the technique cannot act on `network`; with an example it tries a copy."""
        names = [name for name, _ in network.named_modules(remove_duplicate=False) if name]
        for layer in self.layers:
            if layer not in names:
                parent = layer.rpartition(".")[0]
                siblings = [name for name in names if name.rpartition(".")[0] == parent]
                hint = suggestion(layer, names) or (f"; there are {', '.join(siblings)}" if siblings else "")
                raise UserError(f"prune.layers: {layer} is no part of {type(network).__name__}{hint}")
            for outer in self.layers:
                if layer.startswith(f"{outer}."):
                    raise UserError(f"prune.layers: {layer} goes with {outer}; name one of them")
            for inner, module in network.get_submodule(layer).named_modules():
                hooks = (*module._forward_hooks.values(), *module._forward_pre_hooks.values())
                if inner and not all(is_own_hook(hook) for hook in hooks):
                    raise UserError(f"prune.layers: a hook on {layer}.{inner} would go with {layer}; remove it first")
        if example is not None:
            self.try_out(network, example)

    def try_out(self, network: nn.Module, example: Example) -> None:
        """Raises UserError unless a copy without the layers gives as many logits, and calls what stands for them."""
        whole, less = (copy.deepcopy(network).cpu().eval() for _ in range(2))
        self.prepare(less)
        given = tuple(tensor.cpu() for tensor in arguments(example))
        before, calls = count_calls(whole, self.layers, given)
        cause = ""
        try:
            after, left = count_calls(less, self.layers, given)
            if after.shape != before.shape:
                cause = f"it gives {tuple(after.shape)}, not {tuple(before.shape)}"
            for name in self.layers:
                if not calls[name]:
                    cause = f"its forward does not call {name}"
                elif left[name] != calls[name]:
                    cause = f"its forward reaches {name} by another way than its name"
        except UserError:
            raise
        except Exception as error:  # whatever a user's forward raises without a layer
            raise_machine_error(error)
            cause = first_line(error)
        if cause:
            names = ", ".join(self.layers)
            raise UserError(f"prune.layers: {type(network).__name__} cannot do without {names} ({cause}); name others")

    def prepare(self, network: nn.Module) -> None:
        self.check(network)
        for name in self.layers:
            removed = network.get_submodule(name)
            if not isinstance(removed, nn.Identity):
                identity = identity_for(removed, name)
                for alias, module in list(network.named_modules(remove_duplicate=False)):
                    if module is removed:
                        layer_graph.replace_module(network, alias, identity)

    def finalize(self, network: nn.Module, calibration: Iterable[Example] = ()) -> nn.Module:
        for name in self.layers:
            hooks = network.get_submodule(name)._forward_pre_hooks
            for key in [key for key, hook in hooks.items() if isinstance(hook, SameShape)]:
                del hooks[key]
        return network


class Passed(nn.Identity):
    """Gives the first tensor that it is called with."""

    def forward(self, x: Tensor, *others: Tensor) -> Tensor:
        return x


def identity_for(removed: nn.Module, name: str) -> nn.Identity:
    """An identity that checks its first input and carries the user's hooks of what it replaces."""
    identity = Passed()
    identity.register_forward_pre_hook(SameShape(name, removed), with_kwargs=True)
    for key, hook in removed._forward_pre_hooks.items():
        if not is_own_hook(hook):
            identity.register_forward_pre_hook(hook, with_kwargs=key in removed._forward_pre_hooks_with_kwargs)
    for key, hook in removed._forward_hooks.items():
        if not is_own_hook(hook):
            identity.register_forward_hook(hook, with_kwargs=key in removed._forward_hooks_with_kwargs)
    return identity


def count_calls(network: nn.Module, names: Sequence[str], given: Arguments) -> tuple[Tensor, dict[str, int]]:
    """The logits, and how often each of the named submodules is called for them."""
    calls = dict.fromkeys(names, 0)

    def count(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        return lambda module, arguments, output: calls.update({name: calls[name] + 1})

    handles = [network.get_submodule(name).register_forward_hook(count(name)) for name in names]
    logits = evaluated_logits(network, given)
    for handle in handles:
        handle.remove()
    return logits, calls


class SameShape:
    """A forward pre-hook of what replaces `removed`: holds the first input against what would have come out."""

    def __init__(self, name: str, removed: nn.Module):
        self.name, self.removed = name, [removed]

    @torch.no_grad()
    def __call__(self, module: nn.Module, arguments: tuple[Argument, ...], named: dict[str, Argument]) -> None:
        if not self.removed:
            return
        removed = self.removed.pop().eval()
        if named or not arguments or not all(isinstance(one, Tensor) for one in arguments):
            cause = "is not called with tensors alone"
        else:
            assert isinstance(arguments[0], Tensor)
            output = removed.to(arguments[0].device)(*arguments)
            if isinstance(output, Tensor) and output.shape == arguments[0].shape:
                return
            shapes = f"{tuple(arguments[0].shape[1:])} to {tuple(getattr(output, 'shape', ()))[1:]}"
            cause = (
                f"changes the shape ({shapes})" if isinstance(output, Tensor) else f"gives a {type(output).__name__}"
            )
        raise UserError(f"prune.layers: {self.name} {cause}; only what gives the shape that it takes can be removed")
