"""How an encoder's tokens lie to each other, learned from a teacher's (MiniLM; Wang et al. 2020 and 2021)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lcomp.errors import UserError, validate_choice
from lcomp.techniques.distillation.encoders import EncoderLayer, encoder_layers, split_heads, width_of
from lcomp.techniques.distillation.token_objective import TokenObjective
from lcomp.techniques.distillation.weighted import Setting

PARTS = {"query": 0, "key": 1, "value": 2}


def log_relations(one: Tensor, other: Tensor, heads: int, mask: Tensor) -> Tensor:
    """log softmax(Q K^T / sqrt(D / heads)) over the tokens that are there (eq. 3 and 5): (N, heads, L, L).

    Args:
        one, other: Q and K, (N, L, D), such as queries and keys, or values twice; mask: (N, L).
    """
    rows, columns = split_heads(one, heads), split_heads(other, heads)
    scores = rows @ columns.mT * rows.shape[-1] ** -0.5
    shares: Tensor = scores.masked_fill(mask[:, None, None] == 0, float("-inf")).log_softmax(-1)
    return shares


def relation_loss(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """KL(teacher || student) of log relations (N, heads, L, L), mean over heads and over the tokens of a sentence that
    are there, then over sentences (eq. 4 and 6)."""
    there = mask[:, None, None] != 0
    apart = torch.where(there, teacher.exp() * (teacher - student), 0).sum(-1).mean(1)
    return ((apart * mask).sum(1) / mask.sum(1).clamp(min=1)).mean()


class AttentionRelations(TokenObjective):
    """Tokens lie to each other in one layer of the student as they do in one of the teacher (Wang et al. 2020).

    Widths, and numbers of heads and of layers, may be any: queries, keys and values are cut into `heads` parts alike on
    both sides (Wang et al. 2021). With as many as both networks have, `[query, key]` is their attention.

    Args:
        weight, until: see `TokenObjective`.
        heads: parts that queries, keys and values are cut into; a divisor of both widths.
        relations: pairs of query, key and value whose inner products are compared; the sum counts.
        student_layer, teacher_layer: which of their layers, from 0, from the end where below 0.

    Raises:
        UserError: a value outside its range, or, in `prepare`, widths that cannot be cut so, or too few layers.
    """

    key = "kd.objectives.attention_relations"

    def __init__(
        self,
        weight: float = 1.0,
        until: float = 1.0,
        heads: int = 4,
        relations: Sequence[Sequence[str]] = (("query", "key"), ("value", "value")),
        student_layer: int = -1,
        teacher_layer: int = -1,
    ):
        super().__init__(weight, until)
        if heads < 1 or not relations or any(len(pair) != 2 for pair in relations):
            raise UserError(
                f"{self.key}.heads={heads}, {self.key}.relations={relations}: 1 part or more, and pairs such as "
                "[[query,key],[value,value]]"
            )
        for part in (part for pair in relations for part in pair):
            validate_choice(f"{self.key}.relations", part, tuple(PARTS))
        self.heads, self.relations = heads, [(PARTS[one], PARTS[other]) for one, other in relations]
        self.numbers = student_layer, teacher_layer

    def prepare(self, student: nn.Module, teacher: nn.Module, setting: Setting) -> None:
        for role, network, number in zip(("student", "teacher"), (student, teacher), self.numbers, strict=True):
            layers = encoder_layers(network, self.key)
            if not -len(layers) <= number < len(layers):
                raise UserError(f"{self.key}.{role}_layer={number}: the {role} has {len(layers)}, counted from 0")
            if (width := width_of(network, layers[number])) % self.heads:
                raise UserError(f"{self.key}.heads={self.heads}: not a divisor of the {role}'s width, {width}")

    def read(self, student: list[EncoderLayer], teacher: list[EncoderLayer]) -> list[tuple[str, str]]:
        own, given = student[self.numbers[0]], teacher[self.numbers[1]]
        return list(zip(own.projections, given.projections, strict=True))

    def apart(self, pairs: Sequence[tuple[Tensor, Tensor]], mask: Tensor) -> Tensor:
        with torch.autocast(mask.device.type, enabled=False):
            both = [[part.float() for part in side] for side in zip(*pairs, strict=True)]
            found = [
                [log_relations(side[one], side[other], self.heads, mask) for one, other in self.relations]
                for side in both
            ]
            return torch.stack([relation_loss(own, given, mask) for own, given in zip(*found, strict=True)]).sum()
