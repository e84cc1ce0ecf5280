"""Contrastive distillation is the paper's formula; what it remembers is by example, resumes, and is not exported."""

import math
import re

import hydra
import pytest
import pytorch_lightning as pl
import torch
from omegaconf import OmegaConf
from quickly import first_quickly
from test_configuration import compose
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lcomp.config import run_config
from lcomp.config.run_spec import parse
from lcomp.data import MNISTDataModule
from lcomp.errors import UserError
from lcomp.models import LeNet5, SmallCNN
from lcomp.modules import DistillationModule
from lcomp.run import run
from lcomp.techniques.distillation import CRD, Distillation
from lcomp.techniques.distillation.weighted import Setting
from lcomp.testing import TechniqueContract
from lcomp.training import components

SHAPE = (1, 28, 28)
LABELS = torch.tensor([0, 1, 2, 0, 1, 2, 2, 0, 0, 1])


class Vectors(nn.Module):
    """What a network of 4 features that reads them is."""

    def __init__(self, width=4):
        super().__init__()
        self.linear = nn.Linear(width, 3)

    def forward(self, x):
        return self.linear(x)


def prepared(labels=LABELS, seed=0, **settings):
    made = CRD(**{"negatives": 5, "dimension": 3, "temperature": 0.5} | settings)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made.prepare(Vectors(), Vectors(), Setting((4,), labels, seed))
    return made


def batch(seed, many=4):
    random = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, many, 4, 1, 1, generator=random)
    indices = torch.randperm(len(LABELS), generator=random)[:many]
    return student, teacher, LABELS[indices], indices


def dot(one, other):
    return sum(a * b for a, b in zip(one, other, strict=True))


def embedded(layer, features):
    rows = layer(features.flatten(1)).tolist()
    return [[value / math.hypot(*row) for value in row] for row in rows]


class ByHand:
    """The paper's h = (e^s / Z) / (e^s / Z + K / M) of each pair, Z from the first batch, in loops."""

    def __init__(self, crd):
        self.memories = [crd.teacher_memory.tolist(), crd.student_memory.tolist()]
        self.constants = [None, None]

    def side(self, number, features, indices, chosen, temperature):
        memory, examples, loss = self.memories[number], len(self.memories[number]), 0.0
        scores = [
            [math.exp(dot(one, memory[j]) / temperature) for j in (int(i), *others)]
            for one, i, others in zip(features, indices, chosen.tolist(), strict=True)
        ]
        if self.constants[number] is None:
            everything = [value for row in scores for value in row]
            self.constants[number] = sum(everything) / len(everything) * examples
        for positive, *negatives in scores:
            h = [value / self.constants[number] for value in (positive, *negatives)]
            h = [value / (value + len(negatives) / examples) for value in h]
            loss -= math.log(h[0]) + sum(math.log(1 - value) for value in h[1:])
        return loss / len(scores)

    def loss(self, crd, student, teacher, indices, chosen):
        own, given = embedded(crd.embed_student, student), embedded(crd.embed_teacher, teacher)
        loss = sum(self.side(side, rows, indices, chosen, crd.temperature) for side, rows in enumerate((own, given)))
        for memory, rows in zip(self.memories, (given, own), strict=True):
            for i, row in zip(indices.tolist(), rows, strict=True):
                mixed = [crd.momentum * old + (1 - crd.momentum) * new for old, new in zip(memory[i], row, strict=True)]
                memory[i] = [value / math.hypot(*mixed) for value in mixed]
        return loss


def test_loss_constant_and_memories_are_those_of_the_paper():
    crd = prepared(momentum=0.3)
    by_hand = ByHand(crd)
    for number in range(3):
        student, teacher, labels, indices = batch(number)
        expected = by_hand.loss(crd, student, teacher, indices, crd.draw(indices))
        assert crd(student, teacher, labels, indices).item() == pytest.approx(expected, rel=1e-4)
    assert torch.allclose(crd.teacher_memory, torch.tensor(by_hand.memories[0]), atol=1e-5)
    assert torch.allclose(crd.student_memory, torch.tensor(by_hand.memories[1]), atol=1e-5)


def test_within_a_batch_the_current_features_of_other_classes_are_held_against():
    crd = prepared(labels=None, contrast="batch")
    assert not crd.reads_indices and not hasattr(crd, "student_memory")
    constants = None
    for number in range(2):
        student, teacher, _, _ = batch(number)
        labels = torch.tensor([0, 1, 1, 2])
        own, given = embedded(crd.embed_student, student), embedded(crd.embed_teacher, teacher)
        scores = [[math.exp(dot(one, other) / 0.5) for other in given] for one in own]
        others = [(i, j) for i in range(4) for j in range(4) if labels[i] != labels[j]]
        if constants is None:
            used = [scores[i][i] for i in range(4)] + [scores[i][j] for i, j in others]
            constants = sum(used) / len(used)
        count = [3, 2, 2, 3]
        expected = 0.0
        for i in range(4):
            expected -= 2 * math.log(scores[i][i] / constants / (scores[i][i] / constants + count[i]))
            for j in (j for k, j in others if k == i):
                for score in (scores[i][j], scores[j][i]):
                    expected -= math.log(count[i] / (score / constants + count[i]))
        assert crd(student, teacher, labels, None).item() == pytest.approx(expected / 4, rel=1e-4)


