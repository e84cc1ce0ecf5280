"""Whether a network without channels computes what it computes with these zeroed: tried out, not believed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice

import torch
from torch import Tensor, nn

from lcomp.errors import UserError
from lcomp.record.interruption import raise_machine_error
from lcomp.techniques.example import Arguments, changed_numbers, in_precision
from lcomp.techniques.layer_kinds import looks_up
from lcomp.techniques.pruning.groups import ChannelGroup, close_masks, cut_channels
from lcomp.techniques.technique import Layer, layers

TOLERANCES = {torch.float64: 1e-6}  # of logits, relative to the largest
TOLERANCE = 1e-4  # where a network only computes in another precision
PATTERNS: list[Callable[[int, torch.Generator], Tensor]] = [  # which of so many channels are kept
    lambda size, draw: torch.arange(size) % 2 == 0,
    lambda size, draw: torch.arange(size) > 0,
    lambda size, draw: torch.arange(size) >= size // 2,
    lambda size, draw: torch.rand(size, generator=draw) < 0.3 + 0.6 * torch.rand(1, generator=draw),
    lambda size, draw: torch.arange(size) == int(torch.randint(size, (1,), generator=draw)),
]


class ChannelRemoval:
    """Tries out on copies of a network whether it bears the loss of channels.

    Args:
        network: evaluating, on the CPU, without parametrizations; hooks are left to act.
        given: the network's arguments, each (N, ...); two examples are tried, and two random ones.

    Raises:
        UserError: the network does not compute one tensor of finite numbers.
    """

    def __init__(self, network: nn.Module, given: Arguments):
        draw = torch.Generator().manual_seed(0)
        others = tuple(tensor[[0, -1]].cpu() for tensor in given)
        others = changed_numbers(others, lambda tensor: torch.rand(tensor.shape, generator=draw))
        tried = tuple(torch.cat([tensor[:2].cpu(), other]) for tensor, other in zip(given, others, strict=True))
        self.network, self.given = perturbed_copy(network, tried)
        self.layers = dict(layers_with_channels(self.network))
        self.weights = {name: layer.weight.detach().clone() for name, layer in self.layers.items()}
        self.shared_memory = {id(t): t for t in (*self.network.parameters(), *self.network.buffers())}

    def removable(
        self, groups: Sequence[ChannelGroup], otherwise: Callable[[ChannelGroup], Iterable[ChannelGroup]]
    ) -> list[ChannelGroup]:
        """Those of `groups` without whose channels the network computes what it does with them zeroed.

        Args:
            otherwise: other forms of a group that does not pass, to be tried in its stead.

        Raises:
            UserError: some pass by themselves, but not together.
        """
        passing = self.removable_by_halves(groups, otherwise)
        if len(passing) < len(groups) and not self.are_removable(passing):
            raise UserError(
                f"prune=filter: {type(self.network).__name__} mixes channels outside of its layers; name the layers "
                "whose filters must stay in prune.exclude"
            )
        return passing

    def removable_by_halves(
        self, groups: Sequence[ChannelGroup], otherwise: Callable[[ChannelGroup], Iterable[ChannelGroup]]
    ) -> list[ChannelGroup]:
        """Those that pass, found by halves."""
        if self.are_removable(groups):
            return list(groups)
        if len(groups) == 1:
            others = (other for other in otherwise(groups[0]) if other.size > 1 and self.are_removable([other]))
            return list(islice(others, 1))
        half = len(groups) // 2
        return self.removable_by_halves(groups[:half], otherwise) + self.removable_by_halves(groups[half:], otherwise)

    def are_removable(self, groups: Sequence[ChannelGroup]) -> bool:
        """Whether the network bears the loss of several patterns of the channels of all these groups at once."""
        draw = torch.Generator().manual_seed(0)
        return not groups or all(
            self.is_unchanged_without(groups, [at_least_one(pattern(group.size, draw)) for group in groups])
            for pattern in PATTERNS
        )

    @torch.no_grad()
    def is_unchanged_without(self, groups: Sequence[ChannelGroup], kept: Sequence[Tensor]) -> bool:
        """Whether the network without channels computes what it does with them zeroed.

        Args:
            kept: for each group a boolean tensor (size,); false takes a channel away; one of each is kept.
        """
        smaller = copy.deepcopy(self.network, dict(self.shared_memory))  # cutting makes tensors of its own
        masks = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in self.weights.items()}
        try:
            for group, keeps in zip(groups, kept, strict=True):
                close_masks(masks, group, keeps)
            cut_channels(smaller, groups, kept)
            actual = evaluated_logits(smaller, self.given)
            for name, layer in self.layers.items():
                layer.weight.mul_(masks[name])  # one weight of several layers takes the masks of all
            return same_logits(evaluated_logits(self.network, self.given), actual)
        except Exception as error:  # whatever a user's forward raises when channels are missing
            raise_machine_error(error)
            return False
        finally:
            for name, layer in self.layers.items():
                layer.weight.copy_(self.weights[name])


def layers_with_channels(network: nn.Module) -> Iterator[tuple[str, Layer]]:
    """The named layers whose outputs are channels of their own; those of an embedding are its whole width."""
    return ((name, layer) for name, layer in layers(network) if not looks_up(layer))


def at_least_one(kept: Tensor) -> Tensor:
    """`kept`, or the first where none is."""
    return kept if kept.any() else torch.arange(len(kept)) == 0


@contextmanager
def repeatable() -> Iterator[None]:
    """What is drawn on the CPU inside is the same each time, and nothing of what is drawn afterwards changes."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        yield


