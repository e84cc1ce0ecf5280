"""What a student learns from a layer of its teacher: the base of such objectives, and catching what layers give."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lcomp.errors import UserError, suggestion
from lcomp.techniques.distillation.weighted import Setting, Shown, WeightedObjective

INPUT = ":input"  # behind a layer's name: what it reads, instead of what it gives


class FeatureObjective(WeightedObjective):
    """A loss between what one layer of the student and one of the teacher give, with a weight in the whole.

    A subclass says in `forward` how far two features (N, C, H, W) are apart, as a mean that does not grow with their
    size; one that learns something makes it in `build`. The output of a linear layer is a map of 1 x 1. A layer that a
    network calls several times gives what it gave last.

    Args:
        weight: of the loss in the sum of objectives, 0 or more.
        student_layer, teacher_layer: names of layers, as `named_modules` has them, with `:input` behind for what the
            layer reads; None: the last convolution, or, where `penultimate`, what the last linear layer reads.
        until: the share of training, above 0 to 1, after which the objective is off.

    Raises:
        UserError: a weight below 0, or `until` outside its range.
    """

    reads_features = True
    penultimate = False

    def __init__(
        self,
        weight: float = 1.0,
        student_layer: str | None = None,
        teacher_layer: str | None = None,
        until: float = 1.0,
    ):
        super().__init__(weight, until)
        self.layers = (student_layer, teacher_layer)

    def prepare(self, student: nn.Module, teacher: nn.Module, setting: Setting) -> None:
        """Finds the layers, and makes what is learned, from what the two give for one example."""
        names = [
            layer_name(network, name, f"{self.key}.{role}_layer", self.penultimate)
            for network, name, role in zip((student, teacher), self.layers, ("student", "teacher"), strict=True)
        ]
        self.student_layer, self.teacher_layer = names
        shapes = [
            feature_shape(network, name, setting, f"{self.key}.{role}_layer")
            for network, name, role in zip((student, teacher), names, ("student", "teacher"), strict=True)
        ]
        self.build(*shapes)

    def build(self, student: torch.Size, teacher: torch.Size) -> None:
        """Makes what is learned, from the shapes (1, C, H, W) of the features."""

    def sources(self, student: nn.Module, teacher: nn.Module) -> tuple[Sequence[str], Sequence[str]]:
        return [self.student_layer], [self.teacher_layer]

    def value(self, shown: Shown) -> Tensor:
        apart: Tensor = self(*self.features(shown))
        return apart

    def features(self, shown: Shown) -> tuple[Tensor, Tensor]:
        """Of student and teacher, each (N, C, H, W)."""
        return as_maps(shown.student[self.student_layer]), as_maps(shown.teacher[self.teacher_layer])


def layer_name(network: nn.Module, name: str | None, key: str, penultimate: bool = False) -> str:
    """The name of a layer of `network`: `name`, or that of the last convolution; where `penultimate`, that of the last
    linear layer, with `:input` behind.

    Raises:
        UserError: there is no such layer.
    """
    kind, names = (
        type(network).__name__,
        [
            candidate
            for candidate, _ in network.named_modules()
            if candidate and ".parametrizations" not in f".{candidate}"
        ],
    )
    if name is None:
        wanted = nn.Linear if penultimate else nn.Conv2d
        found = [candidate for candidate in names if isinstance(network.get_submodule(candidate), wanted)]
        if not found:
            raise UserError(f"{key}=null: {kind} has no {wanted.__name__}; the layers are {', '.join(names)}")
        name = found[-1] + (INPUT if penultimate else "")
    if (layer := str(name).removesuffix(INPUT)) not in names:
        raise UserError(f"{key}={name}: no layer of {kind}; they are {', '.join(names)}{suggestion(layer, names)}")
    return name


@contextmanager
def capture_outputs(network: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """While it lasts, every forward pass of `network` leaves the outputs of the layers of those names in the
    dictionary, and what `linear:input` reads first; then no hook is left."""
    outputs: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        if name.endswith(INPUT):
            return lambda layer, inputs, output: outputs.update({name: inputs[0]})
        return lambda layer, inputs, output: outputs.update({name: output})

    handles = [
        network.get_submodule(name.removesuffix(INPUT)).register_forward_hook(keep(name))
        for name in dict.fromkeys(names)
    ]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def in_evaluation(network: nn.Module) -> Iterator[None]:
    """While it lasts, the network is asked, not taught: no gradients, nothing drawn; then it is as it was."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    with torch.no_grad():
        yield
    for module, mode in modes.items():
        module.training = mode


def feature_shape(network: nn.Module, name: str, setting: Setting, key: str) -> torch.Size:
    """The shape (1, C, H, W) of what that layer gives for one example; leaves the network as it was.

    Raises:
        UserError: the layer is not called, or gives something else than one map or vector an example.
    """
    with in_evaluation(network), capture_outputs(network, [name]) as outputs:
        network(*setting.arguments(network))
    output = outputs.get(name)
    if not isinstance(output, Tensor) or output.dim() not in (2, 4):
        actual = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise UserError(f"{key}={name}: gives {actual} for an example; name a layer that gives (1, C, H, W) or (1, C)")
    return as_maps(output).shape


def as_maps(features: Tensor) -> Tensor:
    """(N, C, H, W) as it is, and (N, C) as maps of 1 x 1."""
    return features[:, :, None, None] if features.dim() == 2 else features


def same_size(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Both (N, C, H, W) with the smaller height and the smaller width of the two, by adaptive average pooling."""
    size = min(student.shape[2], teacher.shape[2]), min(student.shape[3], teacher.shape[3])
    return F.adaptive_avg_pool2d(student, size), F.adaptive_avg_pool2d(teacher, size)
