"""The contract of techniques on a residual network: batch norms, additions, shortcuts that pad and stride, a mean.

`test_contract.py` tries them on a student of three layers, in every pair.
"""

import copy

import pytest
import torch
from test_contract import OTHERS, ROWS, TECHNIQUES
from torch import nn

import lcomp
from lcomp.export.onnx_export import fold_normalization
from lcomp.models import CifarResNet
from lcomp.packed import pack
from lcomp.testing import TechniqueContract

pytestmark = pytest.mark.slow

# Not `prune=filter`, whose promise counts the channels of a chain; test_filters.py removes those of residual networks.
TRIED = [one for one in TECHNIQUES if one != ("prune", "filter")]
EVERY = 11  # of the rows of pairs that the contract of the small student tries
TOGETHER = [row for row in ROWS if row["prune"] != "filter"][::EVERY]


class ResidualContract(TechniqueContract):
    def network(self):
        torch.manual_seed(0)
        network = CifarResNet(blocks=1, widths=(8, 16, 16), input_shape=(1, 28, 28), mean=0.1307, std=0.3081)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 0.5  # statistics that 40 steps are enough for
        return network


@pytest.fixture
def contract(digits, trained, tmp_path):
    rate = "trainer.learning_rate=0.01"  # 40 steps of the default one are too few for it
    yield lambda *overrides: ResidualContract(
        (rate, *overrides), digits, trained, tmp_path, least=0.12, agreement=0.95
    )  # ONNX Runtime rounds biases to the scales of weights, which are large where bits are few
    digits.train.extra = ()


@pytest.mark.parametrize(("family", "choice"), OTHERS)
def test_technique_resumes_to_the_same_weights(contract, family, choice):
    contract(f"{family}={choice}").resumes()


@pytest.mark.parametrize(("family", "choice"), TRIED)
def test_technique_keeps_its_promises(contract, family, choice):
    packs(*contract(f"{family}={choice}").exports())


@pytest.mark.parametrize("row", TOGETHER, ids=lambda row: "-".join(row.values()))
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
