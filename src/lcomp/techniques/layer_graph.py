"""Which layer feeds which, read from a symbolic trace."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping

from torch import fx, nn

from lcomp.models.blocks import Normalize
from lcomp.record.interruption import raise_machine_error
from lcomp.techniques import inspection
from lcomp.techniques.inspection import Argument, Calls

log = logging.getLogger(__name__)
INPUT = "input"  # of the network


class LayerTracer(fx.Tracer):
    """Traces a network down to its convolutions, linear layers and `Normalize`."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, nn.Conv2d | nn.Linear | Normalize) or super().is_leaf_module(m, module_qualified_name)


def module_calls(network: nn.Module) -> dict[fx.Node, nn.Module]:
    """The calls of modules in a trace of `network`, in their order. Empty, with a line in the log, for a network that
    cannot be traced: nothing is folded then, and nothing else changes."""
    try:
        graph = LayerTracer().trace(network)
    except Exception as error:  # whatever a user's forward raises on symbolic values
        raise_machine_error(error)
        log.info("the network cannot be traced (%s): its normalizations are not folded", error)
        return {}
    return {node: network.get_submodule(str(node.target)) for node in graph.nodes if node.op == "call_module"}


def input_sources(network: nn.Module) -> dict[str, str]:
    """What each convolution or linear layer reads, where that is the network's input (`INPUT`) or a `Normalize` of the
    network's input that nothing else reads (its name)."""
    traced, sources = module_calls(network), {}
    once = called_once(traced)
    for node, module in traced.items():
        source = node.args[0] if node.args else None
        if isinstance(module, nn.Conv2d | nn.Linear) and isinstance(source, fx.Node) and str(node.target) in once:
            if is_input(source):
                sources[str(node.target)] = INPUT
            elif (
                isinstance(traced.get(source), Normalize)
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
    traced, alone = module_calls(network), rescalable_layers(network)
    once = called_once(traced)
    norms = {}
    for node, norm in traced.items():
        if type(norm) in (nn.BatchNorm1d, nn.BatchNorm2d) and norm.running_var is not None and node.args:
            source = node.args[0]
            assert isinstance(source, fx.Node)
            name, layer = str(source.target), traced.get(source)
            vectors = observed is not None and observed.ranks.get(name) == 2
            same_axis = isinstance(layer, nn.Conv2d) or (isinstance(layer, nn.Linear) and vectors)
            plain = name in alone and not inspection.has_other_hooks(norm)
            if same_axis and plain and len(source.users) == 1 and {name, str(node.target)} <= once:
                norms[name] = str(node.target)
    return norms


def called_once(traced: Mapping[fx.Node, nn.Module]) -> set[str]:
    """The modules that are called at one place of a trace, and whose tensors nothing else there reads."""
    times = Counter(str(node.target) for node in traced)
    graph = next(iter(traced)).graph if traced else fx.Graph()
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
        and not inspection.has_other_hooks(layer, expected=[quantize_input])
        and inspection.computes_as_its_kind(layer)
    }


def is_input(node: fx.node.Argument) -> bool:
    return isinstance(node, fx.Node) and node.op == "placeholder"


def foldable(network: nn.Module) -> dict[str, str]:
    """The layers into which the `Normalize` that feeds them folds exactly (nothing is padded), with its name."""
    modules, alone = dict(network.named_modules()), rescalable_layers(network)
    return {
        layer: source
        for layer, source in input_sources(network).items()
        if source != INPUT
        and layer in alone
        and folds_by_channel(modules[layer], modules[source])
        and not any(padding_amounts(modules[layer]))
        and not inspection.has_other_hooks(modules[source], expected=[quantize_input])
    }


def folds_by_channel(layer: nn.Module, normalize: nn.Module) -> bool:
    """Whether a layer's weight has a place for each channel's own mean and deviation."""
    one = isinstance(normalize, Normalize) and normalize.mean.dim() == normalize.std.dim() == 0
    return one or (isinstance(layer, nn.Conv2d) and layer.groups == 1)


def padding_amounts(layer: nn.Module) -> tuple[int, ...]:
    amounts = getattr(layer, "padding", (0,))
    return (0,) if amounts == "valid" else (1,) if amounts == "same" else amounts


def replace_module(network: nn.Module, name: str, module: nn.Module) -> None:
    """Puts `module` in the place of the submodule called `name`."""
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, module)


def quantize_input(
    module: nn.Module, arguments: tuple[Argument, ...], settings: dict[str, Argument]
) -> tuple[tuple[Argument, ...], dict[str, Argument]]:
    """A forward pre-hook: the input, given by its place or by its name, goes through `module.input_quantizer`."""
    quantizer = module.input_quantizer
    assert isinstance(quantizer, nn.Module)
    if arguments:
        return (quantizer(arguments[0]), *arguments[1:]), settings
    return arguments, settings | {"input": quantizer(settings["input"])}
