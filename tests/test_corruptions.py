"""The mathematics of each of MNIST-C's corruptions."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from lcomp.data.mnist_c import blur, corrupt, drawing, geometry, noise, weather
from lcomp.data.perturbations import seeded_generator

SEVERITIES = range(1, 6)
BLACK, WHITE = torch.zeros(400, 1, 28, 28), torch.ones(400, 1, 28, 28)


@pytest.fixture(scope="module")
def hundred(digits):
    return digits.test.images[:100].float() / 255


def close(seen, expected, rel=0.02):
    return float(seen) == pytest.approx(expected, rel=rel)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_shot_noise_is_poisson(severity):
    photons = noise.SHOT_PHOTONS[severity - 1]
    counts = corrupt(2 / photons * WHITE, "shot_noise", severity, 0) * photons
    assert (counts - counts.round()).abs().max() < 1e-4
    for count in range(3):  # of a mean of two
        assert close((counts.round() == count).float().mean(), math.exp(-2) * 2**count / math.factorial(count))
    assert not corrupt(BLACK, "shot_noise", severity, 0).any()


@pytest.mark.parametrize("severity", SEVERITIES)
def test_impulse_noise_changes_its_share(severity):
    seen, share = corrupt(WHITE / 2, "impulse_noise", severity, 0), noise.IMPULSE_SHARE[severity - 1]
    assert close((seen == 1).float().mean(), share / 2) and close((seen == 0).float().mean(), share / 2)
    assert close((seen == 0.5).float().mean(), 1 - share)


@given(reach=st.integers(1, 3), rounds=st.integers(1, 2), seed=st.integers(0, 2**32))
def test_glass_swaps_pixels_as_if_one_by_one(reach, rounds, seed):
    height, width, count = 9, 11, 3
    shape = (rounds, height - 2 * reach, width - 2 * reach, count)
    choice = torch.randint(8 * reach**2, shape, generator=seeded_generator(seed), dtype=torch.uint8)
    expected = [list(range(height * width)) for _ in range(count)]
    for turn in itertools.product(*(range(size) for size in shape)):
        _, row, column, image = turn
        place = (height - reach - row) * width + width - reach - column
        down, right = divmod(int(choice[turn]), 2 * reach)
        if down < 2 * reach:  # otherwise the pixel stays
            other = place + (down - reach) * width + right - reach
            pixels = expected[image]
            pixels[place], pixels[other] = pixels[other], pixels[place]
    assert blur.shuffle(choice, reach, height, width).tolist() == expected


@pytest.mark.parametrize("severity", SEVERITIES)
def test_glass_blurs_twice_along_the_height_alone(severity, monkeypatch):
    monkeypatch.setattr(blur, "shuffle", lambda choice, *_: torch.arange(57 * 57).repeat(choice.shape[-1], 1))
    point = torch.zeros(1, 1, 57, 57)
    point[..., 28, 28] = 1
    seen = corrupt(point, "glass_blur", severity, 0)[0, 0]
    assert torch.equal(seen.sum(0) > 0, point[0, 0, 28] > 0)
    assert close((seen[:, 28] * (torch.arange(57) - 28) ** 2).sum(), 2 * blur.GLASS[severity - 1][0] ** 2)


@given(reach=st.integers(0, 3), size=st.integers(1, 9), seed=st.integers(0, 2**32))
def test_convolution_goes_on_outside(reach, size, seed):
    line, kernel = (torch.rand(n, generator=seeded_generator(seed, n)) for n in (size, 2 * reach + 1))
    long = torch.cat([line[:1].expand(reach), line, line[-1:].expand(reach)])
    expected = torch.stack([(long[place : place + len(kernel)] * kernel).sum() for place in range(size)])
    assert torch.allclose(blur.correlation_matrix(size, kernel) @ line, expected, atol=1e-6)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_motion_blur_walks_imagemagicks_line(severity, hundred):
    images, (radius, std) = hundred[:12], blur.MOTION[severity - 1]
    degrees = 90 * torch.rand(12, generator=seeded_generator(0)) - 45
    seen = corrupt(images, "motion_blur", severity, 0)
    weights = [math.exp(-(step**2) / (2 * std**2)) for step in range(2 * radius + 1)]
    for image, angle, found in zip(images[:, 0], torch.deg2rad(degrees).tolist(), seen[:, 0], strict=True):
        expected = torch.zeros(28, 28)
        for step, weight in enumerate(weights):
            right, down = math.ceil(step * math.cos(angle) - 0.5), math.ceil(step * math.sin(angle) - 0.5)
            rows, columns = ((torch.arange(28) + move).clamp(0, 27) for move in (down, right))
            expected += weight / sum(weights) * image[rows][:, columns]
        assert torch.allclose(found, expected, atol=1e-5)


def blob(x=0.0, y=0.0, width=4.0, side=81):
    """Eight times a Gaussian blob at (x, y) pixels from the centre."""
    axis = torch.arange(side) - (side - 1) / 2
    return torch.exp(-((axis[:, None] - y) ** 2 + (axis - x) ** 2) / (2 * width**2)).repeat(8, 1, 1, 1)


def moments(image):
    """Centre of mass (x, y) from the image's centre, and the covariance's xx, xy and yy, of (1, H, W)."""
    axis = torch.arange(image.shape[-1]) - (image.shape[-1] - 1) / 2
    mass = image[0] / image[0].sum()
    x, y = float((mass.sum(0) * axis).sum()), float((mass.sum(1) * axis).sum())
    across, down = (axis - x)[None], (axis - y)[:, None]
    return (x, y), [float((mass * product).sum()) for product in (across**2, across * down, down**2)]


@pytest.mark.parametrize("severity", SEVERITIES)
def test_rotate_turns_by_its_angle_either_way(severity):
    angle = geometry.ROTATE_RADIANS[severity - 1]
    found = [moments(image)[0] for image in corrupt(blob(10.0), "rotate", severity, 0)]
    for x, y in found:
        assert x == pytest.approx(10 * math.cos(angle), abs=0.01) and abs(y) == pytest.approx(
            10 * math.sin(angle), abs=0.01
        )
    assert {y > 0 for _, y in found} == {False, True}


@pytest.mark.parametrize("severity", SEVERITIES)
def test_scale_shrinks_by_its_factor(severity):
    factor = geometry.SCALE_FACTOR[severity - 1]
    (x, y), (across, both, down) = moments(corrupt(blob(10.0, -5.0, 6.0), "scale", severity, 0)[0])
    assert (x, y) == pytest.approx((10 * factor, -5 * factor), abs=0.01)
    assert close(across, (6 * factor) ** 2) and close(down, (6 * factor) ** 2) and abs(both) < 0.05


@pytest.mark.parametrize("severity", SEVERITIES)
def test_shear_leans_by_its_angle_either_way_and_grows_taller(severity):
    angle = geometry.SHEAR_RADIANS[severity - 1]
    found = [moments(image)[1] for image in corrupt(blob(), "shear", severity, 0)]
    for across, both, down in found:  # the covariance of 16 A A', where A undoes (x - y sin a, y cos a)
        assert close(across, 16 * (1 + math.tan(angle) ** 2)) and close(down, 16 / math.cos(angle) ** 2)
        assert close(abs(both), 16 * math.tan(angle) / math.cos(angle))
    assert {both > 0 for _, both, _ in found} == {False, True}


@pytest.mark.parametrize("severity", SEVERITIES)
def test_translate_moves_by_its_pixels_in_four_directions(severity):
    point = torch.zeros(40, 1, 28, 28)
    point[:, 0, 12, 15] = 0.7
    moved = corrupt(point, "translate", severity, 0)
    assert ((moved != 0).sum((1, 2, 3)) == 1).all() and (moved.amax((1, 2, 3)) == point.max()).all()
    places = {(y - 12, x - 15) for _, _, y, x in moved.nonzero().tolist()}
    assert places == set(itertools.product((-severity, severity), repeat=2))
    assert close(corrupt(WHITE, "translate", severity, 0).mean(), (1 - severity / 28) ** 2, 1e-5)  # black comes in


@pytest.mark.parametrize("severity", SEVERITIES)
def test_brightness_adds_its_shift(severity, hundred):
    shift = weather.BRIGHTNESS_SHIFT[severity - 1]
    assert torch.allclose(corrupt(hundred, "brightness", severity, 0), (hundred + shift).clamp(max=1))


@pytest.mark.parametrize("severity, columns", [(1, 3), (2, 5), (3, 7), (4, 9), (5, 11)])
def test_stripe_inverts_its_columns(severity, columns, hundred):
    seen = corrupt(hundred, "stripe", severity, 0)
    assert torch.equal(seen[..., columns:-columns], hundred[..., columns:-columns])
    for part in (slice(columns), slice(28 - columns, None)):
        assert torch.allclose(seen[..., part], 1 - hundred[..., part])


def test_diamond_square_takes_the_mean_of_four_and_adds_its_noise():
    field = torch.rand(4, 4, 300)
    finer = weather.diamond_square(field, 0.0, seeded_generator(0))
    around = [finer.roll(move, axis) for axis in (0, 1) for move in (1, -1)]
    corners = [finer.roll((down, right), (0, 1)) for down in (1, -1) for right in (1, -1)]
    assert torch.equal(finer[::2, ::2], field)
    assert torch.allclose(finer[1::2, 1::2], sum(corners)[1::2, 1::2] / 4)
    for rows, columns in ((0, 1), (1, 0)):
        assert torch.allclose(finer[rows::2, columns::2], sum(around)[rows::2, columns::2] / 4)
    added = weather.diamond_square(torch.zeros_like(field), 0.5, seeded_generator(0))[1::2, 1::2]
    assert added.abs().max() <= 0.5 and abs(added.mean()) < 0.01 and close(added.var(), 0.25 / 3, 0.05)


@pytest.mark.parametrize("decay", [1.4, 2.0])
def test_clouds_are_rougher_by_the_square_of_the_decay_at_twice_the_scale(decay):
    clouds, rough = weather.plasma(5_000, 33, decay, seeded_generator(0)), []
    for step in (1, 2, 4):
        field = clouds[:, ::step, ::step]
        rough.append((field[:, 1::2, 1::2] - F.avg_pool2d(field[:, ::2, ::2], 2, 1)).std(0))
    for fine, coarse in itertools.pairwise(rough):
        assert close(coarse.mean() / fine.mean(), decay**2)
        assert fine.min() > 0.9 * fine.max()  # at the border of what is drawn too


@pytest.mark.parametrize(
    "decay, level, unevenness, step, corner",
    [(1.4, 0.193, 0.0594, 0.0082, 0.2985), (2.0, 0.2235, 0.0393, 0.0031, 0.3582)],
)
def test_clouds_have_the_law_of_4000_whole_maps(decay, level, unevenness, step, corner):
    """Deviation between images, within one, from one pixel to the next, and between corners."""
    clouds = weather.plasma(10_000, 28, decay, seeded_generator(0))
    assert clouds.min() >= 0 and clouds.max() <= 1 and close(clouds.mean(), 0.5, 0.03)
    assert close(clouds.mean((1, 2)).std(), level, 0.03) and close(clouds[:, 0, 0].std(), corner, 0.03)
    assert close(clouds.std((1, 2)).mean(), unevenness, 0.03) and close(clouds.diff(dim=2).abs().mean(), step, 0.04)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_fog_adds_its_clouds_and_darkens(severity):
    thickness, decay = weather.FOG[severity - 1]
    images = 0.8 * torch.rand(30, 1, 28, 28)
    clouds = weather.plasma(30, 28, decay, seeded_generator(0))[:, None]
    brightest = images.amax((1, 2, 3), keepdim=True)
    expected = (images + thickness * clouds) * brightest / (brightest + thickness)
    assert torch.allclose(corrupt(images, "fog", severity, 0), expected, atol=1e-6)
    assert not corrupt(BLACK[:2], "fog", severity, 0).any()


@pytest.mark.parametrize(  # shares of pixels that the published code covers
    "severity, share", [(1, 0.0822), (2, 0.1654), (3, 0.2507), (4, 0.1349), (5, 0.2046)]
)
def test_spatter_covers_its_share_with_mud(severity, share):
    black, white = (corrupt(images.repeat(5, 1, 1, 1), "spatter", severity, 0) for images in (BLACK, WHITE))
    opaque = black / (63 / 255)
    assert close((opaque > 0).float().mean(), share, 0.04)
    assert opaque[opaque > 0].min() >= 0.799 and opaque.max() > 0.999
    assert torch.allclose(white - black, 1 - opaque, atol=1e-6)


def white(rows_away, reach):
    """The published profile of a line."""
    return (1 + torch.log((1 - rows_away.abs() / reach).clamp_min(1e-9))).clamp(0, 1)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_dotted_line_is_straight_and_dotted(severity):
    seen = corrupt(BLACK, "dotted_line", severity, 0)[:, 0]
    first, last = torch.randint(27, (2, 400, 1), generator=seeded_generator(0))
    for column in range(28):
        away = torch.arange(28) - (first + (last - first) * column / 27)
        drawn = column in (2, 3, 6, 7, 10, 11, 14, 15, 18, 19, 22, 23, 26)
        assert torch.allclose(seen[:, :, column], white(away, drawing.LINE_RADIUS[severity - 1]) * drawn, atol=1e-4)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_zigzag_is_a_chain_of_lines(severity):
    generator = seeded_generator(0)
    first, rise = torch.randint(27, (400, 1), generator=generator), torch.randint(-5, 5, (400, 1), generator=generator)
    seen = corrupt(BLACK, "zigzag", severity, 0)[:, 0]
    column, row = torch.arange(28), torch.arange(28)[:, None]
    for image, y, up in zip(seen[:40], first.flatten().tolist(), rise.flatten().tolist(), strict=False):
        angle, length = math.atan2(up, 23), math.hypot(up, 23)
        chain = [(0, 0), (2, 2), (6, -2), (10, 2), (14, -2), (18, 2), (22, -2), (length, -1 / (length - 20))]
        turned = [
            (2 + a * math.cos(angle) - b * math.sin(angle), y + a * math.sin(angle) + b * math.cos(angle))
            for a, b in chain
        ]
        expected = torch.zeros(28, 28)
        for (x0, y0), (x1, y1) in itertools.pairwise(turned):
            part = white(row - (y0 + (y1 - y0) / (x1 - x0) * (column - x0)), drawing.LINE_RADIUS[severity - 1])
            part[:, : math.floor(x0)] = 0
            part[:, math.ceil(x1) :] = 0
            expected = (expected + part).clamp(max=1)
        assert torch.allclose(image, expected, atol=1e-4)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_canny_draws_one_thin_line_along_an_edge(severity, hundred):
    step = torch.zeros(1, 1, 28, 28)
    step[..., 14], step[..., 15:] = 0.5, 1
    expected = torch.zeros(28, 28)
    expected[1:-1, 14] = 1
    assert torch.equal(corrupt(step, "canny_edges", severity, 0)[0, 0], expected)
    assert torch.equal(corrupt(step.mT, "canny_edges", severity, 0)[0, 0], expected.T)
    assert set(corrupt(hundred, "canny_edges", severity, 0).unique().tolist()) == {0, 1}


def test_canny_keeps_a_weak_edge_only_where_it_continues_a_strong_one():
    """The gradient of a step of height h is 4 h (Phi(3/2) - Phi(-1/2)) = 2.5 h: 0.125 and 0.5 here."""
    step = (torch.arange(28) >= 14).float().expand(1, 1, 28, 28)
    assert not corrupt(0.05 * step, "canny_edges", 3, 0).any()
    for height in (torch.tensor(0.2), torch.linspace(0.05, 0.2, 28)[:, None]):
        assert corrupt(height * step, "canny_edges", 3, 0)[0, 0, 1:-1].any(1).all()


def test_diagonal_edges_are_stairs():
    down, right = torch.arange(28)[:, None], torch.arange(28)
    ramp = ((down + right - 25.5) / 4).clamp(0, 1)[None, None]  # steepest between 27 and 28
    stairs = (down + right == 27) | (down + right == 28)
    for axes in ((), (0,), (1,), (0, 1)):
        seen = corrupt(ramp[0, 0].flip(axes)[None, None], "canny_edges", 3, 0)[0, 0].bool()
        assert torch.equal(seen[6:-6, 6:-6], stairs.flip(axes)[6:-6, 6:-6])


@given(seed=st.integers(0, 2**32))
def test_connected_is_a_flood(seed):
    mask = torch.rand(2, 1, 9, 9, generator=seeded_generator(seed)) < 0.5
    seeds = mask & (torch.rand(2, 1, 9, 9, generator=seeded_generator(seed, 1)) < 0.1)
    wet = {tuple(place) for place in seeds.nonzero().tolist()}
    ahead = list(wet)
    while ahead:
        image, channel, y, x = ahead.pop()
        for down, right in itertools.product((-1, 0, 1), repeat=2):
            place = image, channel, y + down, x + right
            if 0 <= place[2] < 9 and 0 <= place[3] < 9 and mask[place] and place not in wet:
                wet.add(place)
                ahead.append(place)
    assert {tuple(place) for place in drawing.connected(seeds, mask).nonzero().tolist()} == wet
