"""The corruptions of CIFAR-10-C: what each does by its definition, and runs that are measured under them."""

import io
import itertools
import math

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from lcomp.config.composition import compose
from lcomp.config.run_spec import parse
from lcomp.data import cifar10_c
from lcomp.data.cifar10_c import CORRUPTIONS
from lcomp.data.corrupted_images import CIFAR10_C
from lcomp.data.perturbations import seeded_generator
from lcomp.errors import UserError
from lcomp.evaluation import corruptions
from lcomp.evaluation.cifar10_c import CIFAR10C
from lcomp.tasks import ImageClassification

SEVERITIES = range(1, 6)
UNEVEN = {"glass_blur", "motion_blur", "elastic_transform", "pixelate"}  # its severities differ in two ways, or by luck
WITHOUT_CHANCE = {"defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression"}


@pytest.fixture(scope="module")
def photographs():
    """Smooth coloured images with edges, 32 x 32."""
    random = np.random.default_rng(0)
    drawn = ndimage.gaussian_filter(random.random((20, 3, 32, 32)), (0, 0, 3, 3))
    drawn = (drawn - drawn.min()) / (drawn.max() - drawn.min())
    drawn[:, :, 8:20, 10:24] *= 0.4
    return torch.from_numpy(drawn).float()


def corrupt(images, name, severity, seed=0):
    return CIFAR10_C.corrupt(images, name, severity, seed)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_pure_seeded_in_range_and_worse_with_severity(name, photographs):
    before = photographs.clone()
    distances = []
    for severity in SEVERITIES:
        seen = corrupt(photographs, name, severity)
        assert torch.equal(photographs, before) and seen.shape == before.shape and seen.dtype == torch.float32
        assert seen.min() >= 0 and seen.max() <= 1 and torch.equal(seen, corrupt(photographs, name, severity))
        assert torch.equal(seen, corrupt(photographs, name, severity, 1)) == (name in WITHOUT_CHANCE)
        distances.append(float((seen - before).abs().mean()))
    rising = [one < other for one, other in itertools.pairwise(distances)]
    assert distances[0] > 0.001 and (all(rising) or name in UNEVEN), distances
    assert distances[-1] > distances[0] or name == "elastic_transform"


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_grey_and_other_sizes_work_too(name):
    for shape in ((3, 1, 28, 28), (2, 3, 40, 33)):
        images = torch.rand(shape, generator=seeded_generator(0))
        seen = corrupt(images, name, 4)
        assert seen.shape == shape and seen.isfinite().all() and not torch.equal(seen, images)


def test_noise_has_the_published_spread():
    grey = torch.full((200, 3, 32, 32), 0.5)
    assert corrupt(grey, "gaussian_noise", 3).std() == pytest.approx(0.08, rel=0.01)
    assert corrupt(grey, "shot_noise", 3).std() == pytest.approx(math.sqrt(0.5 / 100), rel=0.02)
    assert (corrupt(grey, "impulse_noise", 5) != 0.5).float().mean() == pytest.approx(0.07, rel=0.03)


def test_defocus_is_a_smoothed_disk():
    point = torch.zeros(1, 1, 9, 9)
    point[..., 4, 4] = 1
    line = np.exp(-(np.arange(-1, 2) ** 2) / 2 / 0.1**2)
    line /= line.sum()
    disk = np.zeros((5, 5))
    disk[1:4, 1:4] = 1 / 9  # within 1.5 pixels
    expected = ndimage.convolve(disk, np.outer(line, line), mode="constant")
    assert np.allclose(corrupt(point, "defocus_blur", 5)[0, 0, 2:7, 2:7], expected, atol=1e-6)
    assert corrupt(point, "defocus_blur", 1)[0, 0, 4, 4] == pytest.approx(1 / (1 + 2 * math.exp(-1 / 0.32)) ** 2)


