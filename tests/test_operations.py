"""What the operations that AugMix mixes do to pixels; test_perturbations says that they are seeded and harmful."""

import math

import pytest
import torch
import torch.nn.functional as F

from lcomp.data import operations as o
from lcomp.data.mnist_c import CORRUPTIONS
from lcomp.data.perturbations import PERTURBATIONS, perturb, seeded_generator

SEVERITIES = range(1, 6)


@pytest.fixture(scope="module")
def hundred(digits):
    return digits.test.images[:100].float() / 255


def apply(name, images, severity, seed=0):
    return perturb(images, {name: severity}, seed)


def squares(changed, side):
    """Whether each of `changed` (N, H, W) is a full rectangle, square unless it goes on outside the image."""
    rows, columns = changed.any(2), changed.any(1)
    full = (changed == rows[:, :, None] & columns[:, None]).all()
    sides = torch.stack([rows.sum(1), columns.sum(1)], 1)
    touches = torch.stack([rows[:, 0] | rows[:, -1], columns[:, 0] | columns[:, -1]], 1)
    return full and ((sides == side) | (touches & (sides < side))).all()


def test_the_field_of_elastic_has_its_size_and_no_affine_part():
    seen = o.field(50, 28, 20, seeded_generator(0))
    assert torch.allclose(seen.square().mean((2, 3)), torch.ones(50, 2), atol=1e-4)
    y, x = torch.arange(28.0)[:, None], torch.arange(20.0)
    for part in (torch.ones(28, 20), x.expand(28, 20), y.expand(28, 20)):
        assert ((seen * part).mean((2, 3)) / part.norm() < 1e-4).all()
    steps = (
        (seen[:, :, 1:] - seen[:, :, :-1]).square().mean()
    )  # of noise under a Gaussian 1 / (2 std^2); of white noise 2
    assert 1 / 32 < steps < 3 / 32


@pytest.mark.parametrize("severity", SEVERITIES)
def test_elastic_moves_pixels_by_its_field(severity):
    slope = torch.arange(28.0) / 28
    images = torch.stack([slope.expand(28, 28), slope[:, None].expand(28, 28)]).repeat(20, 1, 1, 1)
    moved = 28 * (apply("elastic", images, severity) - images)
    expected = o.ELASTIC_PIXELS[severity - 1] * o.field(20, 28, 28, seeded_generator(0))
    inside = images + expected / 28
    inside = ((inside > 0) & (inside < 27 / 28)).all(1, keepdim=True).expand_as(images)
    assert inside.float().mean() > 0.7 and torch.allclose(moved[inside], expected[inside], atol=1e-3)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_thickness_dilates_or_erodes(hundred, severity):
    seen, share = apply("thickness", hundred, severity), o.THICKNESS_SHARE[severity - 1]
    high, low = F.max_pool2d(hundred, 3, 1, 1), -F.max_pool2d(-hundred, 3, 1, 1)
    thicker, thinner = hundred + share * (high - hundred), hundred + share * (low - hundred)
    up = torch.isclose(seen, thicker, atol=1e-5).all(3).all(2)
    assert (up | torch.isclose(seen, thinner, atol=1e-5).all(3).all(2)).all()
    assert 30 < up.sum() < 70


def test_random_convolution_mixes_in_its_share_of_a_stretched_convolution():
    point = torch.zeros(20, 1, 28, 28)
    point[:, :, 10, 10] = 1
    whole = apply("random_convolution", point, 5)
    assert torch.allclose(whole.amin((1, 2, 3)), torch.zeros(20)) and torch.allclose(
        whole.amax((1, 2, 3)), torch.ones(20)
    )
    background = whole[:, :, :1, :1]
    outside = torch.ones(28, 28, dtype=torch.bool)
    outside[9:12, 9:12] = False
    assert torch.equal(whole == background, outside.expand_as(whole))
    assert background.unique().numel() > 15  # of each image a kernel of its own
    for severity, share in zip(SEVERITIES, o.CONVOLUTION_SHARE, strict=True):
        expected = point + share * (whole - point)
        assert torch.allclose(apply("random_convolution", point, severity), expected, atol=1e-6)


@pytest.mark.parametrize("severity", [1, 2, 3])  # the higher ones are clipped
def test_wave_is_a_plane_wave_of_its_height_and_length(severity):
    f = (apply("wave", torch.full((200, 1, 28, 28), 0.5), severity) - 0.5)[:, 0].double()
    assert f.abs().max() == pytest.approx(o.WAVE_HEIGHT[severity - 1], rel=1e-3)
    squared = torch.zeros(200, dtype=torch.double)
    inside = f[:, 1:-1, 1:-1]
    for sum_of_both in (f[:, 1:-1, 2:] + f[:, 1:-1, :-2], f[:, 2:, 1:-1] + f[:, :-2, 1:-1]):
        cosine = (
            (inside * sum_of_both).sum((1, 2)) / inside.square().sum((1, 2)) / 2
        )  # of the phase from pixel to pixel
        assert torch.allclose(sum_of_both, 2 * cosine[:, None, None] * inside, atol=1e-4)
        squared += cosine.clamp(-1, 1).acos() ** 2
    cycles = 28 * squared.sqrt() / (2 * math.pi)
    low, high = o.WAVE_CYCLES
    assert low - 0.1 < cycles.min() < low + 0.5 and high - 0.5 < cycles.max() < high + 0.1


@pytest.mark.parametrize("severity", SEVERITIES)
def test_erasing_paints_a_square_in_one_grey(severity):
    seen = apply("erasing", torch.zeros(300, 1, 28, 28), severity)[:, 0]
    assert squares(seen > 0, round(28 * o.PATCH_SHARE[severity - 1]))
    greys = seen.amax((1, 2))
    assert ((seen == 0) | (seen == greys[:, None, None])).all()
    assert greys.mean() == pytest.approx(0.5, abs=0.06) and greys.std() == pytest.approx(math.sqrt(1 / 12), abs=0.04)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_clutter_adds_another_images_strokes_inside_a_square(severity):
    greys = torch.linspace(0, 1, 300)[torch.randperm(300, generator=seeded_generator(1))]
    images = greys.view(-1, 1, 1, 1).expand(300, 1, 28, 28)
    seen = apply("clutter", images, severity)
    assert (seen >= images).all() and torch.isin(seen, greys).all()
    brighter = seen.amax((1, 2, 3)) > greys
    assert squares((seen > images)[brighter, 0], round(28 * o.PATCH_SHARE[severity - 1]))
    assert 100 < brighter.sum() < 200  # of two greys the higher shows


def test_clutter_changes_an_image_that_meets_itself():
    image = torch.rand(1, 1, 10, 10, generator=seeded_generator(1))
    assert all(not torch.equal(apply("clutter", image, 5, seed), image) for seed in range(500))


def test_none_of_them_is_one_of_mnist_cs():
    ours = [name for name, function in PERTURBATIONS.items() if function.__module__ == o.__name__]
    assert len(ours) == 6 and not set(ours) & set(CORRUPTIONS)
