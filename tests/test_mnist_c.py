"""What holds for every corruption of MNIST-C, and that they do to digits what the published code does."""

import itertools

import pytest
import torch

from lcomp.data.mnist_c import CORRUPTIONS, PUBLISHED, corrupt
from lcomp.errors import UserError

SEVERITIES = range(1, 6)
WITHOUT_CHANCE = {"scale", "brightness", "stripe", "canny_edges"}

# Mean of the corrupted pixels and their mean distance from the clean ones, for the first 100 test digits of mnist5k:
# the published code's on average over ten draws, and ours with seed 0.
FIGURES = {
    "shot_noise": ((0.1074, 0.0446), (0.107878, 0.044519)),
    "impulse_noise": ((0.1935, 0.0847), (0.192620, 0.084642)),
    "glass_blur": ((0.1305, 0.0789), (0.131066, 0.079502)),
    "motion_blur": ((0.1308, 0.0991), (0.130849, 0.100035)),
    "shear": ((0.1420, 0.1107), (0.141936, 0.109376)),
    "scale": ((0.0642, 0.1123), (0.064236, 0.112289)),
    "rotate": ((0.1310, 0.1144), (0.131066, 0.114354)),
    "brightness": ((0.5787, 0.4476), (0.578711, 0.447635)),
    "translate": ((0.1304, 0.1839), (0.130547, 0.185610)),
    "stripe": ((0.6080, 0.4939), (0.608027, 0.493898)),
    "fog": ((0.4034, 0.3555), (0.414955, 0.362741)),
    "spatter": ((0.1468, 0.0343), (0.147658, 0.034464)),
    "dotted_line": ((0.1544, 0.0233), (0.153820, 0.022744)),
    "zigzag": ((0.1783, 0.0473), (0.176724, 0.045648)),
    "canny_edges": ((0.1080, 0.1634), (0.107959, 0.163361)),
}


@pytest.fixture(scope="module")
def hundred(digits):
    return digits.test.images[:100].float() / 255


def distance(one, other):
    return float((one - other).abs().mean())


def test_the_fifteen_in_order_and_the_published_severities():
    assert " ".join(CORRUPTIONS) == (
        "shot_noise impulse_noise glass_blur motion_blur shear scale rotate brightness translate stripe fog spatter "
        "dotted_line zigzag canny_edges"
    )
    assert list(PUBLISHED.values()) == [5, 4, 1, 1, 2, 3, 2, 5, 3, 3, 5, 4, 3, 3, 3]
    assert list(PUBLISHED) == list(CORRUPTIONS)


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("severity", SEVERITIES)
def test_pure_seeded_and_within_0_and_1(name, severity, hundred):
    images = hundred[:20]
    before = images.clone()
    seen = corrupt(images, name, severity, 0, severity)
    assert torch.equal(images, before)
    assert seen.shape == images.shape and seen.dtype == torch.float32 and seen.min() >= 0 and seen.max() <= 1
    assert torch.equal(seen, corrupt(images, name, severity, 0, severity))
    assert torch.equal(seen, corrupt(images, name, severity, 0, 9)) == (name in WITHOUT_CHANCE)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_colours_and_other_sizes(name):
    images = torch.rand(2, 3, 32, 36)
    seen = corrupt(images, name, PUBLISHED[name], 0)
    assert seen.shape == images.shape and seen.min() >= 0 and seen.max() <= 1


@pytest.mark.parametrize("name", [name for name in CORRUPTIONS if name != "shot_noise"])
def test_images_of_a_batch_do_not_mix(name, hundred):
    others = torch.cat([hundred[:1], hundred[1:20].flip(0)])
    seen = corrupt(hundred[:20], name, PUBLISHED[name], 0)
    assert distance(corrupt(others, name, PUBLISHED[name], 0)[0], seen[0]) < 1e-6


@pytest.mark.parametrize("name", [name for name in CORRUPTIONS if name not in WITHOUT_CHANCE])
def test_each_image_of_a_batch_has_a_draw_of_its_own(name, hundred):
    seen = corrupt(hundred[:1].repeat(20, 1, 1, 1), name, PUBLISHED[name], 0)
    assert len(seen.unique(dim=0)) >= (2 if name in ("shear", "rotate") else 4 if name == "translate" else 15)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_same_digits_as_ever_and_as_the_published_code(name, hundred):
    seen = corrupt(hundred, name, PUBLISHED[name], 0)
    published, ours = FIGURES[name]
    assert (float(seen.mean()), distance(seen, hundred)) == pytest.approx(ours, abs=2e-4)
    assert ours == pytest.approx(published, rel=0.04)


@pytest.mark.parametrize("name", [name for name in CORRUPTIONS if name not in ("motion_blur", "spatter")])
def test_severity_moves_a_digit_further(name, hundred):
    moved = [distance(corrupt(hundred, name, severity, 0), hundred) for severity in SEVERITIES]
    assert all(milder < worse for milder, worse in itertools.pairwise(moved))


@pytest.mark.parametrize("name", [name for name in CORRUPTIONS if name not in ("shot_noise", "spatter")])
def test_severity_costs_a_network_its_accuracy(name, trained, digits):
    images, labels = digits.test.images.float() / 255, digits.test.labels
    found = [
        float((trained(corrupt(images, name, severity, 0)).argmax(1) == labels).float().mean())
        for severity in (1, 3, 5)
    ]
    assert found[0] > found[1] > found[2] and found[2] < 0.9


@pytest.mark.parametrize("name, severity, said", [("fogg", 1, "did you mean fog"), ("fog", 6, "allowed are 1 to 5")])
def test_unknown_names_and_severities_are_refused(name, severity, said):
    with pytest.raises(UserError, match=said):
        corrupt(torch.zeros(1, 1, 28, 28), name, severity, 0)
