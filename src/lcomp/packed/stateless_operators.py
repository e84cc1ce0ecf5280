"""Operators of an artifact that their settings alone make a step of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import nn

from lcomp.errors import UserError
from lcomp.packed.layer_codec import Pair, as_pair
from lcomp.packed.operations import as_typed

Settings = dict[str, Any]  # of a node


def symmetric_padding(settings: Settings) -> Pair:
    """The padding on both sides, where they are alike."""
    pads = settings.get("pads", [0, 0, 0, 0])
    if pads[:2] != pads[2:] or settings.get("auto_pad", b"NOTSET") != b"NOTSET":
        raise UserError(f"a padding of {pads}, {settings.get('auto_pad')}, which is not the same on both sides")
    return as_pair(pads[:2])


def pool(kind: Callable[..., nn.Module], settings: Settings) -> nn.Module:
    if any(dilation != 1 for dilation in settings.get("dilations", [])):
        raise UserError("a pooling with dilation")
    stride, kernel = settings.get("strides", [1, 1]), settings["kernel_shape"]
    given = {"count_include_pad": bool(settings.get("count_include_pad", 0))} if kind is nn.AvgPool2d else {}
    return kind(
        as_pair(kernel),
        as_pair(stride),
        symmetric_padding(settings),
        ceil_mode=bool(settings.get("ceil_mode", 0)),
        **given,
    )


def hard_sigmoid(settings: Settings) -> nn.Module:
    if not np.allclose([settings.get("alpha", 0.2), settings.get("beta", 0.5)], [1 / 6, 0.5]):
        raise UserError(f"a hard sigmoid of settings {settings}")
    return nn.Hardsigmoid()


STATELESS: dict[str, Callable[[Settings], nn.Module]] = {
    "Relu": lambda settings: nn.ReLU(),
    "AveragePool": lambda settings: pool(nn.AvgPool2d, settings),
    "HardSwish": lambda settings: nn.Hardswish(),
    "HardSigmoid": hard_sigmoid,
    "Sigmoid": lambda settings: nn.Sigmoid(),
    "Tanh": lambda settings: nn.Tanh(),
    "LeakyRelu": lambda settings: nn.LeakyReLU(as_typed(settings.get("alpha", 0.01))),
    "Elu": lambda settings: nn.ELU(as_typed(settings.get("alpha", 1.0))),
    "Gelu": lambda settings: nn.GELU(settings.get("approximate", b"none").decode()),
}
