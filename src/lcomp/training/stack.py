"""Networks of one structure that learn at once: their tensors lie in stacks, of which each network's own are views."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from lcomp.modules.baseline import in_32_bits
from lcomp.tasks.task import Inputs
from lcomp.techniques.parametrizations import independent_copy
from lcomp.techniques.quantization.stacked import map_quantizers

Settings = Mapping[str, Tensor]  # numbers (K,) of the loss, one for each network
Loss = Callable[[Tensor, Tensor, Tensor, Settings], Tensor]  # of outputs, labels, the teacher's outputs, its settings


class Unstackable(Exception):
    """Networks cannot learn at once; says why."""


class Stack:
    """K networks as one: `parameters` and `buffers` (K, ...) by name. What changes a network's own tensors in place
    changes these, and the other way round.

    Args:
        networks: of the same layers and shapes, on one device, prepared by their techniques; K of them.

    Raises:
        Unstackable: their tensors differ in names or shapes.
    """

    def __init__(self, networks: Sequence[nn.Module]):
        if len({shapes(network) for network in networks}) > 1:
            raise Unstackable("their networks differ in layers or shapes")
        self.size, self.template = len(networks), independent_copy(networks[0])
        own = map_quantizers(self.template, networks)
        parameters = [dict(network.named_parameters()) for network in networks]
        buffers = [dict(network.named_buffers()) for network in networks]
        self.parameters = {name: stacked(parameters, name) for name in parameters[0]}
        self.buffers = {name: stacked(buffers, name) for name in buffers[0]}
        for tensors, stacks in ((parameters, self.parameters), (buffers, self.buffers)):
            for number, named in enumerate(tensors):
                for name, tensor in named.items():
                    tensor.data = stacks[name][number]
        device = next(iter(self.parameters.values())).device
        self.buffers |= {name: values.to(device) for name, values in own.items()}
        for name, parameter in parameters[0].items():
            self.parameters[name].requires_grad_(parameter.requires_grad)

    @property
    def learned(self) -> list[str]:
        """The names of the parameters that are trained."""
        return [name for name, values in self.parameters.items() if values.requires_grad]

    def losses(
        self, inputs: Sequence[Inputs], labels: Sequence[Tensor], expected: Sequence[Tensor], loss: Loss, of: Settings
    ) -> Tensor:
        """The loss (K,) of each network on its batch; all networks have the first where there is one alone.

        Args:
            inputs, labels: of each network's batch.
            expected: the teacher's outputs.
            loss, of: and each network's own settings of it.
        """
        values, places = joined([list(one.values()) for one in inputs])
        [given, taught], [of_labels, of_taught] = joined([list(pair) for pair in zip(labels, expected, strict=True)])

        def one(
            parameters: dict[str, Tensor],
            buffers: dict[str, Tensor],
            arguments: list[Tensor],
            labels: Tensor,
            expected: Tensor,
            settings: Settings,
        ) -> Tensor:
            outputs = functional_call(self.template, (parameters, buffers), tuple(arguments))
            return loss(in_32_bits(outputs), labels, expected, settings)

        self.template.train()
        mapped = vmap(one, in_dims=(0, 0, places, of_labels, of_taught, 0))
        found: Tensor = mapped(self.parameters, self.buffers, values, given, taught, of)
        return found

    @torch.no_grad()
    def outputs(self, inputs: Sequence[Inputs]) -> Tensor:
        """What the networks say (K, N, ...) in evaluation, of the inputs of each, or all of the first alone."""
        values, places = joined([list(one.values()) for one in inputs])

        def one(parameters: dict[str, Tensor], buffers: dict[str, Tensor], arguments: list[Tensor]) -> Tensor:
            outputs: Tensor = functional_call(self.template, (parameters, buffers), tuple(arguments))
            return outputs

        self.template.eval()
        found: Tensor = vmap(one, in_dims=(0, 0, places))(self.parameters, self.buffers, values)
        return in_32_bits(found)

    @torch.no_grad()
    def clip_gradients(self, norms: Tensor) -> None:
        """Scales each network's gradients so that their norm is at most its one of `norms` (K,), as
        `torch.nn.utils.clip_grad_norm_` does."""
        gradients = [gradient for name in self.learned if (gradient := self.parameters[name].grad) is not None]
        total = torch.stack([gradient.flatten(1).norm(dim=1) for gradient in gradients]).norm(dim=0)
        shares = (norms / (total + 1e-6)).clamp(max=1.0)
        for gradient in gradients:
            gradient.mul_(shares.view(-1, *[1] * (gradient.dim() - 1)))


def shapes(network: nn.Module) -> tuple[tuple[str, torch.Size], ...]:
    """What the tensors of networks that learn at once must have in common."""
    return tuple((name, value.shape) for name, value in [*network.named_parameters(), *network.named_buffers()])


def stacked(each: Sequence[Mapping[str, Tensor]], name: str) -> Tensor:
    return torch.stack([named[name].detach() for named in each]).contiguous()


def joined(each: Sequence[Sequence[Tensor]]) -> tuple[list[Tensor], list[int | None]]:
    """The tensors of each network, stacked, with the dimension that counts networks; of one alone as they are."""
    if len(each) == 1:
        return list(each[0]), [None] * len(each[0])
    return [torch.stack(several) for several in zip(*each, strict=True)], [0] * len(each[0])
