"""Which layer feeds which, read from a symbolic trace."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import fx, nn

from lcomp.models.blocks import Normalize
from lcomp.record.interruption import raise_machine_error
from lcomp.techniques import inspection
from lcomp.techniques.inspection import Argument, Calls

log = logging.getLogger(__name__)
INPUT = "input"  # of the network
QUANTIZERS = ("input_quantizer", "output_quantizer")  # attributes of modules


class ModuleCall(NamedTuple):
    """A call of a module in a trace.

    Attributes:
        name: the module's.
        given: its first argument, where that is a value of the trace; `returned` likewise.
        inside: the numbers of the nodes that the call makes, in the trace's order.
    """

    name: str
    given: fx.Node | None
    returned: fx.Node | None
    inside: range


class LayerTracer(fx.Tracer):
    """Traces a network down to its convolutions, linear layers, `Normalize` and quantizers.

    Attributes:
        calls: of all modules, in the order in which they end.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[ModuleCall] = []

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        ours = isinstance(m, nn.Conv2d | nn.Linear | nn.Identity | Normalize) or module_qualified_name.endswith(
            QUANTIZERS
        )
        return ours or super().is_leaf_module(m, module_qualified_name)

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        first = len(self.graph.nodes)
        returned = super().call_module(m, forward, args, kwargs)
        given, made = (value.node if isinstance(value, fx.Proxy) else None for value in ((*args, None)[0], returned))
        self.calls.append(ModuleCall(self.path_of_module(m), given, made, range(first, len(self.graph.nodes))))
        return returned


def traced(network: nn.Module) -> LayerTracer | None:
    """A trace of `network`; None, with a line in the log, where it cannot be traced: nothing is folded then, additions
    and pooling stay float, and nothing else changes."""
    tracer = LayerTracer()
    try:
        tracer.trace(network)
    except Exception as error:  # whatever a user's forward raises on symbolic values
        raise_machine_error(error)
        log.info(
            "the network cannot be traced (%s): its normalizations are not folded, its additions stay float", error
        )
        return None
    return tracer


def module_calls(network: nn.Module) -> dict[fx.Node, nn.Module]:
    """The calls of modules in a trace of `network`, in their order; empty where it cannot be traced."""
    tracer = traced(network)
    nodes = tracer.graph.nodes if tracer else ()
    return {node: network.get_submodule(str(node.target)) for node in nodes if node.op == "call_module"}


def input_sources(network: nn.Module) -> dict[str, str]:
    """What each convolution or linear layer reads, where that is the network's input (`INPUT`) or a `Normalize` of the
    network's input that nothing else reads (its name)."""
    calls, sources = module_calls(network), {}
    once = called_once(calls)
    for node, module in calls.items():
        source = node.args[0] if node.args else None
        if isinstance(module, nn.Conv2d | nn.Linear) and isinstance(source, fx.Node) and str(node.target) in once:
            if is_input(source):
                sources[str(node.target)] = INPUT
            elif (
                isinstance(calls.get(source), Normalize)
                and str(source.target) in once
                and len(source.users) == 1
                and is_input(source.args[0])
            ):
                sources[str(node.target)] = str(source.target)
    return sources


def batch_norms(network: nn.Module, observed: Calls | None = None) -> dict[str, str]:
    """The batch norm that folds into a convolution or a linear layer, by the layer's name: it alone reads the layer's
    output, over the axis that the layer writes, and its running statistics are its own.

    Args:
        observed: says which linear layers read vectors (N, C); without it a batch norm behind one stays.
    """
    calls, alone = module_calls(network), rescalable_layers(network)
    once = called_once(calls)
    norms = {}
    for node, norm in calls.items():
        if type(norm) in (nn.BatchNorm1d, nn.BatchNorm2d) and norm.running_var is not None and node.args:
            source = node.args[0]
            assert isinstance(source, fx.Node)
            name, layer = str(source.target), calls.get(source)
            vectors = observed is not None and observed.ranks.get(name) == 2
            same_axis = isinstance(layer, nn.Conv2d) or (isinstance(layer, nn.Linear) and vectors)
            plain = name in alone and not inspection.has_other_hooks(norm, expected=[quantize_output])
            if same_axis and plain and len(source.users) == 1 and {name, str(node.target)} <= once:
                norms[name] = str(node.target)
    return norms


