"""Removal of the rows of an embedding that the training data never look up (vocabulary pruning)."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lcomp.errors import UserError
from lcomp.techniques import inspection, layer_graph
from lcomp.techniques.example import Arguments, Example, arguments
from lcomp.techniques.layer_kinds import looks_up
from lcomp.techniques.parametrizations import original_weight
from lcomp.techniques.pruning.filters import attach_parametrizations, detach_parametrizations
from lcomp.techniques.technique import StoredWeight, Technique, layers

log = logging.getLogger(__name__)


class Renumbered(nn.Module):
    """An embedding of fewer rows, looked up by the numbers that there were before.

    Args:
        table: the embedding.
        rows: (numbers,) which row each number has; those without one of their own have one together.
    """

    def __init__(self, table: nn.Module, rows: Tensor):
        super().__init__()
        self.table = table
        self.register_buffer("rows", rows.to(torch.int16 if int(rows.max()) < 2**15 else torch.int32))
        self.rows: Tensor

    @property
    def embedding_dim(self) -> int:
        width = self.table.embedding_dim
        assert isinstance(width, int)
        return width

    def forward(self, indices: Tensor) -> Tensor:
        rows = F.embedding(indices, self.rows.unsqueeze(1)).squeeze(-1)  # exported, Gather; an index becomes GatherND
        found: Tensor = self.table(rows.long())
        return found


class VocabularyPruning(Technique):
    """Takes out of each embedding of an input the rows that no sentence of an epoch of training looks up, but one: all
    that is not known is read as that one from then on, the mean of those that are gone.

    The numbers of the tokens stay: the artifact itself says which row each has, so the tokenizer is the same. Nothing
    has to train for it; it acts after other techniques have trained, and before weights become integers.

    Raises:
        UserError: in `check` with inputs: no embedding reads an input as it is.
    """

    stage = 1
    trains = False
    reads_tokens = True  # it acts on networks that read sentences alone

    def prepare(self, network: nn.Module) -> None:
        self.check(network)

    def check(self, network: nn.Module, example: Example | None = None) -> None:
        """Raises UserError where the technique cannot act on `network`; with an example it is asked which embeddings
        read what it is given."""
        super().check(network, example)
        if example is not None and not looked_up_by(network, arguments(example)):
            raise UserError(
                f"prune=vocabulary: {type(network).__name__} has no embedding that reads the numbers that it is given, "
                "with a weight of its own"
            )

    def broken_promise(self, before: nn.Module, after: nn.Module, weights: Sequence[StoredWeight]) -> str:
        made = [module for module in after.modules() if isinstance(module, Renumbered)]
        whole = all(int(module.rows.max()) + 1 == len(module.table.weight) for module in made)  # type: ignore[arg-type]
        return "" if made and whole else "no embedding has become smaller"

    @torch.no_grad()
    def finalize(self, network: nn.Module, calibration: Iterable[Example] = ()) -> nn.Module:
        batches = iter(calibration)
        first = next(batches, None)
        if first is None:
            raise UserError("prune=vocabulary reads what is trained on: finalize(calibration=batches of inputs)")
        places = looked_up_by(network, arguments(first))
        used = {
            name: torch.zeros(len(network.get_submodule(name).weight), dtype=torch.bool)  # type: ignore[arg-type]
            for name in places
        }
        for batch in (first, *batches):
            for name, place in places.items():
                used[name][arguments(batch)[place].flatten()] = True
        for name, rows in used.items():
            log.info("prune=vocabulary: %s of the %s rows of %s are used", int(rows.sum()), len(rows), name)
            if not rows.all():
                layer_graph.replace_module(network, name, shortened(network.get_submodule(name), rows))
        return network


def looked_up_by(network: nn.Module, given: Arguments) -> dict[str, int]:
    """The embeddings that read an input as it is, and whose weight nothing else has: which input, by name."""
    seen, found = dict[str, Tensor](), dict[str, int]()
    shared = inspection.weight_sharers(network)
    handles = [
        layer.register_forward_pre_hook(lambda _, inputs, name=name: seen.update({name: inputs[0]}))
        for name, layer in layers(network)
        if looks_up(layer) and name not in shared and inspection.stored_tensors(layer)
    ]
    mode = network.training
    try:
        network.eval()(*given)
    finally:
        network.train(mode)
        for handle in handles:
            handle.remove()
    for name, indices in seen.items():
        for place, tensor in enumerate(given):
            if not tensor.is_floating_point() and indices.data_ptr() == tensor.data_ptr():
                found[name] = place
    return found


def shortened(layer: nn.Module, used: Tensor) -> Renumbered:
    """`layer` without the rows that are not used but the first, which is the mean of them all."""
    assert isinstance(layer, nn.Embedding)
    others = (~used).nonzero().flatten()
    weight = original_weight(layer)
    weight[others[0]] = weight[others].mean(0)
    kept, rows = used.clone(), rows_of(used)
    kept[others[0]] = True
    mask = kept[:, None].expand(weight.shape)
    parametrizations = detach_parametrizations(layer)
    layer.weight = nn.Parameter(layer.weight[kept])
    layer.num_embeddings = len(layer.weight)
    attach_parametrizations(layer, parametrizations, mask)
    return Renumbered(layer, rows)


def rows_of(own: Tensor) -> Tensor:
    """Which row each number has, int64, where `own` says which have one of their own: rows are numbered in this order,
    and all others have one together, at the place of the first of them."""
    kept, others = own.clone(), (~own).nonzero().flatten()
    kept[others[:1]] = True
    rows = kept.cumsum(0) - 1
    rows[others] = rows[others[:1]]
    return rows


def has_own(rows: Tensor) -> Tensor:
    """Which numbers share their row with no other."""
    alone: Tensor = rows.long().bincount()[rows.long()] == 1
    return alone
