"""One technique, preset, for use in a bare Trainer."""

from __future__ import annotations

from typing import Unpack

from torch import nn

from lcomp.modules.baseline import BaselineModule
from lcomp.techniques.pruning import Pruning
from lcomp.techniques.pruning.settings import PruningSettings
from lcomp.techniques.quantization import QuantizationAwareTraining
from lcomp.techniques.quantization.qat import QATSettings


class PruningModule(BaselineModule):
    """Trains `network` while scheduled pruning takes its weights to `sparsity`; arguments as in `Pruning`."""

    def __init__(
        self, network: nn.Module, sparsity: float = 0.8, learning_rate: float = 1e-3, **pruning: Unpack[PruningSettings]
    ):
        super().__init__(network, [Pruning(sparsity, **pruning)], learning_rate)


class QATModule(BaselineModule):
    """Trains `network` with weights and activations rounded to `bits`; arguments as in `QuantizationAwareTraining`."""

    def __init__(
        self, network: nn.Module, bits: int = 8, learning_rate: float = 1e-3, **quantization: Unpack[QATSettings]
    ):
        super().__init__(network, [QuantizationAwareTraining(bits, **quantization)], learning_rate)