@torch.no_grad()
def evaluated_logits(network: nn.Module, given: Arguments) -> Tensor:
    """What an evaluating `network` gives for its arguments.

    Raises:
        UserError: that is no tensor.
    """
    with repeatable():
        output = network(*given)
    if not isinstance(output, Tensor):
        raise UserError(
            f"prune: {type(network).__name__} gives a {type(output).__name__}; it has to give a tensor of logits"
        )
    return output


def same_logits(first: Tensor, second: Tensor) -> bool:
    """Whether two tensors of logits differ by no more than their precision."""
    if first.shape != second.shape:
        return False
    difference = (first - second).abs().max()
    return bool(difference <= TOLERANCES.get(first.dtype, TOLERANCE) * first.abs().max().clamp(min=1))


@torch.no_grad()
def perturbed_copy(network: nn.Module, given: Arguments) -> tuple[nn.Module, Arguments]:
    """A copy of `network`, and its arguments, in double precision if it computes so; its parameters are moved at
    random, so that none hides what depends on it behind a zero (a residual branch that begins as nothing, a scale of
    1e-6)."""
    own = next(tensor.dtype for tensor in (*given, *network.parameters()) if tensor.is_floating_point())
    for dtype, moved in ((torch.float64, True), (torch.float64, False), (own, True), (own, False)):
        trial = copy.deepcopy(network).to(dtype)
        draw = torch.Generator().manual_seed(0)
        for parameter in (p for p in trial.parameters() if moved and p.is_floating_point()):
            step = 0.5 if parameter.dim() < 2 else (parameter.numel() / len(parameter)) ** -0.5
            parameter.add_(torch.randn(parameter.shape, generator=draw).to(parameter) * step)
        try:
            output = evaluated_logits(trial, in_precision(given, dtype))
        except UserError:
            raise
        except Exception as error:  # whatever a user's forward raises in another precision than its constants'
            raise_machine_error(error)
            cause = first_line(error)
            continue
        if output.isfinite().all():
            return trial, in_precision(given, dtype)
        cause = "it gives numbers that are not finite"
    raise UserError(f"prune=filter: {type(network).__name__} cannot be tried out ({cause})")


def predict_logits(network: nn.Module, given: Arguments) -> Tensor:
    """The logits of a copy of `network` that evaluates on the CPU, in double precision if it computes so, so that what
    rounds activations rounds alike where sums are merely added up in another order."""
    evaluated = copy.deepcopy(network).cpu().eval()
    try:
        return evaluated_logits(copy.deepcopy(evaluated).double(), in_precision(given, torch.float64))
    except Exception as error:  # whatever a user's forward raises in another precision than its constants'
        raise_machine_error(error)
        return evaluated_logits(evaluated, given)


def first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:160]
