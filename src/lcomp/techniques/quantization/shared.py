"""Weight sharing: each layer's weights take one of a few trained values (Han, Mao & Dally 2016, section 3)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from lcomp.errors import UserError
from lcomp.models.blocks import Normalize, folded_bias
from lcomp.techniques import inspection, layer_graph
from lcomp.techniques.example import Example
from lcomp.techniques.parametrizations import Parametrization, parametrization
from lcomp.techniques.quantization.integer_layers import SharedWeight, quantized_layer
from lcomp.techniques.quantization.quantization import check_layers, check_own_widths, first_match, reason_against
from lcomp.techniques.schedule import Window, has_reached
from lcomp.techniques.technique import (
    Batch,
    Layer,
    StoredWeight,
    Technique,
    acted_on,
    layers,
    network_of,
    warn_of_others,
)

ITERATIONS = 300  # of Lloyd's algorithm at most; LeNet-5's layers need fewer


class Codebook(Parametrization):
    """A parametrization: weights replaced by the layer's values, once `fit` has found these; zeros stay zero.

    Which weight takes which value is then fixed, and the values learn: the gradient of one is the sum over its weights
    (Han et al. 2016, eq. 3). The weights beneath get none.

    Parameters: `values` (2^bits - 1,), ascending when found. Buffers: `enabled` (boolean), `indices` (uint8, of the
    weight's shape): 0 for zero, k for the k-th value.
    """

    def __init__(self, weight: Tensor, bits: int):
        super().__init__()
        self.values = nn.Parameter(weight.new_zeros(2**bits - 1))
        self.register_buffer("enabled", torch.tensor(False))
        self.register_buffer("indices", torch.zeros_like(weight, dtype=torch.uint8))
        self.enabled: Tensor
        self.indices: Tensor

    @property
    def table(self) -> Tensor:
        """Zero, and the values."""
        return torch.cat([self.values.new_zeros(1), self.values])

    def forward(self, weight: Tensor) -> Tensor:
        if not self.enabled:
            return weight
        shared = self.table.index_select(0, self.indices.flatten().int()).view_as(weight)
        return torch.where(weight == 0, 0.0, shared)  # what is pruned from now on goes too

    def right_inverse(self, weight: Tensor) -> Tensor:
        return weight

    @torch.no_grad()
    def fit(self, weight: Tensor) -> None:
        """Finds the values of `weight`'s non-zero elements, and puts each at the nearest one."""
        nonzero = weight[weight != 0].double().cpu()
        if len(nonzero):
            values = k_means(nonzero, len(self.values))
            self.values.copy_(values)
            nearest = torch.bucketize(weight.double().cpu().contiguous(), decision_thresholds(values)) + 1
            self.indices.copy_(torch.where(weight.cpu() == 0, 0, nearest))
        self.enabled.fill_(True)

    def stored(self, weight: Tensor) -> SharedWeight:
        """The indices and values as they are deployed; no index but 0 means zero."""
        unused = (weight == 0) | (self.table[self.indices.int()] == 0)
        return SharedWeight(torch.where(unused, 0, self.indices).to(torch.uint8), self.table)


class WeightSharing(Technique):
    """Replaces each layer's weights by one of 2^bits - 1 values of the layer, or zero, and trains these values.

    k-means finds them at `begin`, from values spread evenly over the range (the paper's best start). From then on it is
    fixed which weight takes which value, and only the values, biases and normalizations learn. Activations stay float.

    Args:
        bits: width of an index, 1 to 8.
        begin: share of training after which weights are shared; best after pruning ends. 1: after training, without
            training the values.
        exclude: names of layers (`fc3`, `conv*`) that stay as they are.
        bits_of: a width of their own for layers by name, such as {"conv*": 8}; the first pattern that fits counts.

    Raises:
        UserError: a value outside its range, a name that matches no layer, or a layer that cannot be quantized.
    """

    stage = 2

    def __init__(
        self,
        bits: int = 5,
        begin: float = 0.75,
        exclude: Sequence[str] = (),
        bits_of: Mapping[str, int] | None = None,
    ):
        for key, width in {
            "bits": bits,
            **{f"bits_of.{name}": layer_bits for name, layer_bits in (bits_of or {}).items()},
        }.items():
            if width not in range(1, 9):
                raise UserError(f"quant.{key}={width}: the width of an index in whole bits, 1 to 8")
        if not 0 <= begin <= 1:
            raise UserError(f"quant.begin={begin}: a share of training, from 0 to 1")
        self.bits, self.begin, self.exclude, self.bits_of = bits, begin, tuple(exclude), dict(bits_of or {})
        self.export_ready_from, self.trains = begin, begin < 1

    def broken_promise(self, before: nn.Module, after: nn.Module, weights: Sequence[StoredWeight]) -> str:
        largest, most = max(int(w.max()) for w in weights), 2 ** max(self.bits, *self.bits_of.values(), 1)
        indices = all(w.dtype == np.uint8 for w in weights) and most // 2 <= largest < most
        return "" if indices else f"{largest} is the largest index, not one of {most // 2} to {most - 1}"

    def check(self, network: nn.Module, example: Example | None = None) -> None:
        super().check(network, example)
        check_layers(network, self.exclude, self.bits_of)
        _, left_alone = self.acted_on(network)
        check_own_widths(self.bits_of, left_alone)

    def acted_on(self, network: nn.Module) -> tuple[dict[str, Layer], dict[str, str]]:
        """The layers whose weights are shared, by name, and why others are left alone."""
        return acted_on(network, "quant", self.exclude, partial(reason_against, calls=self.calls), self.calls)

    def prepare(self, network: nn.Module) -> None:
        self.check(network)
        selected, left_alone = self.acted_on(network)
        warn_of_others(network, "quant", left_alone)
        codebooks: dict[int, Codebook] = {}  # one for each weight, which layers may share
        for name, layer in selected.items():
            if parametrization(layer, Codebook) is None:
                [*_, last] = inspection.stored_tensors(layer)
                if id(last) not in codebooks:
                    codebooks[id(last)] = Codebook(layer.weight.detach(), first_match(self.bits_of, name, self.bits))
                parametrize.register_parametrization(layer, "weight", codebooks[id(last)], unsafe=True)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        super().on_train_batch_start(trainer, pl_module, batch, batch_idx)
        if self.trains and has_reached(trainer, self.begin):
            share_weights(network_of(pl_module))

    def windows(self, trainer: pl.Trainer) -> Sequence[Window]:
        return [Window(f"quant.begin={self.begin:.3g}", self.begin, 1.0, 1, "the values learn in the last step alone")]

    def scalars(self, network: nn.Module) -> dict[str, float]:
        """How many values each layer uses."""
        named = ((name, parametrization(layer, Codebook)) for name, layer in layers(network, self.exclude))
        return {f"values/{name}": int(book.indices.unique().count_nonzero()) for name, book in named if book}

    def unfinished(self, network: nn.Module) -> str:
        books = [book for _, layer in layers(network) if (book := parametrization(layer, Codebook))]
        late = self.trains and books and not any(book.enabled for book in books)
        return f"quant.begin={self.begin:.3g}: training ended before it, and no value has learned" if late else ""

    @torch.no_grad()
    def finalize(self, network: nn.Module, calibration: Iterable[Example] = ()) -> nn.Module:
        share_weights(network)
        foldable = layer_graph.foldable(network)
        stored: dict[int, SharedWeight] = {}  # of each codebook, which layers may share
        for name, layer in list(layers(network)):
            codebook = parametrization(layer, Codebook)
            if codebook is None:
                continue
            weight = stored.setdefault(id(codebook), codebook.stored(layer.weight))
            source = network.get_submodule(foldable[name]) if name in foldable else None
            if (
                isinstance(source, Normalize) and source.std.numel() == 1 and not isinstance(layer, nn.Embedding)
            ):  # one value for all inputs folds into the table
                weight.codebook.div_(source.std)
                layer.bias = folded_bias(source, weight(), layer.bias)
                layer_graph.replace_module(network, foldable[name], nn.Identity())
            layer_graph.replace_module(network, name, quantized_layer(layer, weight, nn.Identity()))
        return network


@torch.no_grad()
def share_weights(network: nn.Module) -> None:
    """Shares the weights of every layer that has a codebook, where that has not been done."""
    for _, layer in layers(network):
        codebook = parametrization(layer, Codebook)
        if codebook is not None and not codebook.enabled:
            codebook.fit(layer.weight)


def k_means(x: Tensor, k: int) -> Tensor:
    """The k centres, ascending, to which Lloyd's algorithm moves k values spread evenly over the range of x (n,).

    A centre with no member stays where it is. In one dimension a cluster is an interval of the sorted x, so that a
    step costs k searches.
    """
    x = x.sort().values
    centres = torch.linspace(float(x[0]), float(x[-1]), k, dtype=x.dtype)
    sums = torch.cat([x.new_zeros(1), x.cumsum(0)])
    for _ in range(ITERATIONS):
        inner = torch.searchsorted(x, decision_thresholds(centres))
        ends = torch.cat([inner.new_zeros(1), inner, inner.new_full((1,), len(x))])
        sizes = ends.diff()
        moved = torch.where(sizes > 0, sums[ends].diff() / sizes.clamp(min=1), centres)
        if torch.equal(moved, centres):
            break
        centres = moved
    return centres


def decision_thresholds(centres: Tensor) -> Tensor:
    """Where the nearest of two neighbouring centres changes."""
    return (centres[1:] + centres[:-1]) / 2
