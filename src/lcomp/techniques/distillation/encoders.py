"""Where the layers of an encoder are, and what they say of the tokens that are there."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from lcomp.errors import UserError
from lcomp.techniques.distillation.features import INPUT

PROJECTIONS = (("query", "q_lin", "q_proj"), ("key", "k_lin", "k_proj"), ("value", "v_lin", "v_proj"))  # usual names


class EncoderLayer(NamedTuple):
    """One layer, by the names of its modules.

    Attributes:
        name: its own.
        projections: of the linear layers that give queries, keys and values.
        scores: of what attention's softmax reads, `softmax:input`; None where no module computes it.
    """

    name: str
    projections: tuple[str, str, str]
    scores: str | None


def encoder_layers(network: nn.Module, key: str) -> list[EncoderLayer]:
    """The layers of attention in a row, from the first to the last; those that were taken out do not count.

    Args:
        key: of what asks, for messages.

    Raises:
        UserError: there are none.
    """
    for name, module in network.named_modules():
        if isinstance(module, nn.ModuleList):
            found = [layer_of(one, f"{name}.{child}") for child, one in module.named_children()]
            if layers := [layer for layer in found if layer is not None]:
                return layers
    raise UserError(
        f"{key}: {type(network).__name__} is no encoder, a list of layers with linear ones called "
        f"{', '.join(names[0] for names in PROJECTIONS)}; it reads what these say of tokens"
    )


def layer_of(module: nn.Module, name: str) -> EncoderLayer | None:
    """What `module` is as a layer; None where it has no attention."""
    inner = {child.rpartition(".")[2]: f"{name}.{child}" for child, _ in module.named_modules()}
    linear = [next((inner[one] for one in names if one in inner), None) for names in PROJECTIONS]
    query, key, value = linear
    if query is None or key is None or value is None:
        return None
    softmax = [f"{name}.{child}{INPUT}" for child, one in module.named_modules() if isinstance(one, nn.Softmax)]
    return EncoderLayer(name, (query, key, value), softmax[0] if softmax else None)


def width_of(network: nn.Module, layer: EncoderLayer) -> int:
    """How many numbers stand for a token."""
    inputs = network.get_submodule(layer.projections[0]).in_features
    assert isinstance(inputs, int)
    return inputs


def teaching_layer(number: int, students: int, teachers: int) -> int:
    """Which of the teacher's layers a student's layer learns from, both counted from 1: those of a student of half the
    layers from every other one, from the second to the last."""
    return -(-number * teachers // students)


def of_tokens(values: Tensor, mask: Tensor) -> Tensor:
    """(T, D) of the tokens that are there, of (N, L, D) and a mask (N, L)."""
    return values[mask != 0]


def split_heads(values: Tensor, heads: int) -> Tensor:
    """(N, L, D) to (N, heads, L, D / heads)."""
    split: Tensor = values.unflatten(2, (heads, -1)).transpose(1, 2)
    return split


def pairs(mask: Tensor) -> Tensor:
    """(N, 1, L, L), true where both tokens are there, of a mask (N, L)."""
    there = mask != 0
    return torch.logical_and(there[:, None, :, None], there[:, None, None, :])
