"""The modules and techniques in bare Trainers and in other people's modules; a tutorial's code as it stands."""

import copy
import math
import re
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from onnx_graphs import integer_weights
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from training import QUIET, Watch, train, weights

from lcomp.data import MNISTDataModule
from lcomp.errors import UserError
from lcomp.models import LeNet5, SmallCNN
from lcomp.modules import BaselineModule, DistillationModule
from lcomp.tasks import ImageClassification
from lcomp.techniques.distillation import Distillation, Ensemble, LogitDistillation
from lcomp.techniques.pruning import Pruning
from lcomp.techniques.quantization import QuantizationAwareTraining

TUTORIAL = Path(__file__).parents[1] / "docs" / "tutorials" / "own_trainer.md"


@pytest.mark.slow
def test_the_tutorials_code_runs_as_it_stands(tmp_path, monkeypatch, digits):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", TUTORIAL.read_text(), re.DOTALL)
    assert len(blocks) == 2
    names: dict = {}
    torch.manual_seed(0)  # whatever tests ran before
    exec("\n".join(blocks), names)
    assert sorted(p.name for p in tmp_path.glob("*.onnx")) == [
        "small.onnx",
        "sparse.onnx",
        "student.onnx",
        "yours.onnx",
    ]
    for module, least in (("baseline", 0.8), ("student", 0.6), ("sparse", 0.8), ("small", 0.8), ("yours", 0.8)):
        network = names[module].network.eval()
        with torch.no_grad():
            seen = network(digits.validation.images / 255).argmax(1)
        assert (seen == digits.validation.labels).float().mean() > least, module
    zeros = sum(int((w == 0).sum()) for w in integer_weights(tmp_path / "yours.onnx"))
    assert zeros >= round(0.9 * 44_190)


def test_teacher_is_frozen_and_no_part_of_the_checkpoint(digits, trained):
    before = {key: value.clone() for key, value in trained.state_dict().items()}
    module = DistillationModule(SmallCNN(), trained, LogitDistillation())
    trainer = train(module, digits)
    assert all(torch.equal(before[key], value) for key, value in trained.state_dict().items())
    assert not any("teacher" in key for key in module.state_dict())
    assert sum(p.numel() for group in trainer.optimizers[0].param_groups for p in group["params"]) == 11_042


def test_teachers_lie_as_they_prefer_while_they_teach_and_as_they_were_afterwards(digits, trained):
    teachers = [trained, copy.deepcopy(trained)]

    class Look(pl.Callback):
        def on_train_batch_start(self, *_):
            assert all(one.conv2.weight.is_contiguous(memory_format=torch.channels_last) for one in teachers)

    train(DistillationModule(SmallCNN(), Ensemble(teachers, 3.0), LogitDistillation()), digits, callbacks=[Look()])
    assert all(p.is_contiguous() for one in teachers for p in one.parameters())


def test_carried_logits_are_the_teachers(digits, trained):
    try:
        digits.carry_outputs(trained)
        images, _, carried = next(iter(digits.train_dataloader()))
        assert torch.allclose(carried, trained(images), atol=1e-4)
    finally:
        digits.train.extra = ()


def test_carried_logits_give_the_loss_of_asking_the_teacher(digits, trained):
    asking = DistillationModule(SmallCNN(), trained, LogitDistillation(4, 0.3))
    reading = DistillationModule(asking.network, trained, LogitDistillation(4, 0.3), outputs_in_batch=True)
    images, labels = digits.train.images[:50].float() / 255, digits.train.labels[:50]
    asked = asking.loss((images, labels))
    assert torch.allclose(asked, reading.loss((images, labels, trained(images))))
    assert torch.equal(asked, asking.loss((images, labels, torch.zeros(50))))  # a third tensor of somebody's own


