"""Techniques keep the contract on an encoder of two layers, together with those of other families."""

import copy

import pytest
import sentences
import torch
from quickly import first_quickly
from torch import nn

import lcomp
from lcomp.config import run_config
from lcomp.export.onnx_export import fold_normalization
from lcomp.models import Bert
from lcomp.modules import BaselineModule
from lcomp.packed import pack
from lcomp.testing import TechniqueContract
from lcomp.training.fit import fit

MODEL = {"_target_": "lcomp.models.Bert", "layers": 2, "width": 16, "heads": 2, "feed_forward": 32, "dropout": 0.0}
OWN = {
    "prune=layers": ["prune.layers=[layers.1]"],
    "quant=entropy": ["quant.rate=0.0001"],
}  # what fits an encoder so small
ELSEWHERE = {"attention", "data_free", "fitnets", "vid"}  # they draw images, or read maps
ELSEWHERE |= {"filter"}  # heads of several numbers each: test_encoders.py


def choices(family):
    found = [path.stem for path in sorted((run_config.folder() / family).glob("*.yaml"))]
    return [f"{family}={choice}" for choice in found if choice not in ELSEWHERE | {"none"}]


KD, PRUNE, QUANT = map(choices, ("kd", "prune", "quant"))
ROWS = [
    f"{KD[row % len(KD)]} {PRUNE[row % len(PRUNE)]} {QUANT[row % len(QUANT)]}"
    for row in range(max(map(len, (KD, PRUNE, QUANT))))
]  # each technique stands in one at least


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return sentences.data(tmp_path_factory.mktemp("sentences"))


@pytest.fixture(scope="module")
def teacher(data):
    torch.manual_seed(0)
    module = BaselineModule(Bert(3, 32, 2, 64, dropout=0.0, **data.task.arguments), learning_rate=0.003, task=data.task)
    fit(module, data, 2, seed=0, progress=False)
    return module.network.eval().requires_grad_(False)


@pytest.fixture
def contract(data, teacher, tmp_path):
    def made(*chosen):
        further = [one for choice in chosen for one in OWN.get(choice, ())]
        return TechniqueContract([*chosen, *further], data, teacher, tmp_path, model=MODEL)

    yield made
    data.train.extra = ()


@pytest.mark.parametrize("row", first_quickly(ROWS))
def test_three_families_keep_their_promises_on_sentences(contract, data, row, tmp_path):
    network, path = contract(*row.split()).exports()
    assert isinstance(network.layers[1], nn.Identity) == ("prune=layers" in row)
    pack(path, path.with_suffix(".lcomp"))
    ids, mask, *_ = next(iter(data.test_dataloader()))
    with torch.no_grad():
        rebuilt = lcomp.load(path.with_suffix(".lcomp"))(ids, mask)
        assert torch.allclose(rebuilt, fold_normalization(copy.deepcopy(network))(ids, mask), atol=1e-5)


@pytest.mark.parametrize("choice", first_quickly(["kd=tinybert", "kd=minilm", "prune=filter", "quant=qat"]))
def test_techniques_resume_to_the_same_weights_on_sentences(contract, choice):
    contract(choice).resumes()
