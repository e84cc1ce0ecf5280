"""What a student learns from the layers of an encoder: the base of such objectives."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lcomp.techniques.distillation.encoders import EncoderLayer, encoder_layers
from lcomp.techniques.distillation.features import capture_outputs, in_evaluation
from lcomp.techniques.distillation.weighted import Setting, Shown, WeightedObjective


class TokenObjective(WeightedObjective):
    """A loss between what layers of the student and of the teacher say of tokens, with a weight in the whole.

    A subclass names in `read` what is held against what, and says in `forward` how far two are apart; the sum counts.

    Args:
        weight: of the loss in the sum of objectives, 0 or more.
        until: the share of training, above 0 to 1, after which the objective is off.

    Raises:
        UserError: a weight below 0, or `until` outside its range; in `prepare` a network that is no encoder.
    """

    reads_features = True
    reads_tokens = True  # it teaches encoders alone

    def __init__(self, weight: float = 1.0, until: float = 1.0):
        super().__init__(weight, until)

    def read(self, student: list[EncoderLayer], teacher: list[EncoderLayer]) -> list[tuple[str, str]]:
        """What is held against what, by the names of `capture_outputs`, given the layers that both networks have."""
        raise NotImplementedError

    def sources(self, student: nn.Module, teacher: nn.Module) -> tuple[list[str], list[str]]:
        # Asked anew for each batch: another technique may take layers out after `prepare`.
        self.read_now = self.read(encoder_layers(student, self.key), encoder_layers(teacher, self.key))
        return [own for own, _ in self.read_now], [given for _, given in self.read_now]

    def value(self, shown: Shown) -> Tensor:
        pairs = [(whole(shown.student[own]), whole(shown.teacher[given])) for own, given in self.read_now]
        some = pairs[0][0]
        mask = torch.ones(some.shape[:2], device=some.device) if shown.mask is None else shown.mask
        return self.apart(pairs, mask)

    def apart(self, pairs: Sequence[tuple[Tensor, Tensor]], mask: Tensor) -> Tensor:
        """The loss, of what is held against what and the mask (N, L) of the tokens that are there."""
        return torch.stack([self(own, given, mask) for own, given in pairs]).sum()

    def shapes(self, network: nn.Module, names: Sequence[str], setting: Setting) -> list[torch.Size]:
        """Of what those layers give for one example; leaves the network as it was."""
        with in_evaluation(network), capture_outputs(network, names) as outputs:
            network(*setting.arguments(network))
        return [whole(outputs[name]).shape for name in names]


def whole(output: Tensor | tuple[Tensor, ...]) -> Tensor:
    """The first of what a layer gives."""
    return output if isinstance(output, Tensor) else output[0]
