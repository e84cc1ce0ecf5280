"""Shows the layers of a network, such as model=small_cnn: their outputs, parameters and operations."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.backends import mkldnn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from lcomp.cli.error_messages import explain
from lcomp.config import run_config
from lcomp.config.composition import compose
from lcomp.config.instantiation import build, find
from lcomp.errors import UserError

Output: TypeAlias = Tensor | Mapping[str, "Output"] | Sequence["Output"]  # of a module


@dataclass(frozen=True)
class LayerRow:
    """One call of a layer: its name and type, its output's shape without the batch (None: it is never called), its
    parameters, its multiply-accumulates for one example."""

    name: str
    kind: str
    output: tuple[int, ...] | None
    parameters: int
    macs: int


class LayerRecorder:
    """The rows of a forward pass, noted by hooks on every module.

    A module has a row where it has no modules inside, parameters of its own, or products that none inside it forms.
    """

    def __init__(self, network: nn.Module, counter: FlopCounterMode):
        self.names = {module: name for name, module in network.named_modules()}
        self.counter, self.rows = counter, list[LayerRow]()
        self.seen: set[nn.Parameter] = set()
        self.called: set[nn.Module] = set()
        self.open: list[tuple[int, int]] = []  # of each module that is running: MACs before it, MACs inside its parts

    def before(self, module: nn.Module, inputs: tuple[Output, ...]) -> None:
        self.open.append((self.counter.get_total_flops() // 2, 0))

    def after(self, module: nn.Module, inputs: tuple[Output, ...], output: Output) -> None:
        start, inside = self.open.pop()
        whole = self.counter.get_total_flops() // 2 - start
        if self.open:
            self.open[-1] = (self.open[-1][0], self.open[-1][1] + whole)
        if not list(module.children()) or list(module.parameters(recurse=False)) or whole > inside:
            self.add(module, tuple(first_tensor(output).shape[1:]), whole - inside)
        self.called.add(module)

    def add(self, module: nn.Module, output: tuple[int, ...] | None, macs: int) -> None:
        """A row; its parameters, where none has counted them yet."""
        new_parameters = set(module.parameters(recurse=False)) - self.seen
        self.seen |= new_parameters
        parameters = sum(parameter.numel() for parameter in new_parameters)
        self.rows.append(LayerRow(self.names[module], type(module).__name__, output, parameters, macs))


def first_tensor(output: Output) -> Tensor:
    """The first tensor of what a module gave."""
    while not isinstance(output, Tensor):
        output = next(iter(output.values() if isinstance(output, Mapping) else output))
    return output


@contextmanager
def unfused() -> Iterator[None]:
    """Without the kernels of attention and recurrent layers that torch's counter takes for one operation."""
    attention, recurrent = torch.backends.mha.get_fastpath_enabled(), mkldnn.set_flags(False)
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(attention)
        mkldnn.set_flags(recurrent[0])


@torch.no_grad()
def layer_rows(network: nn.Module, input_shape: Sequence[int]) -> list[LayerRow]:
    """The layers of a network in the order in which an example (C, H, W) has passed them, then those with parameters
    that it does not pass: their weights may be read by a layer around them, as attention reads its projection's.
    Parameters that were counted once do not count again."""
    with unfused(), FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        recorder = LayerRecorder(network, counter)
        handles = [module.register_forward_pre_hook(recorder.before) for module in network.modules()]
        handles += [module.register_forward_hook(recorder.after) for module in network.modules()]
        network.eval()(torch.zeros(1, *input_shape))
    for handle in handles:
        handle.remove()
    for module in network.modules():
        if module not in recorder.called and not set(module.parameters(recurse=False)) <= recorder.seen:
            recorder.add(module, None, 0)
    return recorder.rows


def layer_table(network: nn.Module, input_shape: Sequence[int]) -> Table:
    """`layer_rows` with their sums."""
    rendered = Table(title=f"{type(network).__name__} on inputs of {'x'.join(map(str, input_shape))}", show_footer=True)
    layers = layer_rows(network, input_shape)
    total = sum(parameter.numel() for parameter in network.parameters())
    rendered.add_column("layer (type)", "total")
    rendered.add_column("output", justify="right")
    rendered.add_column("parameters", f"{total:,}", justify="right")
    rendered.add_column("MACs", f"{sum(row.macs for row in layers):,}", justify="right")
    for row in layers:
        shape = "not called" if row.output is None else str(row.output[0] if len(row.output) == 1 else row.output)
        rendered.add_row(f"{row.name} ({row.kind})".strip(), shape, f"{row.parameters:,}", f"{row.macs:,}")
    return rendered


def main(arguments: Sequence[str] | None = None, prog: str = "python -m lcomp.summary") -> int:
    """Prints the table of the network that the overrides on the command line describe; 1, with one line, where that
    cannot be."""
    overrides = list(sys.argv[1:] if arguments is None else arguments)
    if {"-h", "--help"} & set(overrides):
        parser = argparse.ArgumentParser(prog=prog, description=__doc__)
        parser.add_argument("overrides", nargs="*", metavar="key=value", help="as for a run: model=lenet5")
        parser.print_help()
        return 0
    try:
        cfg = compose(overrides)
        run_config.check_keys(cfg)
        data: Any = find(cfg.data._target_, "data._target_")
        if not hasattr(data, "input_shape"):
            data = build(cfg.data, "data")
        network = build(cfg.model, "model", num_classes=data.num_classes, input_shape=list(data.input_shape))
        Console(markup=False).print(layer_table(network, data.input_shape))
    except (UserError, HydraException, OmegaConfBaseException) as error:
        print(f"lcomp: {explain(error, overrides)}", file=sys.stderr)
        return 1
    return 0