def called_once(calls: Mapping[fx.Node, nn.Module]) -> set[str]:
    """The modules that are called at one place of a trace, and whose tensors nothing else there reads."""
    times = Counter(str(node.target) for node in calls)
    graph = next(iter(calls)).graph if calls else fx.Graph()
    read = {str(node.target).rpartition(".")[0] for node in graph.nodes if node.op == "get_attr"}
    read |= {name.partition(".parametrizations.")[0] for name in times if ".parametrizations." in name}
    return {name for name, count in times.items() if count == 1 and name not in read}


def rescalable_layers(network: nn.Module) -> set[str]:
    """The layers whose weight may be replaced by a multiple of it: they compute as their kind does, have no hooks but a
    quantizer's, and share their weight with nothing."""
    shared = inspection.weight_sharers(network)
    return {
        name
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Conv2d | nn.Linear)
        and name not in shared
        and inspection.stored_tensors(layer)
        and not inspection.has_other_hooks(layer, expected=[quantize_input, quantize_output])
        and inspection.computes_as_its_kind(layer)
    }


def is_input(node: fx.node.Argument) -> bool:
    return isinstance(node, fx.Node) and node.op == "placeholder"


def foldable(network: nn.Module) -> dict[str, str]:
    """The layers into which the `Normalize` that feeds them folds exactly, also once their weights are integers, with
    its name: nothing is padded, and one number holds for all channels."""
    modules = dict(network.named_modules())
    return {
        layer: source
        for layer, source in normalized_layers(network).items()
        if not any(padding_amounts(modules[layer])) and has_one_number(modules[source])
    }


def normalized_layers(network: nn.Module) -> dict[str, str]:
    """The layers whose weights can hold the division by std of the `Normalize` that feeds them, with its name."""
    modules, alone = dict(network.named_modules()), rescalable_layers(network)
    return {
        name: source
        for name, source in input_sources(network).items()
        if source != INPUT
        and name in alone
        and (has_one_number(modules[source]) or (isinstance(layer := modules[name], nn.Conv2d) and layer.groups == 1))
        and not inspection.has_other_hooks(modules[source], expected=[quantize_input])
    }


def has_one_number(normalize: nn.Module) -> bool:
    """Whether a normalization is the same for all channels."""
    assert isinstance(normalize, Normalize)
    return normalize.mean.numel() == normalize.std.numel() == 1


def padding_amounts(layer: nn.Module) -> tuple[int, ...]:
    amounts = getattr(layer, "padding", (0,))
    return (0,) if amounts == "valid" else (1,) if amounts == "same" else amounts


def replace_module(network: nn.Module, name: str, module: nn.Module) -> None:
    """Puts `module` in the place of the submodule called `name`, behind which its quantizer stays."""
    parent, _, child = name.rpartition(".")
    quantizer = getattr(network.get_submodule(name), "output_quantizer", None)
    if quantizer is not None:
        attach_quantizer(module, "output", quantizer)
    setattr(network.get_submodule(parent), child, module)


def attach_quantizer(module: nn.Module, side: str, quantizer: nn.Module) -> None:
    """Lets what goes into a module (`side` is `input`) or comes out of it (`output`) go through `quantizer` from now
    on."""
    setattr(module, f"{side}_quantizer", quantizer)
    if side == "input":
        module.register_forward_pre_hook(quantize_input, with_kwargs=True)
    else:
        module.register_forward_hook(quantize_output)


def detach_quantizer(module: nn.Module, side: str) -> None:
    """Undoes `attach_quantizer`."""
    delattr(module, f"{side}_quantizer")
    hooks = module._forward_pre_hooks if side == "input" else module._forward_hooks
    for key in [key for key, hook in hooks.items() if hook in (quantize_input, quantize_output)]:
        del hooks[key]
        module._forward_pre_hooks_with_kwargs.pop(key, None)


def quantize_input(
    module: nn.Module, arguments: tuple[Argument, ...], settings: dict[str, Argument]
) -> tuple[tuple[Argument, ...], dict[str, Argument]]:
    """A forward pre-hook: the input, given by its place or by its name, goes through `module.input_quantizer`."""
    quantizer = module.input_quantizer
    assert isinstance(quantizer, nn.Module)
    if arguments:
        return (quantizer(arguments[0]), *arguments[1:]), settings
    return arguments, settings | {"input": quantizer(settings["input"])}


def quantize_output(module: nn.Module, arguments: tuple[Argument, ...], output: Argument) -> Argument:
    """A forward hook: the output goes through `module.output_quantizer`."""
    quantizer = module.output_quantizer
    assert isinstance(quantizer, nn.Module)
    rounded: Argument = quantizer(output)
    return rounded
