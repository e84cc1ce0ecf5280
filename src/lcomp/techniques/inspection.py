"""What the layers of a network compute, and when: asked of the layers themselves, since a type promises neither.

A subclass of Conv2d may compute with another weight than it stores, a hook may change what a layer gives, two layers
may share a weight, and a layer may never be called. A technique acts on a layer only where that does what it says.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.overrides import TorchFunctionMode

from lcomp.techniques.example import Example, arguments
from lcomp.techniques.layer_kinds import ACTED_ON, Layer, is_acted_on

Argument: TypeAlias = (  # of a forward, or of a function of torch's
    Tensor | bool | int | float | str | tuple["Argument", ...] | list["Argument"] | dict[str, "Argument"] | None
)
Hook = Callable[..., Any]  # of a module, before or after its forward
TOLERANCE = 1e-4  # of a layer's output, relative to the largest
PROBED = 32  # examples that a probe has at most, each for a channel or feature of its own


@dataclass
class Calls:
    """What one forward pass did.

    Attributes:
        ranks: of the input of each layer that was called, by name, at its first call; 2 for a batch of vectors.
        sizes: of the input and the output of each layer, (N, ...), at each of its calls.
        read: names of the layers whose weight something read, be it the layer's own forward.
        of: names of all layers that there were.
    """

    ranks: dict[str, int] = field(default_factory=dict)
    sizes: dict[str, list[tuple[torch.Size, torch.Size]]] = field(default_factory=dict)
    read: set[str] = field(default_factory=set)
    of: set[str] = field(default_factory=set)

    @classmethod
    def of_all(cls, network: nn.Module) -> Calls:
        """As if every layer were called, with an input of unknown rank."""
        names = [name for name, module in network.named_modules() if is_acted_on(module)]
        return cls(dict.fromkeys(names, 0), {}, set(names), set(names))


def observed_calls(network: nn.Module, example: Example) -> Calls:
    """What a forward pass of `network` in evaluation mode does with its convolutions and linear layers.

    The network, its modes and torch's random state are as before.

    Args:
        example: a batch of what the network takes.
    """
    named = {name: module for name, module in network.named_modules() if is_acted_on(module)}
    calls = Calls(of=set(named))

    def note(name: str) -> Callable[..., None]:
        def hook(
            module: nn.Module, arguments: tuple[Argument, ...], settings: dict[str, Argument], output: Argument
        ) -> None:
            given = [value for value in (*arguments, *settings.values()) if isinstance(value, Tensor)]
            calls.ranks.setdefault(name, given[0].dim() if given else 0)
            if given and isinstance(output, Tensor):
                calls.sizes.setdefault(name, []).append((given[0].shape, output.shape))

        return hook

    handles = [module.register_forward_hook(note(name), with_kwargs=True) for name, module in named.items()]
    try:
        used = used_tensors(network, *arguments(example))
    finally:
        for handle in handles:
            handle.remove()
    calls.read = {name for name, module in named.items() if not used.isdisjoint(map(id, stored_tensors(module)))}
    return calls


def used_tensors(network: nn.Module, *given: Tensor) -> set[int]:
    """The ids of all tensors that a forward pass in evaluation mode hands to a function of torch's; it changes no
    buffer, such as those of quantizers that observe."""
    use = TensorUse()
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    before = [(buffer, buffer.clone()) for buffer in network.buffers()]
    with torch.no_grad():
        with evaluation_mode(network), torch.random.fork_rng(devices=[]), use:
            network(*(tensor.to(device) for tensor in given))
        for buffer, value in before:
            buffer.copy_(value)
    return use.ids


class TensorUse(TorchFunctionMode):
    """While it lasts, keeps the ids of all tensors that functions of torch's are given; asking for a property, such as
    a dtype, is no use of a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: set[int] = set()
        self.kept: list[Tensor] = []  # alive, so that no id is given twice

    def __torch_function__(
        self,
        func: Callable[..., Argument],
        types: Sequence[type],
        args: tuple[Argument, ...] = (),
        kwargs: dict[str, Argument] | None = None,
    ) -> Argument:
        output = func(*args, **(kwargs or {}))
        if getattr(func, "__name__", "") != "__get__" or isinstance(output, Tensor):
            for tensor in tensors((args, kwargs)):
                if id(tensor) not in self.ids:
                    self.ids.add(id(tensor))
                    self.kept.append(tensor)
        return output


def tensors(values: Argument) -> Iterator[Tensor]:
    """The tensors in nested tuples, lists and dictionaries."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, dict):
        yield from tensors(tuple(values.values()))
    elif isinstance(values, tuple | list):
        for value in values:
            yield from tensors(value)


@contextmanager
def evaluation_mode(network: nn.Module) -> Iterator[None]:
    """Within it, every module of `network` is in evaluation mode; then in the one that it had."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def stored_tensors(layer: nn.Module) -> list[Tensor]:
    """The tensors that the layer's weight is made of: itself, or what lies beneath its parametrizations."""
    if parametrize.is_parametrized(layer, "weight"):
        assert isinstance(layer.parametrizations, nn.ModuleDict)
        return list(layer.parametrizations["weight"].parameters(recurse=False))
    weight = layer._parameters.get("weight")
    return [] if weight is None else [weight]


def weight_sharers(network: nn.Module) -> dict[str, list[str]]:
    """For each layer whose weight other modules hold too: the weight's names in these, such as `decoder.weight`."""
    holders: dict[int, list[tuple[str, str]]] = {}
    for name, module in network.named_modules():
        inner = name.partition(".parametrizations.")[0].removesuffix(".parametrizations")
        for key, parameter in module._parameters.items():
            if parameter is not None:
                holders.setdefault(id(parameter), []).append((inner, "weight" if inner != name else key))
    sharers: dict[str, list[str]] = {}
    for places in holders.values():
        for name, key in places if len(places) > 1 else ():
            if key == "weight":
                sharers[name] = [f"{holder}.{what}".lstrip(".") for holder, what in places if holder != name]
    return sharers


