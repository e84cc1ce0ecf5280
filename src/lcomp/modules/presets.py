"""One technique, preset, for use in a bare Trainer."""

from __future__ import annotations

from typing import Any

from torch import nn

from lcomp.modules.baseline import BaselineModule
from lcomp.techniques.pruning import Pruning
from lcomp.techniques.quantization import QuantizationAwareTraining


class PruningModule(BaselineModule):
    """Trains `network` while scheduled pruning takes its weights to `sparsity`; arguments as in `Pruning`."""

    def __init__(self, network: nn.Module, sparsity: float = 0.8, learning_rate: float = 1e-3, **pruning: Any):
        super().__init__(network, [Pruning(sparsity, **pruning)], learning_rate)


class QATModule(BaselineModule):
    """Trains `network` with weights and activations rounded to `bits`; arguments as in `QuantizationAwareTraining`."""

    def __init__(self, network: nn.Module, bits: int = 8, learning_rate: float = 1e-3, **quantization: Any):
        super().__init__(network, [QuantizationAwareTraining(bits, **quantization)], learning_rate)
