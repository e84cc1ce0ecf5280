"""Which weights go first: a weight tensor to scores of the same shape; the lowest are pruned.

A criterion is a function of the weights, or, where it needs gradients or what layers are given, an
`ObservingCriterion`, which keeps a statistic per layer in the mask's buffers, so that a resumed run goes on with it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from lcomp.errors import UserError
from lcomp.techniques.layer_kinds import Layer, is_acted_on, looks_up
from lcomp.techniques.parametrizations import parametrization
from lcomp.techniques.pruning.mask import Mask


def magnitude(weight: Tensor) -> Tensor:
    """|w| (Han et al. 2015)."""
    return weight.abs()


def random(weight: Tensor, seed: int = 0) -> Tensor:
    """Scores that `seed` and the number of weights decide, always the same: the control of every other criterion."""
    drawn = torch.rand(weight.shape, generator=torch.Generator().manual_seed(1000 * weight.numel() + seed))
    return drawn.to(weight.device)


class ObservingCriterion:
    """A criterion that watches training.

    Masks are then updated after a step's backward pass, not before its forward pass: the first needs something seen.
    """

    def statistic(self, weight: Tensor) -> Tensor:
        """What is known of `weight` before training."""
        return torch.zeros_like(weight)

    def scores(self, weight: Tensor, statistic: Tensor, kept: Tensor) -> Tensor:
        """The scores; `kept` is the mask so far."""
        raise NotImplementedError

    def compensated(self, weight: Tensor, statistic: Tensor, kept: Tensor, pruned: Tensor) -> Tensor:
        """The weights when those where `pruned` is true are taken from those where `kept` is."""
        return weight


Criterion: TypeAlias = Callable[[Tensor], Tensor] | ObservingCriterion


class GradientCriterion(ObservingCriterion):
    """A criterion that watches the gradients of every optimizer step."""

    def observe(self, statistic: Tensor, weight: Tensor, gradient: Tensor) -> None:
        """Updates `statistic`, in place, by the gradient of one step."""
        raise NotImplementedError


class InputCriterion(ObservingCriterion):
    """A criterion that watches what layers are given in training."""

    def observe_input(self, statistic: Tensor, layer: Layer, x: Tensor) -> None:
        """Updates `statistic`, in place, by the layer's input (N, ...), indices of an embedding."""
        raise NotImplementedError

    def watch(self, network: nn.Module) -> list[RemovableHandle]:
        """Observes what masked layers are given from now on, until the handles are removed."""

        def watched(layer: Layer, mask: Mask) -> RemovableHandle:
            def hook(module: nn.Module, arguments: tuple[Tensor, ...], named: dict[str, Tensor]) -> None:
                x = arguments[0] if arguments else named["input"]
                known = x.detach() if looks_up(layer) else x.detach().to(mask.statistic.dtype)
                self.observe_input(mask.statistic, layer, known)

            return layer.register_forward_pre_hook(hook, with_kwargs=True)

        masks = [(layer, parametrization(layer, Mask)) for layer in network.modules() if is_acted_on(layer)]
        return [watched(cast(Layer, layer), mask) for layer, mask in masks if mask is not None]


class Wanda(InputCriterion):
    """abs(w) ||x||, x the input that w multiplies: what the output loses without it (Sun et al. 2024, eq. 1).

    Of a convolution that is what lies beneath the weight at each place of the kernel, as if it were a linear layer over
    unfolded inputs; of an embedding, 1 for each time that an example looks the row up. The norm is over the places of
    an example, and a moving average over examples; the paper compares the weights of one output, `prune.scope=output`.

    Args:
        momentum: m of the average a <- m a + (1 - m) x over batches, 0 to below 1.

    Raises:
        UserError: another momentum.
    """

    def __init__(self, momentum: float = 0.95):
        check_momentum(momentum)
        self.momentum = momentum

    def observe_input(self, statistic: Tensor, layer: Layer, x: Tensor) -> None:
        statistic.lerp_(mean_squares(layer, x), 1 - self.momentum)

    def scores(self, weight: Tensor, statistic: Tensor, kept: Tensor) -> Tensor:
        return weight.abs() * statistic.sqrt()


