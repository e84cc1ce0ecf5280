"""`python -m lcomp.summary model=small_cnn`: the layers of a network, their outputs, parameters and operations."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import hydra
import torch
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from lcomp import config
from lcomp.build import build
from lcomp.errors import UserError
from lcomp.explain import explain


@dataclass(frozen=True)
class Row:
    """One call of a layer: its name and type, its output's shape without the batch, its parameters, its
    multiply-accumulates for one image."""

    name: str
    kind: str
    output: tuple[int, ...]
    parameters: int
    macs: int


@torch.no_grad()
def rows(network: nn.Module, input_shape: Sequence[int]) -> list[Row]:
    """The layers that have no layers inside, in the order in which an image (C, H, W) passes them; the parameters of a
    layer that is passed twice count once."""
    found: list[Row] = []
    seen: set[str] = set()

    def note(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
            own = 0 if name in seen else sum(p.numel() for p in module.parameters())
            seen.add(name)
            found.append(Row(name, type(module).__name__, tuple(output.shape[1:]), own, macs(module, output)))

        return hook

    leaves = [(name, module) for name, module in network.named_modules() if not list(module.children())]
    handles = [module.register_forward_hook(note(name)) for name, module in leaves]
    network.eval()(torch.zeros(1, *input_shape))
    for handle in handles:
        handle.remove()
    return found


def macs(module: nn.Module, output: Tensor) -> int:
    """Multiply-accumulates of a convolution or a linear layer for one image; 0 for any other."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        return output[0].numel() * module.weight[0].numel()
    return 0


def table(network: nn.Module, input_shape: Sequence[int]) -> Table:
    """`rows` with their sums."""
    made = Table(title=f"{type(network).__name__} on images of {'x'.join(map(str, input_shape))}", show_footer=True)
    layers = rows(network, input_shape)
    total = sum(parameter.numel() for parameter in network.parameters())
    made.add_column("layer (type)", "total")
    made.add_column("output", justify="right")
    made.add_column("parameters", f"{total:,}", justify="right")
    made.add_column("MACs", f"{sum(row.macs for row in layers):,}", justify="right")
    for row in layers:
        shape = str(row.output if len(row.output) > 1 else row.output[0])
        made.add_row(f"{row.name} ({row.kind})", shape, f"{row.parameters:,}", f"{row.macs:,}")
    return made


def main() -> None:
    """Prints the table of the network that the overrides on the command line describe."""
    overrides = sys.argv[1:]
    if {"-h", "--help"} & set(overrides):
        print(__doc__)
        return
    try:
        with hydra.initialize_config_dir(str(config.folder().resolve()), version_base="1.3"):
            cfg = hydra.compose("config", overrides)
        data = hydra.utils.get_object(cfg.data._target_)
        if not hasattr(data, "input_shape"):
            data = build(cfg.data, "data")
        network = build(cfg.model, "model", num_classes=data.num_classes, input_shape=list(data.input_shape))
        Console(markup=False).print(table(network, data.input_shape))
    except (UserError, HydraException, OmegaConfBaseException) as error:
        print(f"lcomp: {explain(error, overrides)}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
