"""The contract of techniques on a residual network: batch norms, additions, shortcuts that pad and stride, a mean.

`test_contract.py` tries them on a student of three layers, in every pair.
"""

import copy

import pytest
import torch
from quickly import first_quickly
from test_contract import OTHERS, ROWS, TECHNIQUES

import lcomp
from lcomp.export.onnx_export import fold_normalization
from lcomp.models import CifarResNet
from lcomp.packed import pack
from lcomp.testing import TechniqueContract

EVERY = 11  # of the rows of pairs that the contract of the small student tries


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


@pytest.mark.parametrize(("family", "choice"), first_quickly(TECHNIQUES))
def test_technique_keeps_its_promises(contract, family, choice):
    packs(*contract(f"{family}={choice}").exports())


@pytest.mark.parametrize("row", first_quickly(ROWS[::EVERY]), ids=lambda row: "-".join(row.values()))
def test_all_three_families_keep_their_promises_together(contract, row):
    packs(*contract(*(f"{family}={choice}" for family, choice in row.items())).exports())


def packs(network, path):
    """The packed form answers as the network does; not to the bit, since an export folds batch norms."""
    pack(path, path.with_suffix(".lcomp"))
    pixels = torch.rand(200, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = fold_normalization(copy.deepcopy(network)).eval()(pixels)
        logits = lcomp.load(path.with_suffix(".lcomp"))(pixels)
    assert (logits.argmax(1) == expected.argmax(1)).float().mean() >= 0.97
    assert (logits - expected).abs().mean() <= 0.02 * expected.std()