@pytest.mark.parametrize("labels", [[0, 0], [0, 1]])
def test_a_batch_without_another_class_is_no_error(labels):
    crd = prepared(labels=None, contrast="batch")
    student, teacher, _, _ = batch(0, 2)
    for part in (slice(0, 2), slice(0, 1)):
        assert crd(student[part], teacher[part], torch.tensor(labels)[part], None).isfinite()
    one = prepared()
    assert one(student[:1], teacher[:1], LABELS[:1], torch.tensor([0])).isfinite()


def test_what_is_drawn_is_of_another_class_and_each_as_often():
    labels = torch.tensor([2, 0, 0, 5, 2, 0, 0, 5, 0, 2])  # classes 1, 3 and 4 have no example
    crd = prepared(labels, negatives=5)
    counts = torch.zeros(10, 10)
    for _ in range(400):
        chosen = crd.draw(torch.arange(10))
        assert chosen.shape == (10, 5)
        counts.scatter_add_(1, chosen, torch.ones(10, 5))
        crd.batches += 1
    for i in range(10):
        others = labels != labels[i]
        assert counts[i][~others].sum() == 0
        expected = 2000 / int(others.sum())
        assert (counts[i][others] - expected).abs().max() < 5 * expected**0.5


def test_no_more_is_drawn_than_there_are_others_and_one_class_is_refused():
    assert prepared(negatives=16384).drawn == 6  # of the class of 4 among 10
    with pytest.raises(UserError, match=r"kd.objectives.crd: all 4 training examples are of one class"):
        prepared(torch.zeros(4, dtype=torch.int64))


def test_what_is_drawn_follows_seed_and_batches_alone():
    crd, again, other, indices = prepared(seed=3), prepared(seed=3), prepared(seed=4), torch.arange(10)
    first = crd.draw(indices)
    torch.rand(5)
    assert torch.equal(first, again.draw(indices)) and torch.equal(first, crd.draw(indices))
    assert not torch.equal(first, other.draw(indices))
    crd.batches += 1
    assert not torch.equal(first, crd.draw(indices))


def test_preparing_again_forgets_what_was_before():
    crd = prepared()
    fresh = {name: value.clone() for name, value in crd.state_dict().items()}
    crd(*batch(0))
    assert not torch.equal(fresh["student_memory"], crd.student_memory)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        crd.prepare(Vectors(), Vectors(), Setting((4,), LABELS, 0))
    assert all(torch.equal(fresh[name], value) for name, value in crd.state_dict().items())


def made(digits, trained, *overrides):
    spec = parse(compose("kd=crd", "kd.objectives.crd.negatives=64", *overrides))
    objective, techniques = components.make_techniques(spec)
    return components.make_module(spec, digits, SmallCNN(), trained, objective, techniques)


@pytest.fixture
def numbered(digits):
    yield digits
    digits.train.extra = ()


def test_batches_carry_the_numbers_of_their_examples(numbered, trained):
    module = made(numbered, trained)
    assert module.indices_in_batch and not module.outputs_in_batch
    images, labels, indices = next(iter(module.batches(numbered)))
    assert torch.equal(numbered.train.images[indices].float() / 255, images)
    assert torch.equal(numbered.train.labels[indices], labels)
    crd = module.objective.parts["crd"]
    assert crd.student_memory.shape == (len(numbered.train), 128)
    assert crd.embed_student.in_features == 16 and crd.embed_teacher.in_features == 84
    before = crd.student_memory.clone()
    module.loss((images, labels, indices)).backward()
    changed = (before != crd.student_memory).any(1).nonzero().flatten()
    assert torch.equal(changed, indices.sort().values)
    assert all(layer.weight.grad.abs().max() > 0 for layer in (crd.embed_student, crd.embed_teacher))


def test_memories_are_in_the_checkpoint_and_not_in_what_is_exported(numbered, trained, tmp_path):
    contract = TechniqueContract(["kd=crd"], numbered, trained, tmp_path)
    network, path = contract.exports()
    module = contract.module()
    assert {
        f"objective.objectives.crd.{name}" for name in ("student_memory", "teacher_memory", "batches", "log_means")
    } < {*module.state_dict()}
    assert contract.spec.config["kd"]["objectives"]["crd"]["negatives"] == 64
    assert path.stat().st_size < 60_000 and sum(p.numel() for p in network.state_dict().values()) < 12_000


def test_data_that_do_not_number_their_examples_are_told_what_to_choose():
    with pytest.raises(UserError, match=r"crd.contrast=memory: must know which .*carry_indices.*crd.contrast=batch"):
        DistillationModule(SmallCNN(), LeNet5(), Distillation(objectives={"crd": CRD()}), input_shape=SHAPE)
    objective = Distillation(objectives={"crd": CRD(contrast="batch")})
    module = DistillationModule(SmallCNN(), LeNet5(), objective, input_shape=SHAPE)
    assert module.loss((torch.rand(4, *SHAPE), torch.tensor([1, 2, 3, 1]))).isfinite()


