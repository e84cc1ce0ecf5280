"""Which layer feeds which, read from a symbolic trace."""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any

from torch import fx, nn

from lcomp.models.layers import Normalize

log = logging.getLogger(__name__)
PIXELS = "pixels"


class LayerTracer(fx.Tracer):
    """Traces a network down to its convolutions, linear layers and `Normalize`."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, nn.Conv2d | nn.Linear | Normalize) or super().is_leaf_module(m, module_qualified_name)


def calls(network: nn.Module) -> dict[fx.Node, nn.Module]:
    """The calls of modules in a trace of `network`, in their order. Empty, with a line in the log, for a network that
    cannot be traced: nothing is folded then, and nothing else changes."""
    try:
        graph = LayerTracer().trace(network)
    except Exception as error:  # whatever a user's forward raises on symbolic values
        log.info("the network cannot be traced (%s): its normalizations are not folded", error)
        return {}
    return {node: network.get_submodule(str(node.target)) for node in graph.nodes if node.op == "call_module"}


def sources(network: nn.Module) -> dict[str, str]:
    """What each convolution or linear layer reads, where that is the network's input (`PIXELS`) or a `Normalize` of the
    network's input that nothing else reads (its name)."""
    traced, found = calls(network), {}
    for node, module in traced.items():
        source = node.args[0] if node.args else None
        if isinstance(module, nn.Conv2d | nn.Linear) and isinstance(source, fx.Node):
            if is_input(source):
                found[str(node.target)] = PIXELS
            elif isinstance(traced.get(source), Normalize) and len(source.users) == 1 and is_input(source.args[0]):
                found[str(node.target)] = str(source.target)
    return found


def batch_norms(network: nn.Module) -> dict[str, str]:
    """The batch norm that alone reads a convolution's or a linear layer's output, by the layer's name; each of the two
    is called once, and its running statistics are its own."""
    traced = calls(network)
    times = Counter(str(node.target) for node in traced)
    found = {}
    for node, module in traced.items():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) and module.running_var is not None:
            source = node.args[0]
            assert isinstance(source, fx.Node)
            alone = len(source.users) == 1 and times[str(source.target)] == times[str(node.target)] == 1
            if alone and isinstance(traced.get(source), nn.Conv2d | nn.Linear):
                found[str(source.target)] = str(node.target)
    return found


def is_input(node: Any) -> bool:
    return isinstance(node, fx.Node) and node.op == "placeholder"


def foldable(network: nn.Module) -> dict[str, str]:
    """The layers into which the `Normalize` that feeds them folds exactly (nothing is padded), with its name."""
    modules = dict(network.named_modules())
    return {
        layer: source
        for layer, source in sources(network).items()
        if source != PIXELS and not any(padding(modules[layer]))
    }


def padding(layer: nn.Module) -> tuple[int, ...]:
    found = getattr(layer, "padding", (0,))
    return (0,) if found == "valid" else (1,) if found == "same" else found


def replace(network: nn.Module, name: str, module: nn.Module) -> None:
    """Puts `module` in the place of the submodule called `name`."""
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, module)
