import pytest
import torch

from lcomp.models import LeNet5, SmallCNN


@pytest.mark.parametrize(("network", "parameters"), [(LeNet5, 44_426), (SmallCNN, 11_042)])
def test_parameters_are_the_papers(network, parameters):
    assert sum(p.numel() for p in network().parameters()) == parameters


@pytest.mark.parametrize("network", [LeNet5, SmallCNN])
def test_pixels_to_logits_with_glorot_weights_and_zero_biases(network):
    made = network(num_classes=7)
    assert made(torch.rand(3, 1, 28, 28)).shape == (3, 7)
    weight = made.fc1.weight
    bound = (6 / sum(weight.shape)) ** 0.5
    assert 0.98 * bound < weight.abs().max() <= bound
    assert not made.fc1.bias.any()
