"""MNIST-C (Mu and Gilmer 2019, arXiv:1906.02337): fifteen pure functions of (batch, severity, generator).

Batches are float32 (N, C, H, W) in [0, 1] and stay in that range. Severities 1 to 5 are those of the published code,
and `PUBLISHED` is its default for each, that of the published files. What each image draws depends on its place in the
batch; nothing else of the batch matters to it, but for `shot_noise`. Written anew: where the published code left the
work to a library, the docstring says how ours differs. The published files are rounded to 8 bits, our images are not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Generator, Tensor

from lcomp.data import perturbations
from lcomp.data.mnist_c.blur import glass_blur, motion_blur
from lcomp.data.mnist_c.drawing import canny_edges, dotted_line, stripe, zigzag
from lcomp.data.mnist_c.geometry import rotate, scale, shear, translate
from lcomp.data.mnist_c.noise import impulse_noise, shot_noise
from lcomp.data.mnist_c.weather import brightness, fog, spatter

Corruption = Callable[[Tensor, int, Generator], Tensor]

_PUBLISHED: Mapping[Corruption, int] = {
    shot_noise: 5,
    impulse_noise: 4,
    glass_blur: 1,
    motion_blur: 1,
    shear: 2,
    scale: 3,
    rotate: 2,
    brightness: 5,
    translate: 3,
    stripe: 3,
    fog: 5,
    spatter: 4,
    dotted_line: 3,
    zigzag: 3,
    canny_edges: 3,
}
CORRUPTIONS: Mapping[str, Corruption] = {function.__name__: function for function in _PUBLISHED}
PUBLISHED: Mapping[str, int] = {function.__name__: severity for function, severity in _PUBLISHED.items()}


def corrupt(images: Tensor, name: str, severity: int, *seeds: int) -> Tensor:
    """`images` (N, C, H, W) under the corruption `name`; `seeds` decide the draw, as in `perturbations.perturb`.

    Raises:
        UserError: an unknown name, or a severity that is not 1 to 5.
    """
    corruption = perturbations.find_perturbation(name, severity, "MNIST-C", CORRUPTIONS)
    return corruption(images, severity, perturbations.seeded_generator(*seeds))
