"""Every technique that has a YAML keeps the contract, alone and beside every technique of the other families."""

import copy
import itertools

import pytest
import torch
from onnx_graphs import integer_weights
from quickly import first_quickly, teaches_encoders
from torch import nn

import lcomp
from lcomp.config import run_config
from lcomp.evaluation.size import of_file, of_graph
from lcomp.export.onnx_export import fold_normalization
from lcomp.packed import pack
from lcomp.testing import TechniqueContract, pairwise_rows, stored_weights

TECHNIQUES = [
    (family, path.stem)
    for family in run_config.FAMILIES
    for path in sorted((run_config.folder() / family).glob("*.yaml"))
    if path.stem != "none" and not teaches_encoders(f"{family}={path.stem}")
]  # those on sentences: test_contract_sentences.py


@pytest.fixture
def contract(digits, trained, tmp_path):
    yield lambda *overrides: TechniqueContract(overrides, digits, trained, tmp_path)
    digits.train.extra = ()


def test_every_family_has_a_technique_and_its_default():
    assert set(run_config.FAMILIES.items()) <= set(TECHNIQUES)


DEFAULTS = [one for one in TECHNIQUES if run_config.FAMILIES[one[0]] == one[1]]
OTHERS = [one for one in TECHNIQUES if one not in DEFAULTS]


@pytest.mark.parametrize(("family", "choice"), first_quickly(DEFAULTS + OTHERS, len(DEFAULTS)))
def test_technique_resumes_to_the_same_weights(contract, family, choice):
    contract(f"{family}={choice}").resumes()


PARTS = [
    f"prune/{part}={path.stem}"
    for part in ("criterion", "schedule")
    for path in sorted((run_config.folder() / "prune" / part).glob("*.yaml"))
]


@pytest.mark.parametrize("part", first_quickly(PARTS))
def test_part_of_pruning_resumes_to_the_same_weights(contract, part):
    contract("prune=scheduled", part).resumes()


RANGES = [path.stem for path in sorted((run_config.folder() / "quant/range").glob("*.yaml"))]


@pytest.mark.parametrize("part", first_quickly(RANGES))
def test_range_estimator_resumes_to_the_same_weights(contract, part):
    contract("quant=qat", f"quant/range={part}").resumes()


@pytest.mark.parametrize(("family", "choice"), first_quickly(DEFAULTS + OTHERS, 2 * len(DEFAULTS)))
def test_technique_keeps_its_promises_alone(contract, family, choice):
    keeps_its_promises(contract, (family, choice))


CHOICES = {family: [choice for f, choice in TECHNIQUES if f == family] for family in run_config.FAMILIES}
ROWS = pairwise_rows(CHOICES)
QUICK = 30  # every so many of them is no slow test


def test_every_pair_of_choices_stands_in_a_row():
    for one, other in itertools.combinations(TECHNIQUES, 2):
        assert one[0] == other[0] or any(one in row.items() and other in row.items() for row in ROWS), (one, other)


@pytest.mark.parametrize(
    "row",
    [pytest.param(row, marks=pytest.mark.slow if number % QUICK else ()) for number, row in enumerate(ROWS)],
    ids=["-".join(row.values()) for row in ROWS],
)
def test_all_three_families_keep_their_promises_together(contract, row):
    keeps_its_promises(contract, *row.items())


def packs(network, path):
    """The packed form is smaller than the artifact under gzip, and rebuilds the network's logits to the bit."""
    pack(path, path.with_suffix(".lcomp"))
    assert path.with_suffix(".lcomp").stat().st_size < 0.92 * of_file(path).gzip_bytes
    pixels = torch.rand(20, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(
            lcomp.load(path.with_suffix(".lcomp"))(pixels), fold_normalization(copy.deepcopy(network))(pixels)
        )


def factors_of(layer):
    """The layer, or the two that stand in its place."""
    return list(layer) if isinstance(layer, nn.Sequential) else [layer]


def ranked(factor):
    """How many outputs a first factor has."""
    return len(factor.coded.integers if hasattr(factor, "coded") else factor.weight)


def keeps_its_promises(contract, *choices):
    """What techniques promise of the exported network they promise to `exports`; here is what all have in common."""
    made = contract(*(f"{family}={choice}" for family, choice in choices))
    network, path = made.exports()
    packs(network, path)
    parts = [factors_of(getattr(network, name)) for name in ("conv", "fc1", "fc2")]
    filters, hidden, _ = outputs = [len(factors[-1].bias) for factors in parts]
    if not any(technique.narrows for technique in made.module().techniques):  # the student still the student
        assert outputs == [4, 16, 10]
    assert isinstance(network.relu, nn.Identity) == ("relu" in made.spec.prune.get("layers", ()))
    inputs = (9, filters * 169, hidden)
    sizes = [
        ins * outs if len(factors) == 1 else ranked(factors[0]) * (ins + outs)
        for ins, outs, factors in zip(inputs, outputs, parts, strict=True)
    ]
    weights = sum(sizes)
    assert sum(array.size for array in stored_weights(network, path)) == weights
    assert of_graph(path).macs == weights + filters * 9 * (26**2 - 1)
    if "quant" in dict(choices):  # integers still integers
        assert sum(array.size for array in integer_weights(path)) == weights
    else:
        assert sum(p.numel() for p in network.parameters()) == weights + sum(outputs)
