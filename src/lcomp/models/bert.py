"""BERT (Devlin et al. 2019): a transformer that reads a whole sentence, and names its class."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lcomp.errors import UserError, validate_choice
from lcomp.models.bert_weights import load_pretrained

MASKED = 1e4  # what is taken from the score of a token that is not there: its share is then exactly 0
EPSILON = 1e-12


class Embeddings(nn.Module):
    """What stands for a token, plus what stands for its place. Whole sentences come one at a time: BERT's vector of the
    first of two sentences is part of `positions`."""

    def __init__(self, vocab_size: int, max_length: int, width: int, dropout: float):
        super().__init__()
        self.words = nn.Embedding(vocab_size, width)
        self.positions = nn.Embedding(max_length, width)
        self.norm = nn.LayerNorm(width, EPSILON)
        self.dropout = nn.Dropout(dropout)

    def forward(self, input_ids: Tensor) -> Tensor:
        """Token ids (N, L) to vectors (N, L, width)."""
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        embedded: Tensor = self.dropout(self.norm(self.words(input_ids) + self.positions(places)))
        return embedded


class SelfAttention(nn.Module):
    """Each token asks all others (Vaswani et al. 2017); as many heads as the layers of queries have room for."""

    def __init__(self, width: int, heads: int, dropout: float):
        super().__init__()
        self.head_size = width // heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.softmax, self.dropout = nn.Softmax(-1), nn.Dropout(dropout)
        self.output = nn.Linear(width, width)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """Vectors (N, L, width) and a bias (N, 1, 1, L) of scores to vectors (N, L, width)."""
        query, key, value = (
            layer(x).unflatten(2, (-1, self.head_size)).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        scores = query @ key.transpose(2, 3) * self.head_size**-0.5 + bias
        read: Tensor = self.dropout(self.softmax(scores)) @ value
        output: Tensor = self.output(read.transpose(1, 2).flatten(2))
        return output


class EncoderLayer(nn.Module):
    """Attention, then a network of two layers for each token; around each a shortcut, and a norm behind it."""

    def __init__(self, width: int, heads: int, feed_forward: int, dropout: float):
        super().__init__()
        self.attention = SelfAttention(width, heads, dropout)
        self.attention_norm = nn.LayerNorm(width, EPSILON)
        self.expand, self.gelu, self.reduce = nn.Linear(width, feed_forward), nn.GELU(), nn.Linear(feed_forward, width)
        self.norm = nn.LayerNorm(width, EPSILON)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        x = self.attention_norm(x + self.dropout(self.attention(x, bias)))
        y: Tensor = self.norm(x + self.dropout(self.reduce(self.gelu(self.expand(x)))))
        return y


class Bert(nn.Module):
    """An encoder of `layers` layers, with one linear layer on what it says of the sentence.

    Args:
        layers: how many.
        width: of a token's vector.
        heads: of attention, in a layer; a divisor of `width`.
        feed_forward: neurons of a layer's inner network.
        pool: `mean`, of all tokens; `first`, what BERT's own layer makes of the first.
        dropout: share of values that are left out in training.
        weights: to begin with, those of a pretrained BERT of these sizes: a folder with config.json and
            model.safetensors, an installed package that carries one, or a name on the hub; None: drawn.
        num_classes: logits.
        vocab_size: tokens that there are, which the task says.
        max_length: tokens of the longest sentence.

    Raises:
        UserError: the task has no sentences; sizes that do not fit; weights that are not there or of other sizes.
    """

    def __init__(
        self,
        layers: int = 2,
        width: int = 128,
        heads: int = 2,
        feed_forward: int = 512,
        pool: str = "first",
        dropout: float = 0.1,
        weights: str | None = None,
        num_classes: int = 2,
        vocab_size: int | None = None,
        max_length: int = 128,
    ):
        super().__init__()
        validate_choice("model.pool", pool, ("mean", "first"))
        if vocab_size is None:
            raise UserError("model: it reads sentences; choose data of them, such as data=sst2")
        if layers < 1 or heads < 1 or width % heads:
            raise UserError(
                f"model.width={width}, model.heads={heads}: each head has as many numbers, of 1 layer or more"
            )
        self.pool = pool
        self.embeddings = Embeddings(vocab_size, max_length, width, dropout)
        self.layers = nn.ModuleList(EncoderLayer(width, heads, feed_forward, dropout) for _ in range(layers))
        self.pooler = nn.Linear(width, width) if pool == "first" else nn.Identity()
        self.dropout, self.classifier = nn.Dropout(dropout), nn.Linear(width, num_classes)
        self.apply(draw)
        if weights is not None:
            load_pretrained(self, weights)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Token ids and their mask (N, L) int64 to logits (N, num_classes)."""
        x = self.embeddings(input_ids)
        mask = attention_mask.to(x.dtype)
        bias = (mask[:, None, None] - 1) * MASKED
        for layer in self.layers:
            x = layer(x, bias)
        if self.pool == "first":
            whole = self.pooler(x[:, 0]).tanh()
        else:
            whole = (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)
        logits: Tensor = self.classifier(self.dropout(whole))
        return logits


def draw(module: nn.Module) -> None:
    """Draws weights as BERT's were."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
