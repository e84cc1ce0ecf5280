"""Which tokens each head of an encoder looks at, learned from a teacher's heads (TinyBERT; Jiao et al. 2020)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lcomp.errors import UserError
from lcomp.techniques.distillation.encoders import EncoderLayer, encoder_layers, pairs, teaching_layer
from lcomp.techniques.distillation.token_objective import TokenObjective
from lcomp.techniques.distillation.weighted import Setting


def attention_map_loss(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Mean squared difference of scores before the softmax (eq. 7), over heads and pairs of tokens that are there.

    Args:
        student, teacher: (N, heads, L, L); mask: (N, L).
    """
    there = pairs(mask).expand_as(student)
    return (student - teacher)[there].square().mean()


class AttentionMaps(TokenObjective):
    """The sum over the student's layers of how far their heads' scores are from those of the teacher's layer (Jiao
    et al. 2020, eq. 7); layer m of M learns from the teacher's ceil(m N / M), head by head.

    Args:
        weight, until: see `TokenObjective`.

    Raises:
        UserError: in `prepare`: other numbers of heads, or layers without an nn.Softmax of (N, heads, L, L).
    """

    key = "kd.objectives.attention_maps"

    def prepare(self, student: nn.Module, teacher: nn.Module, setting: Setting) -> None:
        heads = []
        for role, network in (("student", student), ("teacher", teacher)):
            layers = encoder_layers(network, self.key)
            if any(layer.scores is None for layer in layers):
                raise UserError(
                    f"{self.key}: the {role}'s layers of attention have no nn.Softmax whose scores could be read; "
                    "kd/objectives=[attention_relations] needs none"
                )
            heads.append({self.heads(network, layer, setting) for layer in layers})
        if len(heads[0] | heads[1]) != 1:
            own, given = ("/".join(map(str, sorted(some))) for some in heads)
            raise UserError(
                f"{self.key}: heads learn from heads; the student has {own} in a layer, the teacher {given}: give both "
                "as many (model.heads), or kd/objectives=[attention_relations]"
            )

    def heads(self, network: nn.Module, layer: EncoderLayer, setting: Setting) -> int:
        assert layer.scores is not None
        [seen] = self.shapes(network, [layer.scores], setting)
        return seen[1]

    def read(self, student: list[EncoderLayer], teacher: list[EncoderLayer]) -> list[tuple[str, str]]:
        count = len(student), len(teacher)
        return [
            (str(layer.scores), str(teacher[teaching_layer(number, *count) - 1].scores))
            for number, layer in enumerate(student, 1)
        ]

    def forward(self, student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
        with torch.autocast(student.device.type, enabled=False):
            return attention_map_loss(student.float(), teacher.float(), mask)
