"""N:M pruning: a pattern that hardware can skip (Mishra et al. 2021)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from lcomp.errors import UserError
from lcomp.techniques.pruning import criteria, schedules
from lcomp.techniques.pruning.criteria import Criterion
from lcomp.techniques.pruning.mask import prune_rows
from lcomp.techniques.pruning.pruning import Pruning
from lcomp.techniques.technique import layers


class NMPruning(Pruning):
    """Of every `m` weights that follow one another at the inputs of an output, keeps `n`.

    The inputs of a convolution stand in the order channel, row, column; what is left behind the last whole group of an
    output stays dense.

    Args:
        n, m: how many stay, of how many; 1 <= n < m.
        begin, end, interval, criterion, exclude: as in `Pruning`; over the window one weight of each group goes after
            another, in equal parts.

    Raises:
        UserError: another pattern, or what `Pruning` refuses.
    """

    def __init__(
        self,
        n: int = 2,
        m: int = 4,
        begin: float = 0.0,
        end: float = 0.5,
        interval: int = 100,
        criterion: Criterion = criteria.magnitude,
        exclude: Sequence[str] = (),
    ):
        if not 1 <= n < m:
            raise UserError(f"prune.n={n}, prune.m={m}: how many weights stay of how many, such as 2 and 4")
        self.n, self.m = n, m
        super().__init__(1 - n / m, 0.0, begin, end, interval, schedules.linear, criterion, "layer", exclude=exclude)
        self.needed = m - n  # a weight of each group after another

    def promised_zeros(self, network: nn.Module) -> tuple[int, int]:
        shapes = [layer.weight.shape for _, layer in layers(network, self.exclude)]
        zeros = sum(shape[0] * (shape[1:].numel() // self.m) * (self.m - self.n) for shape in shapes)
        return zeros, zeros

    def target_count(self, name: str, weight: Tensor) -> float:
        return len(weight) * (weight[0].numel() // self.m) * (self.m - self.n)

    def pruned_masks(self, masks: Sequence[Tensor], scores: Sequence[Tensor], sparsity: float) -> list[Tensor]:
        gone = min(self.m - self.n, int(sparsity * self.m + 1e-6))
        return [self.n_m_mask(mask, score, gone) for mask, score in zip(masks, scores, strict=True)]

    def n_m_mask(self, mask: Tensor, scores: Tensor, gone: int) -> Tensor:
        """The mask with `gone` weights of each group away: those that are already, then the lowest scores."""
        outputs = len(mask)
        whole = mask[0].numel() // self.m * self.m
        flat = mask.reshape(outputs, -1).clone()
        ranked = scores.reshape(outputs, -1)[:, :whole].reshape(-1, self.m)
        groups = prune_rows(flat[:, :whole].reshape(-1, self.m), ranked, gone)
        flat[:, :whole] = groups.view(outputs, whole)
        return flat.view_as(mask)
