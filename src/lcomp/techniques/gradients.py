"""What techniques read of gradients before an optimizer step, whatever the precision."""

from __future__ import annotations

import pytorch_lightning as pl
import torch
from torch import Tensor

from lcomp.techniques.parametrizations import original_weight
from lcomp.techniques.technique import Layer


def gradient(layer: Layer, trainer: pl.Trainer, optimizer: object) -> Tensor | None:
    """The gradient of the layer's weight before an optimizer step; None where there is none, or it has overflowed."""
    scaled, scaler = original_weight(layer).grad, scaler_of(trainer)
    if scaled is None or scaler is None:
        return scaled
    return scaled / gradient_scale(trainer, optimizer) if scaled.isfinite().all() else None


def gradient_scale(trainer: pl.Trainer, optimizer: object) -> float:
    """What gradients are still multiplied by before an optimizer step: with precision=16-mixed, an optimizer that is
    fused divides by it itself."""
    scaler = scaler_of(trainer)
    return float(scaler.get_scale()) if scaler and getattr(optimizer, "_step_supports_amp_scaling", False) else 1.0


def scaler_of(trainer: pl.Trainer) -> torch.amp.GradScaler | None:
    return getattr(getattr(trainer, "precision_plugin", None), "scaler", None)
