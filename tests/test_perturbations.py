"""Every perturbation's documented statistic, and what severity does to a trained network."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lcomp.data import MNISTDataModule
from lcomp.data import perturbations as p
from lcomp.data.perturbations import PERTURBATIONS, perturb
from lcomp.errors import UserError

SEVERITIES = range(1, 6)
GREY = torch.full((1000, 1, 28, 28), 0.5)


def close(seen, expected):
    return float(seen) == pytest.approx(expected, rel=0.02)


def apply(name, images, severity, seed=0):
    return perturb(images, {name: severity}, seed)


def blob(x=0.0, y=0.0, width=2.0, side=28):
    """A Gaussian blob at (x, y) pixels from the centre."""
    axis = torch.arange(side) - (side - 1) / 2
    return torch.exp(-((axis[:, None] - y) ** 2 + (axis[None] - x) ** 2) / (2 * width**2))[None, None]


def centre(image):
    """The centre of mass, in pixels from the image's centre: (x, y)."""
    axis = torch.arange(image.shape[-1]) - (image.shape[-1] - 1) / 2
    mass = image[0].sum()
    return float((image[0].sum(0) * axis).sum() / mass), float((image[0].sum(1) * axis).sum() / mass)


@pytest.mark.parametrize("name", PERTURBATIONS)
@given(severity=st.integers(1, 5), seed=st.integers(0, 2**32))
def test_pure_seeded_and_within_0_and_1(name, severity, seed):
    images = torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(seed))
    before = images.clone()
    seen = apply(name, images, severity, seed)
    assert torch.equal(images, before)
    assert torch.equal(seen, apply(name, images, severity, seed))
    assert seen.shape == images.shape and seen.min() >= 0 and seen.max() <= 1
    assert not torch.equal(seen, images)


@pytest.mark.parametrize(
    "name", ["gaussian_noise", "salt_and_pepper", "rotation", "translation", "affine", "occlusion"]
)
def test_another_seed_is_another_draw(name):
    images = torch.rand(20, 1, 28, 28)
    assert not torch.equal(apply(name, images, 3, 0), apply(name, images, 3, 1))


@pytest.mark.parametrize("severity", SEVERITIES)
def test_noise_has_its_standard_deviation(severity):
    seen = apply("gaussian_noise", GREY, severity)
    above, _ = seen.flatten().kthvalue(int(0.69146 * seen.numel()))  # half a deviation above the mean: never clipped
    assert close(above - 0.5, p.NOISE_STD[severity - 1] / 2)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_salt_and_pepper_change_their_share(severity):
    seen, share = apply("salt_and_pepper", GREY, severity), p.SALT_AND_PEPPER_SHARE[severity - 1]
    assert close((seen != 0.5).float().mean(), share)
    assert close((seen == 1).float().mean(), share / 2) and close((seen == 0).float().mean(), share / 2)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_blur_spreads_a_point_to_its_standard_deviation(severity):
    point = torch.zeros(1, 1, 41, 41)
    point[0, 0, 20, 20] = 1
    seen = apply("gaussian_blur", point, severity)[0, 0]
    axis = torch.arange(41) - 20.0
    assert close(seen.sum(), 1)
    for spread in (seen.sum(0), seen.sum(1)):
        assert close(math.sqrt((spread * axis**2).sum()), p.BLUR_STD[severity - 1])


@pytest.mark.parametrize("severity", SEVERITIES)
def test_rotation_turns_by_its_angle_both_ways(severity):
    seen = apply("rotation", blob(6, 0).repeat(50, 1, 1, 1), severity)
    angles = [math.degrees(math.atan2(*reversed(centre(image)))) for image in seen]
    assert all(close(abs(angle), p.ROTATION_DEGREES[severity - 1]) for angle in angles)
    assert min(angles) < 0 < max(angles)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_translation_moves_along_both_axes_each_way(severity):
    pixels = 28 * p.TRANSLATION_SHARE[severity - 1]
    moves = [centre(image) for image in apply("translation", blob().repeat(50, 1, 1, 1), severity)]
    assert all(close(abs(move), pixels) for both in moves for move in both)
    assert {(x > 0, y > 0) for x, y in moves} == {(False, False), (False, True), (True, False), (True, True)}


@pytest.mark.parametrize("severity", SEVERITIES)
def test_scale_shrinks_distances(severity):
    [seen] = apply("scale", blob(6, -6, 3.0, side=56), severity)
    factor = p.SCALE_FACTOR[severity - 1]
    assert close(centre(seen)[0], 6 * factor) and close(centre(seen)[1], -6 * factor)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_affine_stays_within_its_bounds_and_fills_them(severity):
    """Its map of the plane, found from what happens to three blobs: rotation, shear, scales and shift."""
    side, far, count = 84, 12.0, 400
    seen = [
        apply("affine", blob(x, y, 2.0, side).repeat(count, 1, 1, 1), severity) for x, y in ((0, 0), (far, 0), (0, far))
    ]
    zero, right, down = (torch.tensor([centre(image) for image in images]) for images in seen)
    shape = torch.linalg.inv(torch.stack([right - zero, down - zero], 2) / far)  # of the sampling grid
    angle = torch.atan2(shape[:, 1, 0], shape[:, 0, 0]).rad2deg()
    shear = torch.atan2(-shape[:, 0, 1], shape[:, 1, 1]).rad2deg() - angle
    for value, bound in (
        (angle, p.AFFINE_DEGREES[severity - 1]),
        (shear, p.AFFINE_DEGREES[severity - 1]),
        (shape[:, :, 0].norm(dim=1) - 1, p.AFFINE_SCALE[severity - 1]),
        (shape[:, :, 1].norm(dim=1) - 1, p.AFFINE_SCALE[severity - 1]),
        ((-shape @ zero[:, :, None])[:, 0, 0], side * p.AFFINE_TRANSLATION[severity - 1]),
        ((-shape @ zero[:, :, None])[:, 1, 0], side * p.AFFINE_TRANSLATION[severity - 1]),
    ):
        assert 0.9 * bound < value.max() < 1.08 * bound and -1.08 * bound < value.min() < -0.9 * bound
        assert abs(value.mean()) < 0.12 * bound