def mean_squares(layer: Layer, x: Tensor) -> Tensor:
    """The squares of what each weight of the layer multiplies, (the weight's shape), summed over the places of an
    example, the mean over the examples of x (N, ...)."""
    if isinstance(layer, nn.Embedding):
        times = x.flatten().bincount(minlength=len(layer.weight)).to(layer.weight) / len(x)
        return times.unsqueeze(1).expand_as(layer.weight)
    if isinstance(layer, nn.Linear):
        return (x.square().flatten(0, -2).sum(0) / len(x)).expand_as(layer.weight)
    padding: tuple[int, ...]
    if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        x, padding = F.pad(x, layer._reversed_padding_repeated_twice, mode), (0, 0)
    else:
        padding = layer.padding
    squares = x.square().mean(0, keepdim=True)
    patches = F.unfold(squares, layer.kernel_size, layer.dilation, padding, layer.stride).sum(2)
    outputs, *others = layer.weight.shape
    return patches.view(layer.groups, 1, *others).expand(-1, outputs // layer.groups, *others).reshape(outputs, *others)


def check_momentum(momentum: float) -> None:
    """Raises UserError for what is no momentum of a moving average."""
    if not 0 <= momentum < 1:
        raise UserError(f"prune.criterion.momentum={momentum}: of a moving average, from 0 to below 1")


class AveragedCriterion(GradientCriterion):
    """A criterion with a moving average of gradients, a <- m a + (1 - m) x.

    Args:
        momentum: m, 0 (the last step alone) to below 1.

    Raises:
        UserError: another momentum.
    """

    def __init__(self, momentum: float = 0.95):
        check_momentum(momentum)
        self.momentum = momentum


class Taylor(AveragedCriterion):
    """(g w)^2, averaged: the squared first-order change of the loss when w becomes 0 (Molchanov et al. 2019, eq. 8)."""

    def observe(self, statistic: Tensor, weight: Tensor, gradient: Tensor) -> None:
        statistic.lerp_((gradient * weight).square(), 1 - self.momentum)

    def scores(self, weight: Tensor, statistic: Tensor, kept: Tensor) -> Tensor:
        return statistic


class OptimalBrainDamage(AveragedCriterion):
    """h w^2 / 2 with a diagonal Hessian (LeCun et al. 1990, eq. 5): the averaged g^2, the diagonal of the empirical
    Fisher matrix."""

    def observe(self, statistic: Tensor, weight: Tensor, gradient: Tensor) -> None:
        statistic.lerp_(gradient.square(), 1 - self.momentum)

    def scores(self, weight: Tensor, statistic: Tensor, kept: Tensor) -> Tensor:
        return statistic * weight.square() / 2


class Movement(GradientCriterion):
    """-w g, summed over the steps: weights that training moves away from zero stay (Sanh et al. 2020, eq. 2)."""

    def observe(self, statistic: Tensor, weight: Tensor, gradient: Tensor) -> None:
        statistic.sub_(weight * gradient)

    def scores(self, weight: Tensor, statistic: Tensor, kept: Tensor) -> Tensor:
        return statistic


class OptimalBrainSurgeon(AveragedCriterion):
    """w_q^2 / (2 [F^-1]_qq), and the others move so that the loss rises least: dw = -F^-1_Q (F^-1_QQ)^-1 w_Q (Hassibi &
    Stork 1993, eq. 5; for several at once, Kurtic et al. 2022, eq. 5).

    F is the averaged g g^T, the empirical Fisher matrix, in blocks of `block` weights that follow one another, plus
    `damping` times the identity: `block` numbers are kept for each weight.

    Args:
        block: weights of a block, 1 or more.
        damping: above 0; as large as typical squared gradients, or the inverse is noise.
        momentum: of the average.

    Raises:
        UserError: a value outside its range.
    """

    def __init__(self, block: int = 32, damping: float = 1e-6, momentum: float = 0.95):
        super().__init__(momentum)
        if block < 1 or damping <= 0:
            raise UserError(f"prune.criterion.block={block}, damping={damping}: 1 or more, and above 0")
        self.block, self.damping = block, damping

    def statistic(self, weight: Tensor) -> Tensor:
        return weight.new_zeros(-(-weight.numel() // self.block), self.block, self.block)

    def observe(self, statistic: Tensor, weight: Tensor, gradient: Tensor) -> None:
        blocks = self.blocks(gradient)
        statistic.lerp_(blocks.unsqueeze(2) * blocks.unsqueeze(1), 1 - self.momentum)

    def blocks(self, values: Tensor) -> Tensor:
        """`values` in rows of a block each, zeros behind the last."""
        flat = values.flatten()
        padding = -len(flat) % self.block
        return torch.cat([flat, flat.new_zeros(padding)]).view(-1, self.block)

    def inverse(self, statistic: Tensor, kept: Tensor) -> Tensor:
        """F^-1 of the weights that are kept; those already pruned stand alone, with 1 on the diagonal."""
        present = self.blocks(kept.to(statistic.dtype))
        identity = torch.eye(self.block, dtype=statistic.dtype, device=statistic.device)
        among = present.unsqueeze(2) * present.unsqueeze(1)
        alone = torch.diag_embed(1 - present)
        inverse: Tensor = torch.linalg.inv((statistic + self.damping * identity) * among + alone)
        return inverse

    def scores(self, weight: Tensor, statistic: Tensor, kept: Tensor) -> Tensor:
        inverse = self.inverse(statistic, kept)
        scores = self.blocks(weight).square() / (2 * torch.diagonal(inverse, dim1=1, dim2=2))
        return scores.flatten()[: weight.numel()].view_as(weight)

    def compensated(self, weight: Tensor, statistic: Tensor, kept: Tensor, pruned: Tensor) -> Tensor:
        inverse, going = self.inverse(statistic, kept), self.blocks(pruned.to(statistic.dtype))
        among = going.unsqueeze(2) * going.unsqueeze(1)
        system = inverse * among + torch.diag_embed(1 - going)
        multipliers = torch.linalg.solve(system, self.blocks(weight) * going)
        moved = self.blocks(weight) - (inverse @ (multipliers * going).unsqueeze(2)).squeeze(2)
        moved = moved * (1 - going)
        return torch.where(kept & ~pruned, moved.flatten()[: weight.numel()].view_as(weight), weight)