def test_half_precision_is_not_felt():
    crd, (student, teacher, labels, indices) = prepared(), batch(0)
    expected = prepared()(student.bfloat16().float(), teacher, labels, indices)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(crd(student.bfloat16(), teacher, labels, indices), expected)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"contrast": "queue"}, "contrast=queue: .*memory.*batch"),
        ({"negatives": 0}, "negatives=0: a whole number, 1 or more"),
        ({"negatives": 2.5}, "negatives=2.5: a whole number"),
        ({"dimension": True}, "dimension=True: a whole number"),
        ({"temperature": 0}, "temperature=0: must be above 0"),
        ({"momentum": 1.0}, "momentum=1.0: a share of what is remembered, from 0 to below 1"),
    ],
)
def test_impossible_settings_are_refused_by_name(settings, message):
    with pytest.raises(UserError, match=f"kd.objectives.crd.{message}"):
        CRD(**settings)


class Loaders(pl.LightningDataModule):
    """Digits as a user has them, in DataLoaders of his own."""

    num_classes, input_shape = 10, SHAPE

    def setup(self, stage):
        self.digits = MNISTDataModule(dataset="mnist5k")

    def loader(self, split, **settings):
        part = getattr(self.digits, split)
        return DataLoader(TensorDataset(part.images[:320].float() / 255, part.labels[:320]), 64, **settings)

    def train_dataloader(self):
        return self.loader("train", shuffle=True)

    def val_dataloader(self):
        return self.loader("validation")

    def test_dataloader(self):
        return self.loader("test")


class Numbered(Loaders):
    """The same, with the number of each example behind its label."""

    def carry_indices(self):
        return self.digits.train.labels[:320]

    def train_dataloader(self):
        part = self.digits.train
        columns = part.images[:320].float() / 255, part.labels[:320], torch.arange(320)
        return DataLoader(TensorDataset(*columns), 64, shuffle=True)


class Subclass(MNISTDataModule):
    """lcomp's own, with another name."""


SHORT = ["trainer.max_epochs=1", "baseline.trainer.max_epochs=1", "progress=false", "measure.latency_runs=1"]
SHORT += ["logger=none", "kd.objectives.crd.negatives=64"]


def run_on(tmp_path, data, *overrides, kd="crd"):
    with hydra.initialize_config_dir(str(run_config.folder().resolve()), version_base="1.3"):
        cfg = hydra.compose("config", [f"kd={kd}", *SHORT, f"baseline.cache={tmp_path / 'cache'}", *overrides])
    OmegaConf.update(cfg, "data", data, merge=False)
    return run(cfg, tmp_path / "run", [])


@pytest.mark.parametrize(
    ("data", "overrides"),
    first_quickly(
        [
            ({"_target_": "test_crd.Numbered"}, []),
            ({"_target_": "test_crd.Loaders"}, ["kd.objectives.crd.contrast=batch"]),
            ({"_target_": "test_crd.Subclass", "dataset": "mnist5k", "epoch_examples": 512}, []),
        ]
    ),
)
def test_a_users_own_data_are_contrasted(data, overrides, tmp_path):
    result = run_on(tmp_path, data, *overrides)
    assert result.status == "ok", result.error
    assert all(value > 0 for value in result.epochs["objective/crd"])


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ([], "kd.objectives.crd.contrast=memory: must know which training example each is"),
        (
            ["kd.objectives.crd.contrast=batch", "kd.objectives.crd.teacher_layer=members.2.fc3", "kd.ensemble=2"],
            "kd.objectives.crd.teacher_layer=members.2.fc3: no layer of Ensemble; they are .*members.1.fc3",
        ),
        (
            ["kd.objectives.crd.contrast=batch", "kd.objectives.crd.student_layer=head"],
            "kd.objectives.crd.student_layer=head: no layer of SmallCNN",
        ),
    ],
    ids=["memory", "teacher", "student"],
)
def test_what_cannot_be_contrasted_is_refused_before_the_baseline_trains(overrides, said, tmp_path):
    result = run_on(tmp_path, {"_target_": "test_crd.Loaders"}, *overrides)
    assert result.status == "failed" and re.search(said, result.error), result.error
    assert not list(tmp_path.rglob("entry.json"))


@pytest.mark.slow
@pytest.mark.parametrize(("kd", "ensemble"), [("self_distillation", 1), ("teacher_assistant", 1), ("logit", 2)])
def test_new_objectives_go_together_with_chains_ensembles_and_other_families(kd, ensemble, tmp_path):
    data = {"_target_": "lcomp.data.MNISTDataModule", "dataset": "mnist5k", "epoch_examples": 512}
    asked = [f"kd.ensemble={ensemble}", "kd/objectives=[crd,dkd,rkd]", "prune=filter", "quant=qat"]
    result = run_on(tmp_path, data, *asked, kd=kd)
    assert result.status == "ok", result.error
    assert {f"objective/{name}" for name in ("crd", "dkd", "rkd")} <= result.epochs.keys()
