"""What integrated gradients add up to, and when two networks agree on them."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr
from torch import nn
from training import train

from lcomp.evaluation import attributions
from lcomp.models import LeNet5
from lcomp.modules import QATModule


@pytest.fixture(scope="module")
def some(digits):
    """30 test images and their labels."""
    return digits.test.images[:30].float() / 255, digits.test.labels[:30]


@torch.no_grad()
def rise(network, images, labels):
    """By how much each label's logit rises from a black image to the image."""
    return (network(images) - network(torch.zeros_like(images))).gather(1, labels[:, None])[:, 0]


def test_of_a_linear_network_they_are_pixel_times_weight(some):
    images, labels = some
    network = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    seen = attributions.integrated_gradients(network, images, labels)
    torch.testing.assert_close(seen, images * network[1].weight.detach()[labels].view_as(images), atol=1e-6, rtol=1e-4)


def test_they_add_up_to_the_logits_rise(trained, some):
    images, labels = some
    seen, expected = attributions.integrated_gradients(trained, images, labels).sum((1, 2, 3)), rise(trained, *some)
    assert (seen - expected).abs().mean() < 0.01 * expected.abs().mean()


def test_through_rounded_activations_they_nearly_do(trained, some, digits):
    module = QATModule(copy.deepcopy(trained).train().requires_grad_(True), bits=4, activation_bits=4)
    train(module, digits)
    network = module.finalize(module.calibration(digits))
    seen, expected = attributions.integrated_gradients(network, *some).sum((1, 2, 3)), rise(network, *some)
    assert (seen - expected).abs().mean() < 0.1 * expected.abs().mean()


def test_a_network_agrees_with_itself_and_not_with_an_untrained_one(trained, some):
    torch.manual_seed(1)
    looks = [attributions.integrated_gradients(network, *some) for network in (trained, LeNet5())]
    assert attributions.correlation(looks[0], looks[0], some[0]) == pytest.approx(1)
    assert attributions.correlation(looks[0], looks[0] * 7, some[0]) == pytest.approx(1)  # ranks alone count
    assert abs(attributions.correlation(*looks, some[0])) < 0.2
    assert attributions.correlation(looks[0], torch.zeros_like(looks[0]), some[0]) == 0


def test_only_pixels_that_are_not_black_count():
    images = torch.tensor([1.0, 0.5, 0.2, 0, 0, 0]).view(1, 1, 2, 3)
    one, other = torch.tensor([3.0, 2, 1, 0, 0, 0]).view_as(images), torch.tensor([1.0, 2, 3, 0, 0, 0]).view_as(images)
    assert attributions.correlation(one, other, images) == pytest.approx(-1)
    black = torch.zeros_like(images)
    twice = torch.cat([images, black])
    assert attributions.correlation(torch.cat([one, one]), torch.cat([other, one]), twice) == pytest.approx(-1)
    assert np.isnan(attributions.correlation(one, other, black))


@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=3, max_size=40))
def test_rank_correlation_is_spearmans_with_ties(pairs):
    one, other = np.array(pairs, np.float32).T
    if len(set(one)) == 1 or len(set(other)) == 1:
        assert attributions.rank_correlation(one, other) == 0
    else:
        assert attributions.rank_correlation(one, other) == pytest.approx(spearmanr(one, other).statistic)