def computes_as_its_kind(layer: Layer) -> bool:
    """Whether the layer gives what a plain convolution or linear layer with its weight, bias and geometry gives."""
    return is_stock(layer) or outputs_agree(layer, lambda own, x: (reference_output(own, x), own(x)))


def keeps_zeros(layer: Layer) -> bool:
    """Whether what the layer computes has a zero wherever its weight has one, whatever else it does with the weight."""
    return is_stock(layer) or outputs_agree(layer, response_beyond_zeros)


def is_stock(layer: Layer) -> bool:
    """Whether nothing in the layer's class, or in itself, replaces torch's own way of computing."""
    kind = next(kind for kind in ACTED_ON if isinstance(layer, kind))
    if getattr(layer, "max_norm", None) is not None:  # an embedding that changes the rows that it reads
        return False
    names = [name for name in ("__call__", "forward", "_conv_forward") if hasattr(kind, name)]
    overridden = any(name in vars(layer) for name in names)
    return not overridden and all(getattr(type(layer), name) is getattr(kind, name) for name in names)


def outputs_agree(layer: Layer, compare: Callable[[Layer, Tensor], tuple[Tensor, Tensor]]) -> bool:
    """Whether the two tensors that `compare` makes of the layer, drawn weights in it, and an input are alike; false for
    a layer that takes other inputs than its kind."""
    drawn = torch.Generator().manual_seed(0)
    duplicate = copy.deepcopy(layer).eval().cpu()
    duplicate._forward_pre_hooks.clear()
    duplicate._forward_hooks.clear()
    with torch.no_grad():
        for tensor in stored_tensors(duplicate):  # weights that are zero so far would hide what is done with them
            tensor.add_(torch.randn(tensor.shape, generator=drawn).to(tensor))
        try:
            expected, actual = compare(duplicate, probe_input(duplicate, drawn))
        except (RuntimeError, TypeError, ValueError, AttributeError, IndexError):  # whatever its forward raises
            return False
    if not isinstance(actual, Tensor) or actual.shape != expected.shape:
        return False
    return bool((expected - actual).abs().max() <= TOLERANCE * expected.abs().max())


def response_beyond_zeros(layer: Layer, x: Tensor) -> tuple[Tensor, Tensor]:
    """Ones, and one plus the layer's answers (relative to the largest) to single inputs to which a plain layer with
    every second weight zero has no answer."""
    weight = layer.weight.detach().clone()
    weight.view(-1)[::2] = 0
    parametrize.register_parametrization(layer, "weight", FixedWeight(weight), unsafe=True)
    if isinstance(layer, nn.Embedding):
        rows = layer.forward(x)
        beyond = rows.where(weight[x] == 0, 0.0) / rows.abs().max()
        return torch.ones_like(beyond), 1 + beyond
    single = torch.zeros_like(x)
    middle = [size // 2 for size in x.shape[2:]]
    for number in range(len(x)):
        single[(number, number % x.shape[1], *middle)] = 1
    silent = reference_output(layer, single, bias=False) == 0
    response = layer.forward(single) - layer.forward(torch.zeros_like(x))
    beyond = torch.where(silent, response, 0.0) / response.abs().max()
    return torch.ones_like(beyond), 1 + beyond


class FixedWeight(nn.Module):
    """A parametrization that gives a weight of its own."""

    def __init__(self, weight: Tensor):
        super().__init__()
        self.register_buffer("weight", weight)

    def forward(self, original: Tensor) -> Tensor:
        weight: Tensor = self.weight  # type: ignore[assignment]
        return weight


def probe_input(layer: Layer, drawn: torch.Generator) -> Tensor:
    """A batch that a layer of its kind takes: (N, features), (N, channels, H, W) wider than its kernel, or indices."""
    if isinstance(layer, nn.Embedding):
        return torch.randint(layer.num_embeddings, (PROBED,), generator=drawn)
    if isinstance(layer, nn.Linear):
        shape: list[int] = [min(PROBED, layer.in_features), layer.in_features]
    else:
        steps = zip(layer.kernel_size, layer.dilation, layer.stride, strict=True)
        sizes = [2 * dilation * (kernel - 1) + stride for kernel, dilation, stride in steps]
        shape = [min(PROBED, layer.in_channels), layer.in_channels, *sizes]
    return torch.randn(shape, generator=drawn).to(next(iter(stored_tensors(layer)), torch.zeros(())))


def reference_output(layer: Layer, x: Tensor, bias: bool = True) -> Tensor:
    """What a layer of its kind gives for `x`."""
    if isinstance(layer, nn.Embedding):
        return F.embedding(x, layer.weight)
    offset = layer.bias if bias else None
    if isinstance(layer, nn.Linear):
        return F.linear(x, layer.weight, offset)
    if layer.padding_mode != "zeros":
        x = F.pad(x, layer._reversed_padding_repeated_twice, layer.padding_mode)
        return F.conv2d(x, layer.weight, offset, layer.stride, 0, layer.dilation, layer.groups)
    return F.conv2d(x, layer.weight, offset, layer.stride, layer.padding, layer.dilation, layer.groups)


def has_other_hooks(module: nn.Module, expected: Collection[Hook] = ()) -> bool:
    """Whether something is called before or after the module's forward, other than what is in `expected`."""
    hooks = (*module._forward_pre_hooks.values(), *module._forward_hooks.values())
    return any(hook not in expected for hook in hooks)
