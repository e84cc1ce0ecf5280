"""Figures of robustness, by hand and against their definitions."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics.functional.classification import multiclass_calibration_error

from lcomp.evaluation import robustness

REFERENCE = {"fog": [0.2, 0.4], "shear": [0.1, 0.1]}
OWN = {"fog": [0.1, 0.3], "shear": [0.1, 0.3]}


def test_mce_is_the_mean_of_ratios_of_sums():
    assert robustness.mean_corruption_error(OWN, REFERENCE) == pytest.approx((0.4 / 0.6 + 0.4 / 0.2) / 2)
    assert robustness.mean_corruption_error(REFERENCE, REFERENCE) == 1


def test_relative_mce_is_of_what_corruption_adds():
    ratios = ((0.4 - 2 * 0.05) / (0.6 - 2 * 0.02), (0.4 - 2 * 0.05) / (0.2 - 2 * 0.02))
    seen = robustness.relative_mean_corruption_error(OWN, 0.05, REFERENCE, 0.02)
    assert seen == pytest.approx(sum(ratios) / 2)
    assert robustness.relative_mean_corruption_error(REFERENCE, 0.02, REFERENCE, 0.02) == 1


def test_a_corruption_that_costs_the_reference_nothing_is_left_out():
    unhurt = REFERENCE | {"stripe": [0.0, 0.0]}
    seen = robustness.mean_corruption_error(OWN | {"stripe": [0.5, 0.5]}, unhurt)
    assert seen == robustness.mean_corruption_error(OWN, REFERENCE)
    helped = {"fog": [0.2, 0.4], "shear": [0.04, 0.04]}  # less wrong than on clean images
    assert robustness.relative_mean_corruption_error(OWN, 0.0, helped, 0.05) == pytest.approx(0.4 / 0.5)
    assert math.isnan(robustness.mean_corruption_error({"fog": [0.5]}, {"fog": [0.0]}))


def test_calibration_error_is_torchmetrics():
    """Which computes in float32: an oracle, and no replacement."""
    logits, labels = np.random.default_rng(0).normal(size=(2000, 10)).astype(np.float32), np.arange(2000) % 10
    probabilities = torch.from_numpy(logits).softmax(1)
    for bins in (10, 15):
        expected = multiclass_calibration_error(probabilities, torch.from_numpy(labels), 10, n_bins=bins)
        assert robustness.calibration_error(logits, labels, bins) == pytest.approx(float(expected), abs=1e-6)


def test_calibration_error_by_hand():
    logits = np.log(np.array([[0.9, 0.1], [0.91, 0.09], [0.6, 0.4], [0.38, 0.62]], np.float32))
    labels = np.array([0, 1, 0, 1])
    high, middle = abs(1 - 0.9 - 0.91), abs(2 - 0.6 - 0.62)  # bins (13/15, 14/15], and (8/15, 9/15] or (9/15, 10/15]
    assert robustness.calibration_error(logits, labels) == pytest.approx((high + middle) / 4, abs=1e-6)


def test_confidence_that_is_right_costs_nothing():
    sure = np.array([[50.0, 0.0], [0.0, 50.0]], np.float32)
    assert robustness.calibration_error(sure, np.array([0, 1])) == pytest.approx(0)
    assert robustness.calibration_error(sure, np.array([1, 0])) == pytest.approx(1)
    assert robustness.calibration_error(np.zeros((4, 4), np.float32), np.arange(4)) == pytest.approx(0)  # ties: class 0


def brute_force(logits, labels, bins):
    """Guo et al. 2017, eq. 3, word for word."""
    odds = np.exp(logits.astype(np.float64) - logits.astype(np.float64).max(1, keepdims=True))
    confidences, predicted = (odds / odds.sum(1, keepdims=True)).max(1), logits.argmax(1)
    total = 0.0
    for m in range(1, bins + 1):
        members = [i for i, c in enumerate(confidences) if (m - 1) / bins < c <= m / bins]
        if members:
            accuracy = np.mean([predicted[i] == labels[i] for i in members])
            total += len(members) / len(labels) * abs(accuracy - np.mean(confidences[members]))
    return total


@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(2, 6), st.integers(1, 20))
def test_calibration_error_is_its_definition(seed, count, classes, bins):
    random = np.random.default_rng(seed)
    logits, labels = random.normal(0, 2, (count, classes)).astype(np.float32), random.integers(0, classes, count)
    assert robustness.calibration_error(logits, labels, bins) == pytest.approx(brute_force(logits, labels, bins))


def test_drops_differences_and_exemplars_by_hand():
    labels, base, own = np.array([0, 0, 1, 1, 4]), np.array([0, 0, 1, 0, 1]), np.array([0, 1, 1, 1, 2])
    assert robustness.class_drops(own, base, labels) == {0: 0.5, 1: -0.5, 4: 0.0}
    assert robustness.differing(own, base) == 3 / 5
    assert robustness.exemplar_fraction(own, base, labels) == 1 / 5


@given(st.lists(st.tuples(*[st.integers(0, 3)] * 3), min_size=1, max_size=50))
def test_what_is_lost_less_what_is_won_is_the_accuracys_fall(rows):
    own, base, labels = np.array(rows).T
    lost, won = robustness.exemplar_fraction(own, base, labels), robustness.exemplar_fraction(base, own, labels)
    fall = (base == labels).mean() - (own == labels).mean()
    drops = robustness.class_drops(own, base, labels)
    assert lost - won == pytest.approx(fall)
    assert sum(drop * (labels == label).mean() for label, drop in drops.items()) == pytest.approx(fall)
    assert lost + won <= robustness.differing(own, base) + 1e-9
