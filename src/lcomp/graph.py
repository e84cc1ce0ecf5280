"""Which layer feeds which, read from a symbolic trace."""

from __future__ import annotations

import logging
from typing import Any

from torch import fx, nn

from lcomp.models.layers import Normalize

log = logging.getLogger(__name__)
PIXELS = "pixels"


class LayerTracer(fx.Tracer):
    """Traces a network down to its convolutions, linear layers and `Normalize`."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, nn.Conv2d | nn.Linear | Normalize) or super().is_leaf_module(m, module_qualified_name)


def sources(network: nn.Module) -> dict[str, str]:
    """What each convolution or linear layer reads, where that is the network's input (`PIXELS`) or a `Normalize` of the
    network's input that nothing else reads (its name). Empty, with a line in the log, for a network that cannot be
    traced: nothing is folded then, and nothing else changes."""
    try:
        graph = LayerTracer().trace(network)
    except Exception as error:  # whatever a user's forward raises on symbolic values
        log.info("the network cannot be traced (%s): its normalization is not folded", error)
        return {}
    modules: dict[str, nn.Module] = dict(network.named_modules())

    def module(node: Any) -> nn.Module | None:
        is_call = isinstance(node, fx.Node) and node.op == "call_module"
        return modules[str(node.target)] if is_call else None

    def is_input(node: fx.Node) -> bool:
        return node.op == "placeholder"

    found = {}
    for node in graph.nodes:
        if isinstance(module(node), nn.Conv2d | nn.Linear):
            source = node.args[0]
            if is_input(source):
                found[str(node.target)] = PIXELS
            elif isinstance(module(source), Normalize) and len(source.users) == 1 and is_input(source.args[0]):
                found[str(node.target)] = str(source.target)
    return found


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