@pytest.mark.parametrize("objective", [LogitDistillation, Distillation])
def test_under_a_teacher_the_labels_loss_is_the_tasks(objective):
    class Doubled(ImageClassification):
        def loss(self, outputs, labels):
            return 2 * super().loss(outputs, labels)

    network, batch = SmallCNN(), (torch.rand(5, 1, 28, 28), torch.arange(5))
    plain = DistillationModule(network, network, objective(4, 0.3)).loss(batch)  # what its own teacher teaches is 0
    doubled = DistillationModule(network, network, objective(4, 0.3), task=Doubled()).loss(batch)
    expected = 0.3 * float(torch.nn.functional.cross_entropy(network(batch[0]), batch[1]))
    assert (float(plain), float(doubled)) == pytest.approx((expected, 2 * expected), abs=1e-6)


def test_teacher_is_asked_once_unless_the_images_are_perturbed(trained):
    asked = []

    class Counting(nn.Module):
        def forward(self, x):
            asked.append(len(x))
            return trained(x)

    plain = MNISTDataModule(dataset="mnist5k")
    assert plain.carry_outputs(Counting()) and sum(asked) == 3500
    noisy = MNISTDataModule(dataset="mnist5k", perturb={"rotation": {"severity": 3}})
    assert not noisy.carry_outputs(Counting()) and sum(asked) == 3500
    assert len(next(iter(noisy.train_dataloader()))) == 2


def test_techniques_act_in_the_order_of_their_stages():
    module = BaselineModule(LeNet5(), [QuantizationAwareTraining(8), Pruning(0.5)])
    assert [type(t) for t in module.techniques] == [Pruning, QuantizationAwareTraining]


def test_pruning_after_quantization_is_refused():
    network = LeNet5()
    QuantizationAwareTraining(8).prepare(network)
    with pytest.raises(UserError, match="name Pruning first"):
        Pruning(0.5).prepare(network)


def test_a_second_fit_goes_on_with_the_same_masks(digits):
    module = BaselineModule(SmallCNN(), [Pruning(0.8, interval=1)])
    train(module, digits)
    first = {name: weight == 0 for name, weight in weights(module.network).items()}
    train(module, digits)
    assert all(torch.equal(first[name], weight == 0) for name, weight in weights(module.network).items())


def test_the_logged_training_loss_is_the_mean_over_the_epochs_examples(digits):
    module, seen = BaselineModule(SmallCNN()), []
    module.loss = lambda batch: seen.append((len(batch[0]), BaselineModule.loss(module, batch))) or seen[-1][1]
    trainer = pl.Trainer(**QUIET, max_epochs=1)
    trainer.fit(module, DataLoader(TensorDataset(digits.train.images[:150] / 255, digits.train.labels[:150]), 64))
    mean = sum(count * float(loss.detach()) for count, loss in seen) / 150
    assert [count for count, _ in seen] == [64, 64, 22]
    assert float(trainer.callback_metrics["train_loss"]) == pytest.approx(mean, rel=1e-5)


def test_learning_rate_falls_to_zero_with_a_cosine(digits):
    module = BaselineModule(SmallCNN(), learning_rate=0.01, schedule="cosine")
    trainer = train(module, digits)
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0, abs=1e-9)
    with pytest.raises(UserError, match=r"trainer.warmup=1: a share of training"):
        BaselineModule(nn.Identity(), warmup=1)
    with pytest.raises(UserError, match=r"trainer.schedule=cosin: .* did you mean cosine"):
        BaselineModule(nn.Identity(), schedule="cosin")


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_learning_rate_rises_in_a_line_over_the_warm_up(digits, schedule):
    module = BaselineModule(SmallCNN(), learning_rate=0.01, schedule=schedule, warmup=0.25)
    watch = Watch(lambda module: module.trainer.optimizers[0].param_groups[0]["lr"])
    train(module, digits, callbacks=[watch])  # 20 steps; the rate seen is that of the coming step
    fall = [0.5 * (1 + math.cos(math.pi * step / 20)) if schedule == "cosine" else 1 for step in range(1, 21)]
    expected = [0.01 * min(1, (step + 1) / 5) * share for step, share in zip(range(1, 21), fall, strict=True)]
    assert watch.seen == pytest.approx(expected, abs=1e-9)


def test_a_subclass_may_have_a_training_step_of_its_own(digits):
    class Yours(BaselineModule):
        def training_step(self, batch, batch_idx):
            return self.loss(batch)

    assert train(Yours(SmallCNN()), digits).global_step == 20
