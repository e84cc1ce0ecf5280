"""What changes training images: perturbations, and choices that draw among them for each image."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import Generator, Tensor

from lcomp.build import build
from lcomp.data.perturbations import PERTURBATIONS, Perturbation, find
from lcomp.errors import UserError, one_of

Change = Callable[[Tensor, Generator], Tensor]  # float32 (N, C, H, W) in [0, 1] -> same
DRAWN = {"augmix": "lcomp.data.augmix.AugMix", "leave_one_out": "lcomp.data.leave_one_out.LeaveOneOut"}


def make(perturb: Mapping[str, Mapping[str, Any]]) -> list[Change]:
    """The changes that `perturb` names, in the order of `PERTURBATIONS` and `DRAWN`, whatever its own.

    Args:
        perturb: name to settings: `{"rotation": {"severity": 3}, "augmix": {"width": 2}}`.

    Raises:
        UserError: an unknown name or setting, or a value outside its range.
    """
    names = [*PERTURBATIONS, *DRAWN]
    for name in perturb:
        one_of("perturb", name, names)
    return [make_one(name, perturb[name]) for name in names if name in perturb]


def make_one(name: str, settings: Mapping[str, Any]) -> Change:
    """The change of that name; without settings a perturbation has severity 3."""
    key = f"perturb.{name}"
    if name in DRAWN:
        made: Change = build({"_target_": DRAWN[name], **settings}, key)
        return made
    unknown = [setting for setting in settings if setting != "severity"]
    if unknown:
        raise UserError(f"{key}.{unknown[0]}: no such key; allowed is severity")
    severity = settings.get("severity", 3)
    return partial(at_severity, find(name, severity, f"{key}.severity"), severity)


def at_severity(perturbation: Perturbation, severity: int, images: Tensor, generator: Generator) -> Tensor:
    return perturbation(images, severity, generator)
