"""A network of several named inputs, of other kinds than pixels, under every family of techniques: it is pruned,
quantized, calibrated and cut as one of a single input is."""

import numpy as np
import pytest
import torch
from quickly import first_quickly
from torch import nn
from torch.utils.data import DataLoader

from lcomp.evaluation import measurement
from lcomp.export import export
from lcomp.modules import BaselineModule, DistillationModule
from lcomp.record.metric import Metric
from lcomp.runtimes import ONNXRuntime
from lcomp.tasks import Task
from lcomp.techniques.distillation import LogitDistillation
from lcomp.techniques.pruning import FilterPruning, LayerPruning, Pruning
from lcomp.techniques.quantization import QuantizationAwareTraining, StaticQuantization
from lcomp.training.fit import fit

WORDS, LENGTH = 12, 6


class MoreOf(Task):
    """Which of two words stands more often among those that the mask lets count."""

    metric = Metric()
    output, output_size = "logits", 2

    def inputs(self, batch):
        return {"ids": batch["ids"], "mask": batch["mask"]}

    def labels(self, batch):
        return batch["labels"]

    def loss(self, outputs, labels):
        return nn.functional.cross_entropy(outputs, labels)

    def metrics(self, outputs, labels):
        return {"accuracy": (outputs.argmax(1) == labels).float().mean()}

    def example_inputs(self, n):
        return {"ids": torch.zeros(n, LENGTH, dtype=torch.int64), "mask": torch.ones(n, LENGTH)}


class Reader(nn.Module):
    """The mean of the words' vectors that the mask lets count, then two layers."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(WORDS, 16)
        self.hidden, self.act, self.out = nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 2)

    def forward(self, ids, mask):
        mean = (self.words(ids) * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)
        return self.out(self.act(self.hidden(mean)))


def batch_of(n, seed=0):
    draw = torch.Generator().manual_seed(seed)
    ids = torch.randint(WORDS, (n, LENGTH), generator=draw)
    mask = (torch.rand(n, LENGTH, generator=draw) < 0.8).float()
    return {"ids": ids, "mask": mask, "labels": ((ids < 6) * mask).sum(1).gt(((ids >= 6) * mask).sum(1)).long()}


class Sentences:
    def train_dataloader(self):
        return DataLoader([batch_of(64, seed) for seed in range(30)], batch_size=None)

    def val_dataloader(self):
        return DataLoader([batch_of(200, 1000)], batch_size=None)


@pytest.fixture(scope="module")
def learned():
    torch.manual_seed(0)
    module = BaselineModule(Reader(), learning_rate=0.01, task=MoreOf())
    fit(module, Sentences(), 6, 0, progress=False)
    return module.network


def copy_of(network):
    other = Reader()
    other.load_state_dict(network.state_dict())
    return other


def answers(network, n=200):
    given = batch_of(n, 5)
    with torch.no_grad():
        return network.eval()(given["ids"], given["mask"])


TECHNIQUES = {  # those at the end are a part of `both`
    "filters": lambda: [FilterPruning(0.5, end=0.5, interval=5)],
    "layers": lambda: [LayerPruning(["act"])],
    "both": lambda: [Pruning(0.5, end=0.5, interval=5), QuantizationAwareTraining(8)],
    "static": lambda: [StaticQuantization(8, calibration_images=500)],
    "pruning": lambda: [Pruning(0.5, end=0.5, interval=5)],
    "qat": lambda: [QuantizationAwareTraining(8)],
}


@pytest.mark.parametrize("name", first_quickly(TECHNIQUES, 4))
def test_it_learns_is_deployed_and_its_artifact_gives_the_same(name, learned, tmp_path):
    techniques, task, network = TECHNIQUES[name](), MoreOf(), copy_of(learned)
    for technique in techniques:
        technique.check(network, task.inputs(batch_of(8)))
    if name == "static":
        module = BaselineModule(network, techniques, task=task)
        techniques[0].prepare(network)
    else:
        module = DistillationModule(
            network, learned, LogitDistillation(temperature=2), techniques, learning_rate=0.01, task=task
        )
        fit(module, Sentences(), 4, 0, progress=False)
    deployed = module.finalize(module.calibration(Sentences()))
    export(deployed, tmp_path / "artifact.onnx", task)
    given = {key: value.numpy() for key, value in task.inputs(batch_of(200, 5)).items()}
    logits = measurement.artifact_outputs(ONNXRuntime().session(tmp_path / "artifact.onnx"), given)
    assert np.array_equal(logits.argmax(1), answers(deployed).argmax(1).numpy())
    right = (logits.argmax(1) == batch_of(200, 5)["labels"].numpy()).mean()
    assert right > 0.85, right
    if name in ("pruning", "both"):
        integers = [m for m in deployed.modules() if hasattr(m, "integers")]
        weights = [m.integers for m in integers] or [deployed.hidden.weight, deployed.out.weight]
        assert sum(int((w == 0).sum()) for w in weights) >= 0.5 * sum(w.numel() for w in weights)
    if name == "filters":
        assert deployed.hidden.weight.shape == (6, 16) and deployed.out.weight.shape == (2, 6)
    if name == "layers":
        assert isinstance(deployed.act, nn.Identity)
