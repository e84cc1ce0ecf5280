"""Steps of networks that read sentences: their first value is token ids (N, L), beside their mask (N, L)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lcomp.techniques.pruning.vocabulary import Renumbered
from lcomp.techniques.quantization.integer_layers import CodedWeight, QuantizedEmbedding

MASK = -1  # the source that is the mask
MASKED = 1e4  # what is taken from the score of a token that is not there
Embedding = nn.Embedding | QuantizedEmbedding


class Places(nn.Module):
    """Rows of a table by a token's place in its sentence.

    Args:
        table: an embedding of places.
    """

    def __init__(self, table: Embedding):
        super().__init__()
        self.table = table

    def forward(self, ids: Tensor) -> Tensor:
        rows: Tensor = self.table(torch.arange(ids.shape[-1]))
        return rows.expand(ids.shape[0], -1, -1)


class Attend(nn.Module):
    """softmax(q k^T scale - 10,000 (1 - mask)) v for each head, of three values (N, L, W) and the mask (N, L).

    Args:
        heads: how many.
        scale: of the scores.
    """

    def __init__(self, heads: int, scale: float):
        super().__init__()
        self.heads, self.scale = heads, scale

    def forward(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        q, k, v = (x.unflatten(2, (self.heads, x.shape[2] // self.heads)).transpose(1, 2) for x in (query, key, value))
        scores = q @ k.transpose(2, 3) * self.scale + (mask[:, None, None] - 1) * MASKED
        read: Tensor = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)
        return read


class First(nn.Module):
    """What stands for the first token: (N, L, W) to (N, W)."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0]


class MaskedMean(nn.Module):
    """The mean over the tokens that are there: (N, L, W) and the mask (N, L) to (N, W)."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        mean: Tensor = (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)
        return mean


READS_IDS = (nn.Embedding, QuantizedEmbedding, Places, Renumbered)


def make_embedding(weight: Tensor | CodedWeight) -> Embedding:
    """An embedding of a weight in any form."""
    rows, width = (weight.integers if isinstance(weight, CodedWeight) else weight).shape
    layer = nn.Embedding(rows, width, device="meta")
    if isinstance(weight, CodedWeight):
        return QuantizedEmbedding(layer, weight, nn.Identity())
    layer.weight = nn.Parameter(weight)
    return layer


def layer_norm(width: int, eps: float, weight: Tensor, bias: Tensor) -> nn.LayerNorm:
    """A norm over the last axis, with numbers of its own."""
    norm = nn.LayerNorm(width, eps, device="meta")
    norm.weight, norm.bias = nn.Parameter(weight), nn.Parameter(bias)
    return norm
