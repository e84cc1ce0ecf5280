"""What every technique of lcomp's own keeps, LinearSVD keeps too: alone, and under 8-bit quantization."""

import pytest
import torch
from technique import LinearSVD

from lcomp.data import MNISTDataModule
from lcomp.errors import UserError
from lcomp.models import LeNet5, SmallCNN
from lcomp.testing import TechniqueContract

ALONE, QUANTIZED = ["prune=linear_svd"], ["prune=linear_svd", "quant=qat"]


@pytest.fixture(scope="module")
def digits():
    torch.set_num_threads(1)
    return MNISTDataModule(dataset="mnist5k")


@pytest.mark.parametrize("overrides", [ALONE, QUANTIZED])
def test_linear_svd_keeps_the_contract(overrides, digits, tmp_path):
    contract = TechniqueContract(overrides, digits, LeNet5(), tmp_path, config_dir="conf")
    contract.resumes()  # stopped and continued, it ends with the same bits
    contract.exports()  # it trains, and its file does what the network does, and is as small as it was to be


def test_the_factors_are_the_nearest_of_their_rank():
    network = SmallCNN()
    weight, bias = network.fc1.weight.detach().clone(), network.fc1.bias.detach().clone()
    LinearSVD(rank=8).prepare(network)
    first, second = network.fc1
    left = torch.linalg.svdvals(weight)[8:].square().sum().sqrt()  # Eckart & Young 1936
    assert torch.linalg.norm(weight - second.weight @ first.weight).item() == pytest.approx(left.item(), rel=1e-4)
    assert torch.equal(second.bias, bias)


def test_a_rank_that_makes_nothing_smaller_is_refused():
    with pytest.raises(UserError, match=r"prune.rank=500: makes no linear layer of SmallCNN smaller"):
        LinearSVD(rank=500).check(SmallCNN())
