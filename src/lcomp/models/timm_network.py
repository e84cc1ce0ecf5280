"""Networks of timm's, by their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from lcomp.errors import UserError, needing, suggestion
from lcomp.models.blocks import COLOUR_MEAN, COLOUR_STD, normalization


class TimmNetwork(nn.Module):
    """A network of timm's (pip install 'lcomp[timm]') behind a normalization.

    Args:
        name: such as `mobilenetv3_small_100`; `timm.list_models()` has all.
        settings: further arguments of timm's, such as {img_size: 32, patch_size: 4} or {drop_rate: 0.1}.
        num_classes: logits.
        input_shape: (channels, height, width) of an example.
        mean, std: of the training inputs, for the normalization, a number or one for each channel.

    Raises:
        UserError: timm is not installed, or has no network of that name.
    """

    is_tried = True  # before it trains, as a user's own: it can be anything

    def __init__(
        self,
        name: str | None = None,
        settings: Mapping[str, Any] | None = None,
        num_classes: int = 10,
        input_shape: Sequence[int] = (3, 32, 32),
        mean: float | Sequence[float] = COLOUR_MEAN,
        std: float | Sequence[float] = COLOUR_STD,
    ):
        super().__init__()
        with needing("timm", "model=timm"):
            import timm
        if name is None or not timm.is_model(name):
            near = suggestion(str(name), timm.list_models())
            raise UserError(f"model.name={name}: give the name of a network of timm {timm.__version__}{near}")
        self.normalize = normalization(input_shape, mean, std)
        self.network = timm.create_model(name, num_classes=num_classes, in_chans=input_shape[0], **settings or {})

    def forward(self, x: Tensor) -> Tensor:
        """Inputs (N, C, H, W) in [0, 1] to logits (N, num_classes)."""
        logits: Tensor = self.network(self.normalize(x))
        return logits
