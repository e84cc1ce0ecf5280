"""What changes training images: perturbations, and choices that draw among them for each image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Protocol, runtime_checkable

import torch.nn.functional as F
from torch import Generator, Tensor

from lcomp.config.instantiation import build
from lcomp.data.perturbations import PERTURBATIONS, Perturbation, Setting, find_perturbation
from lcomp.errors import UserError, validate_choice


@runtime_checkable
class LabelAugmentation(Protocol):
    """A change of images (N, C, H, W) and of their labels, given and returned as shares of classes (N, classes)."""

    changes_labels: bool

    def __call__(self, images: Tensor, labels: Tensor, generator: Generator, /) -> tuple[Tensor, Tensor]: ...


ImageAugmentation = Callable[[Tensor, Generator], Tensor]  # float32 (N, C, H, W) in [0, 1] -> same
Augmentation = ImageAugmentation | LabelAugmentation
Settings = Mapping[str, Setting]
RANDOM_AUGMENTATIONS = {  # in the order in which they act
    "crop": "lcomp.data.crops.Crop",
    "flip": "lcomp.data.crops.Flip",
    "trivial_augment": "lcomp.data.trivial_augment.TrivialAugment",
    "augmix": "lcomp.data.augmix.AugMix",
    "leave_one_out": "lcomp.data.leave_one_out.LeaveOneOut",
    "cutout": "lcomp.data.crops.Cutout",
    "mixup": "lcomp.data.mixup.Mixup",
}


def make_augmentations(perturb: Mapping[str, Settings | Augmentation] | Augmentation) -> list[Augmentation]:
    """The changes that `perturb` names, in the order of `PERTURBATIONS` and `RANDOM_AUGMENTATIONS`, whatever its own;
    then the user's.

    Args:
        perturb: name to settings: `{"rotation": {"severity": 3}, "augmix": {"width": 2}}`; a user's own change
            is what a YAML's `_target_` made, under any name or none: `{"invert": Invert()}`.

    Raises:
        UserError: an unknown name or setting, a value outside its range, or something that is no change.
    """
    if callable(perturb):
        return [perturb]
    if not isinstance(perturb, Mapping):
        raise UserError(f"perturb={perturb}: must be names with their settings, such as {{rotation: {{severity: 3}}}}")
    names, custom = [*PERTURBATIONS, *RANDOM_AUGMENTATIONS], [change for change in perturb.values() if callable(change)]
    known = {name: settings for name, settings in perturb.items() if not callable(settings)}
    for name, settings in known.items():
        validate_choice("perturb", name, names)
        if not isinstance(settings, Mapping):
            raise UserError(f"perturb.{name}={settings}: must be its settings, such as {{severity: 3}}")
    return [make_augmentation(name, known[name]) for name in names if name in known] + custom


def make_augmentation(name: str, settings: Settings) -> Augmentation:
    """The change of that name; without settings a perturbation has severity 3."""
    key = f"perturb.{name}"
    if name in RANDOM_AUGMENTATIONS:
        augmentation: Augmentation = build({"_target_": RANDOM_AUGMENTATIONS[name], **settings}, key)
        return augmentation
    unknown = [setting for setting in settings if setting != "severity"]
    if unknown:
        raise UserError(f"{key}.{unknown[0]}: no such key; allowed is severity")
    severity = settings.get("severity", 3)
    perturbation = find_perturbation(name, severity, f"{key}.severity")
    assert isinstance(severity, int)
    return partial(at_severity, perturbation, severity)


def at_severity(perturbation: Perturbation, severity: int, images: Tensor, generator: Generator) -> Tensor:
    return perturbation(images, severity, generator)


def change_batch(
    images: Tensor, labels: Tensor, changes: Sequence[Augmentation], classes: int, generator: Generator
) -> tuple[Tensor, Tensor]:
    """`images` (N, C, H, W) after `changes`, with `labels` (N,), or (N, classes) where one mixes them."""
    for change in changes:
        if isinstance(change, LabelAugmentation):
            shares = labels if labels.dim() == 2 else F.one_hot(labels, classes).float()
            images, labels = change(images, shares, generator)
        else:
            images = change(images, generator)
    return images, labels
