"""What layers of an encoder say of each token, learned from a teacher's (TinyBERT; Jiao et al. 2020)."""

from __future__ import annotations

from torch import Tensor, nn

from lcomp.techniques.distillation.encoders import EncoderLayer, encoder_layers, of_tokens, teaching_layer, width_of
from lcomp.techniques.distillation.features import INPUT
from lcomp.techniques.distillation.token_objective import TokenObjective
from lcomp.techniques.distillation.weighted import Setting


def hidden_loss(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Mean squared difference (eq. 8 and 9) over the numbers of all tokens that are there.

    Args:
        student, teacher: (N, L, D); mask: (N, L).
    """
    return (of_tokens(student, mask) - of_tokens(teacher, mask)).square().mean()


class HiddenStates(TokenObjective):
    """The sum over the student's layers, and what the first of them reads, of how far each token's numbers W h are from
    those of the teacher's layer (Jiao et al. 2020, eq. 8 and 9); layer m of M learns from the teacher's ceil(m N / M).

    W is one learned matrix for all of them, as in the authors' code; of equal widths there is none. Padding does not
    count, unlike there.

    Args:
        weight, until: see `TokenObjective`.
    """

    key = "kd.objectives.hidden_states"

    def prepare(self, student: nn.Module, teacher: nn.Module, setting: Setting) -> None:
        own, given = (width_of(network, encoder_layers(network, self.key)[0]) for network in (student, teacher))
        self.projection = nn.Identity() if own == given else nn.Linear(own, given, bias=False)

    def read(self, student: list[EncoderLayer], teacher: list[EncoderLayer]) -> list[tuple[str, str]]:
        count = len(student), len(teacher)
        taught = [
            (layer.name, teacher[teaching_layer(number, *count) - 1].name) for number, layer in enumerate(student, 1)
        ]
        return [(student[0].name + INPUT, teacher[0].name + INPUT), *taught]

    def forward(self, student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
        return hidden_loss(self.projection(student), teacher, mask)
