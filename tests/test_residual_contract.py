"""The contract of techniques on a residual network: batch norms, additions, shortcuts that pad and stride, a mean.

`test_contract.py` tries them on a student of three layers, in every pair.
"""

import pytest
import torch
from quickly import first_quickly
from test_contract import OTHERS

from lcomp.models import CifarResNet
from lcomp.testing import TechniqueContract


class ResidualContract(TechniqueContract):
    def network(self):
        torch.manual_seed(0)
        return CifarResNet(blocks=1, widths=(4, 8, 8), input_shape=(1, 28, 28), mean=0.1307, std=0.3081)


@pytest.fixture
def contract(digits, trained, tmp_path):
    yield lambda *overrides: ResidualContract(overrides, digits, trained, tmp_path, least=0.15)
    digits.train.extra = ()


@pytest.mark.parametrize(("family", "choice"), first_quickly(OTHERS))
def test_technique_resumes_to_the_same_weights(contract, family, choice):
    contract(f"{family}={choice}").resumes()