def test_sampling_is_that_of_affine_grid():
    images, theta = torch.rand(5, 2, 28, 20), torch.randn(5, 2, 3)
    grid = torch.nn.functional.affine_grid(theta, list(images.shape), align_corners=False)
    expected = torch.nn.functional.grid_sample(images, grid, align_corners=False)
    assert torch.allclose(p.warp(images, theta), expected, atol=1e-4)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_brightness_and_contrast_shift_and_squeeze(severity):
    dark, wide = torch.rand(2, 1, 28, 28) * 0.3, torch.rand(5, 1, 28, 28)
    assert close((apply("brightness", dark, severity) - dark).mean(), p.BRIGHTNESS_SHIFT[severity - 1])
    seen = apply("contrast", wide, severity)
    assert close(seen.std((1, 2, 3))[0] / wide.std((1, 2, 3))[0], p.CONTRAST_FACTOR[severity - 1])
    assert torch.allclose(seen.mean((1, 2, 3)), wide.mean((1, 2, 3)), atol=1e-5)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_occlusion_hides_a_whole_square(severity):
    seen = apply("occlusion", torch.ones(100, 1, 28, 28), severity)[:, 0]
    side = 28 * p.OCCLUSION_SHARE[severity - 1]
    for axis in (1, 2):
        assert all(close(n, side) for n in (seen.amin(axis) == 0).sum(1))
    assert all(close(n, side**2) for n in (seen == 0).sum((1, 2)))
    assert len({tuple(row.tolist()) for row in seen.amin(1)}) > 3


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_accuracy_falls_with_severity(name, digits, trained):
    images, labels = digits.test.images.float() / 255, digits.test.labels
    with torch.no_grad():
        points = [
            100 * float((trained(apply(name, images, s) if s else images).argmax(1) == labels).float().mean())
            for s in range(6)
        ]
    assert all(after <= before + 0.2 for before, after in itertools.pairwise(points)), points
    assert points[5] <= points[0] - 2, points


def test_training_images_are_perturbed_and_the_others_are_not():
    plain = MNISTDataModule(dataset="mnist5k")
    noisy = MNISTDataModule(dataset="mnist5k", perturb={"gaussian_noise": {"severity": 3}, "rotation": {"severity": 1}})
    first, again = (next(iter(noisy.train_dataloader()))[0] for _ in range(2))
    assert torch.equal(first, again) and not torch.equal(first, next(iter(plain.train_dataloader()))[0])
    assert torch.equal(next(iter(noisy.val_dataloader()))[0], next(iter(plain.val_dataloader()))[0])


def test_several_perturbations_act_in_one_order_however_they_are_named():
    images = torch.rand(5, 1, 28, 28)
    one, other = {"rotation": 2, "gaussian_blur": 3}, {"gaussian_blur": 3, "rotation": 2}
    assert torch.equal(perturb(images, one, 7), perturb(images, other, 7))
    assert not torch.equal(perturb(images, one, 7), apply("rotation", images, 2, 7))


def test_several_perturbations_can_be_evaluated_at_once():
    data = MNISTDataModule(dataset="mnist5k", eval_perturbations=["rotation:1+scale", "scale"])
    assert data.eval_perturbations == {"rotation:1+scale": {"rotation": 1, "scale": 3}, "scale": {"scale": 3}}


def test_another_epoch_draws_anew():
    data = MNISTDataModule(dataset="mnist5k", perturb={"gaussian_noise": {"severity": 3}}).train
    one, two = torch.tensor([0, 1]), torch.tensor([0, 2])
    assert not torch.equal(data[one][0][0], data[two][0][0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"perturb": {"rotation": {"severity": 6}}},
            "perturb.rotation.severity: severity 6 of .*; allowed are 1 to 5",
        ),
        ({"perturb": {"rotation": {"severity": 3.0}}}, r"severity 3\.0 of rotation"),
        ({"eval_perturbations": ["rotatoin"]}, "did you mean rotation"),
        ({"eval_perturbations": ["rotation:9"]}, "severity 9"),
        ({"eval_perturbations": ["rotation:x"]}, "allowed are 1 to 5"),
        ({"eval_perturbations": ["rotation:1+rotation:5"]}, "rotation twice; name it once"),
        ({"eval_perturbations": ["rotation+blur:2"]}, "no perturbation 'blur'"),
    ],
)
def test_impossible_perturbations_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        MNISTDataModule(dataset="mnist5k", **settings)