def test_zoom_is_scipys(photographs):
    image = photographs[0].numpy().transpose(1, 2, 0)
    total, factors = image.copy(), np.arange(1, 1.16, 0.01)
    for factor in factors:
        side = math.ceil(32 / factor)
        top = (32 - side) // 2
        larger = ndimage.zoom(image[top : top + side, top : top + side], (factor, factor, 1), order=1)
        trim = (larger.shape[0] - 32) // 2
        total += larger[trim : trim + 32, trim : trim + 32]
    seen = corrupt(photographs[:1], "zoom_blur", 3)[0].numpy().transpose(1, 2, 0)
    assert np.allclose(seen, total / (len(factors) + 1), atol=1e-5)


def test_brightness_is_of_value_and_contrast_of_each_channel(photographs):
    colour = torch.tensor([0.2, 0.4, 0.1]).view(1, 3, 1, 1)
    assert corrupt(colour, "brightness", 4).flatten().tolist() == pytest.approx([0.3, 0.6, 0.15], abs=1e-6)
    assert corrupt(torch.zeros(1, 3, 1, 1), "brightness", 4).flatten().tolist() == pytest.approx([0.2] * 3)
    seen = corrupt(photographs, "contrast", 2)
    assert torch.allclose(seen.mean((2, 3)), photographs.mean((2, 3)), atol=1e-5)
    assert torch.allclose(seen.std((2, 3)), photographs.std((2, 3)) / 2, atol=1e-5)


def test_pixelate_and_jpeg_are_pillows(photographs):
    picture = Image.fromarray((photographs[0] * 255).round().byte().permute(1, 2, 0).numpy())
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=58)
    small = picture.resize((24, 24), Image.Resampling.BOX).resize((32, 32), Image.Resampling.BOX)
    for name, severity, expected in (("jpeg_compression", 3, Image.open(stream)), ("pixelate", 4, small)):
        seen = (corrupt(photographs[:1], name, severity)[0] * 255).round().byte().permute(1, 2, 0)
        assert (seen.numpy() == np.asarray(expected)).all()


def test_an_elastic_image_keeps_its_colours_and_moves_by_little():
    ramp = (torch.arange(32) / 31).expand(200, 1, 32, 32)
    seen = cifar10_c.elastic_transform(ramp, 1, seeded_generator(0))
    moved = 31 * (seen - ramp)[:, 0, 8:24, 8:24].abs()  # columns; three corners move by 2.56 pixels at most
    assert 0.5 < moved.mean() < 3 and moved.max() < 12
    shaken = cifar10_c.elastic_transform(ramp, 5, seeded_generator(0))[:, 0, 12:20, 12:20]
    assert shaken.diff(dim=1).abs().mean() > 3 * seen[:, 0, 12:20, 12:20].diff(dim=1).abs().mean()


def test_fog_has_the_brightness_of_its_image_and_clouds_of_its_own(photographs):
    seen = corrupt(photographs * 0.5, "fog", 5)
    assert seen.max() <= 0.5 and seen.std() < (photographs * 0.5).std()
    clouds = corrupt(torch.full((2, 3, 32, 32), 0.5), "fog", 3)
    assert torch.equal(clouds[:, 0], clouds[:, 2]) and not torch.equal(clouds[0], clouds[1])


def test_it_is_a_choice_for_images_in_colour_or_grey_and_refused_for_others():
    spec = parse(compose(["robustness=cifar10_c"]))
    digits = type("Data", (), {"task": ImageClassification(), "mnist_c_root": None})()
    made = corruptions.make_robustness(spec.robustness, digits)
    assert isinstance(made, CIFAR10C) and made.name == "cifar10_c" and len(made.corruptions.functions) == 13
    made.check((3, 32, 32))
    for shape in ((2, 32, 32), (784,), (3, 1, 1)):
        with pytest.raises(UserError, match=r"robustness=cifar10_c: .* shape \(.*robustness=none"):
            made.check(shape)
