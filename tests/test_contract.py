"""Every technique that has a YAML keeps the contract, alone and beside every technique of the other families."""

import copy
import itertools

import numpy as np
import pytest
import torch
from onnx_graphs import integer_weights
from torch import nn

import lcomp
from lcomp.config import run_config
from lcomp.evaluation.size import of_file, of_graph
from lcomp.export.onnx_export import fold_normalization
from lcomp.packed import pack
from lcomp.testing import TechniqueContract, covering

TECHNIQUES = [
    (family, path.stem)
    for family in run_config.FAMILIES
    for path in sorted((run_config.folder() / family).glob("*.yaml"))
    if path.stem != "none"
]


def quick(family, choice):
    """Overrides that let a technique act within 40 steps."""
    named = [f"{family}={choice}"]
    if choice == "lottery_ticket":  # as few weights' trainings as there can be
        return [*named, "prune.rounds=1"]
    if (family, choice) == ("prune", "layers"):  # all of the small network that keeps its shape
        return [*named, "prune.layers=[relu]"]
    if choice == "data_free":  # a smaller generator
        return [*named, "kd.width=4", "kd.batch_size=64"]
    return named + (["prune.interval=5"] if family == "prune" and choice != "constant" else [])


@pytest.fixture
def contract(digits, trained, tmp_path):
    # A generator from fresh weights has drawn nothing in 40 steps that a student could know digits from.
    yield lambda *overrides: TechniqueContract(
        overrides, digits, trained, tmp_path, -1 if "kd=data_free" in overrides else 0.3
    )
    digits.train.extra = ()


def test_every_family_has_a_technique_and_its_default():
    assert set(run_config.FAMILIES.items()) <= set(TECHNIQUES)


@pytest.mark.parametrize(("family", "choice"), TECHNIQUES)
def test_technique_resumes_to_the_same_weights(contract, family, choice):
    contract(*quick(family, choice)).resumes()


PARTS = [
    f"prune/{part}={path.stem}"
    for part in ("criterion", "schedule")
    for path in sorted((run_config.folder() / "prune" / part).glob("*.yaml"))
]


@pytest.mark.parametrize("part", PARTS)
def test_part_of_pruning_resumes_to_the_same_weights(contract, part):
    contract("prune=scheduled", part, "prune.interval=5").resumes()


@pytest.mark.parametrize("part", [path.stem for path in sorted((run_config.folder() / "quant/range").glob("*.yaml"))])
def test_range_estimator_resumes_to_the_same_weights(contract, part):
    contract("quant=qat", f"quant/range={part}").resumes()


@pytest.mark.parametrize(("family", "choice"), TECHNIQUES)
def test_technique_keeps_its_promises_alone(contract, family, choice):
    keeps_its_promises(contract, (family, choice))


CHOICES = {family: [choice for f, choice in TECHNIQUES if f == family] for family in run_config.FAMILIES}
ROWS = covering(CHOICES)


def test_every_pair_of_choices_stands_in_a_row():
    for one, other in itertools.combinations(TECHNIQUES, 2):
        assert one[0] == other[0] or any(one in row.items() and other in row.items() for row in ROWS), (one, other)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: "-".join(row.values()))
def test_all_three_families_keep_their_promises_together(contract, row):
    keeps_its_promises(contract, *row.items())


def packs(network, path):
    """The packed form is smaller than the artifact under gzip, and rebuilds the network's logits to the bit."""
    pack(path, path.with_suffix(".lcomp"))
    assert path.with_suffix(".lcomp").stat().st_size < 0.92 * of_file(path)["gzip_bytes"]
    pixels = torch.rand(20, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(
            lcomp.load(path.with_suffix(".lcomp"))(pixels), fold_normalization(copy.deepcopy(network))(pixels)
        )


def keeps_its_promises(contract, *techniques):
    made = contract(*(override for technique in techniques for override in quick(*technique)))
    network, path = made.exports()
    packs(network, path)
    cfg, families = made.cfg, dict(techniques)
    parameters = sum(p.numel() for p in network.parameters())
    outputs = [len(getattr(network, name).bias) for name in ("conv", "fc1", "fc2")]
    if families.get("prune") == "filter":  # half of the 20 channels gone, one of each layer left
        filters, hidden, _ = outputs
        assert filters + hidden == 10 and min(filters, hidden) > 0 and outputs[2] == 10
        left, biases = filters * 9 + hidden * filters * 169 + 10 * hidden, 20
        assert of_graph(path)["macs"] == filters * 9 * 26**2 + hidden * filters * 169 + 10 * hidden
    else:
        assert outputs == [4, 16, 10]
        left, biases = 11_042 - 30, 30
    assert isinstance(network.relu, nn.Identity) == (families.get("prune") == "layers")
    if "quant" in families:  # integers still integers
        integers = integer_weights(path)
        largest = max(int(np.abs(w).max()) for w in integers)
        within = {
            "shared": range(16, 32),
            "mixed": (1, 3, 7, 127),
            "lsq": range(2, 128),
            "entropy": range(2, 8),
        }  # a learned step need not reach its end
        assert largest in within.get(families["quant"], (127,))
        weights = [torch.tensor(w) for w in integers]
    else:
        weights = [p for p in network.parameters() if p.dim() > 1]
        assert parameters == left + biases  # the student still the student
    assert sum(w.numel() for w in weights) == left
    if families.get("prune") not in (None, "filter", "layers"):  # zeros still zero
        zeros = sum(int((w == 0).sum()) for w in weights)
        if families["prune"] == "n_m":  # two of each whole group of four
            expected = 4 * 2 * 2 + 16 * 169 * 2 + 10 * 4 * 2
        else:
            expected = round(cfg.prune.sparsity * (11_042 - 30))
        if families["prune"] in ("gated", "adaptive"):  # as many as the network allows
            assert zeros > 0
        elif "quant" in families:
            assert zeros >= expected  # rounding adds some
        else:
            assert zeros == expected
