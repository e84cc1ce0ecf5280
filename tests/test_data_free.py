"""Distillation without data: the losses, who moves whom, and that no training image is read."""

import hydra
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader

from lcomp.config import run_config
from lcomp.data.datamodule import Examples
from lcomp.errors import UserError
from lcomp.models import LeNet5, SmallCNN
from lcomp.modules import DataFreeModule
from lcomp.modules.data_free import ReplayBuffer
from lcomp.run import run
from lcomp.tasks import ImageClassification
from lcomp.techniques.distillation import DataFreeDistillation, Ensemble
from lcomp.techniques.distillation.data_free import (
    Generator,
    activation_loss,
    information_loss,
    one_hot_loss,
    reverse_gradient,
)
from lcomp.training import components
from lcomp.training.fit import save
from lcomp.training.weights_file import load_weights


def made(teacher=None, **settings):
    objective = DataFreeDistillation(**{"batch_size": 8, "width": 4, "latent": 5, "memory": 16} | settings)
    return DataFreeModule(SmallCNN(), teacher or LeNet5(), objective)


def test_losses_are_the_formulas():
    logits, features = torch.randn(7, 10, dtype=torch.float64) * 3, torch.randn(7, 5, dtype=torch.float64)
    p = logits.softmax(1)
    assert one_hot_loss(logits) == pytest.approx(float(-p.max(1).values.log().mean()))
    assert activation_loss(features) == pytest.approx(-sum(abs(v) for row in features.tolist() for v in row) / 35)
    mean = p.mean(0)
    assert information_loss(logits) == pytest.approx(float((mean * mean.log()).sum()))
    assert information_loss(100 * torch.eye(10)) == pytest.approx(-torch.tensor(10.0).log())  # all classes: the least
    weighted = DataFreeDistillation(one_hot=2, activation=3, information=4).generator_loss(logits, features)
    parts_ = 2 * one_hot_loss(logits) + 3 * activation_loss(features) + 4 * information_loss(logits)
    assert weighted == pytest.approx(float(parts_))


@pytest.mark.parametrize("adversarial", [0.0, 0.7])
def test_each_loss_moves_its_own_network(adversarial):
    """The student's gradient is that of its loss alone; the generator climbs `adversarial` times the same loss."""
    module, latents = made(adversarial=adversarial, replays=0), torch.randn(8, 5)
    module.training_step([latents, torch.rand(1, 8)], 0).backward()
    images = module.generator(latents)
    logits = module.teacher(images)
    kd = F.kl_div(module.network(images).log_softmax(1), logits.softmax(1), reduction="batchmean")
    own, generators = list(module.network.parameters()), list(module.generator.parameters())
    for seen, expected in zip(own, torch.autograd.grad(kd, own, retain_graph=True), strict=True):
        assert torch.allclose(seen.grad, expected, atol=1e-5)
    hidden = module.teacher.fc2(module.teacher.fc1(module.teacher.flatten(features(module.teacher, images))).relu())
    loss = module.free.generator_loss(logits, hidden.relu()) - adversarial * kd
    for seen, expected in zip(generators, torch.autograd.grad(loss, generators), strict=True):
        assert torch.allclose(seen.grad, expected, atol=1e-4)
    assert all(p.grad is None for p in module.teacher.parameters()) and not module.teacher.training
    assert not any(m._forward_pre_hooks for m in module.teacher.modules())


def test_what_was_drawn_before_is_learned_again():
    """The second step's loss is the new images' and `replays` times that of remembered ones."""
    module, latents = made(replays=2, memory=8), torch.randn(8, 5)
    shares = torch.rand(3, 8)
    module.training_step([latents, shares], 0)
    assert module.memory.seen == 8
    drawn, logits = module.memory.sample(torch.arange(8) / 8 + 0.01)
    assert torch.allclose(drawn, module.generator(latents), atol=0.5 / 255 + 1e-6)
    assert torch.allclose(module.teacher(drawn), logits, atol=0.1)
    places = (shares[1:].flatten() * 8).long()
    new = torch.rand(8, 1, 28, 28)
    answers = module.teacher(new)
    loss = module.student_loss(new, answers, shares[1:])

    def kd(images, targets):
        return F.kl_div(module.network(images).log_softmax(1), targets.softmax(1), reduction="batchmean")

    assert torch.allclose(loss, kd(new, answers) + 2 * kd(drawn[places], logits[places]), rtol=1e-4)
    loss = module.training_step([torch.randn(8, 5), shares], 0)
    loss.backward()
    assert not torch.equal(module.memory.sample(torch.arange(8) / 8 + 0.01)[0], drawn)  # new ones took places


def test_a_memory_keeps_all_while_there_is_room():
    memory = ReplayBuffer(5, (1, 2, 2), 3)
    for number in range(2):
        memory.write(torch.full((2, 1, 2, 2), (1 + number) / 255), torch.full((2, 3), 1.0 + number), torch.zeros(2))
    assert memory.seen == 4 and memory.logits[:, 0].tolist() == [1, 1, 2, 2, 0]
    assert (memory.images[:, 0, 0, 0]).tolist() == [1, 1, 2, 2, 0]
    memory.write(torch.full((2, 1, 2, 2), 9 / 255), torch.full((2, 3), 9.0), torch.tensor([0.3, 0.99]))
    assert memory.logits[:, 0].tolist() == [1, 9, 2, 9, 0]
    images, logits = memory.sample(torch.tensor([0.0, 0.3, 0.999]))
    assert (images[:, 0, 0, 0] * 255).tolist() == pytest.approx([1, 9, 9]) and logits[:, 0].tolist() == [1, 9, 9]


def test_a_pen_leaves_ink_along_its_curves():
    """A generator whose curves are one straight line across the middle: ink there, none far from it."""
    generator = Generator(5, (1, 28, 28), 4, strokes=1, points=20).eval()
    last = generator.network[-1]
    line = torch.tensor([[0.0, x] for x in (-0.9, -0.3, 0.3, 0.9)]).atanh().flatten()  # (down, across) of each control
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(torch.cat([line, torch.tensor([0.0])]))
        [image] = generator(torch.randn(1, 5))[:, 0]
    assert torch.allclose(image, image.flip(0), atol=1e-5) and torch.allclose(image, image.flip(1), atol=1e-5)
    rows = image.sum(1)
    assert rows[11:17].sum() > 0.95 * rows.sum() and rows[:9].max() < 1e-3
    assert image[13, 6:22].min() > 0.5 and image[13, :2].max() < 0.01  # ends 9 pixels left and right of the middle


def test_a_reversed_gradient_is_minus_the_weight_times_it():
    x = torch.randn(5, dtype=torch.float64, requires_grad=True)
    y = reverse_gradient(x, 0.25)
    assert torch.equal(y, x)
    assert torch.allclose(torch.autograd.grad((y**3).sum(), x)[0], -0.25 * 3 * x.detach() ** 2)
    assert not reverse_gradient(x, 0).requires_grad


def features(teacher, images):
    return teacher.pool(teacher.conv2(teacher.pool(teacher.conv1(teacher.normalize(images)))))


def test_features_of_several_teachers_are_those_of_each():
    module = made(Ensemble([LeNet5(), LeNet5()], 1.0))
    logits, seen = module.ask(torch.rand(3, 1, 28, 28))
    assert logits.shape == (3, 10) and seen.shape == (3, 2 * 84)


def test_a_teacher_without_a_linear_layer_is_refused():
    with pytest.raises(UserError, match="kd=data_free: Flatten has no Linear layer"):
        made(nn.Flatten())


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 30), (2, 9, 7)])
def test_images_have_the_datas_shape_and_range(shape):
    images = Generator(5, shape, 6)(torch.randn(4, 5))
    assert images.shape == (4, *shape) and images.min() >= 0 and images.max() <= 1


def test_the_generator_has_a_learning_rate_of_its_own():
    module = made(generator_learning_rate=0.5)
    first, second = module.configure_optimizers().param_groups
    assert (first["lr"], second["lr"]) == (0.001, 0.5)
    assert sum(p.numel() for p in first["params"]) == 11_042
    assert {id(p) for p in second["params"]} == {id(p) for p in module.generator.parameters()}


def test_latents_are_a_function_of_seed_epoch_and_step(digits):
    def drawn(seed, epoch):
        module = DataFreeModule(SmallCNN(), LeNet5(), DataFreeDistillation(), seed=seed)
        loader = module.batches(digits)
        loader.sampler.set_epoch(epoch)
        batches = iter(loader)
        return torch.stack([next(batches)[0] for _ in range(2)])

    first = drawn(0, 1)
    assert torch.equal(first, drawn(0, 1)) and first.shape == (2, 256, 100) and not torch.equal(*first)
    assert not torch.equal(first, drawn(0, 2)) and not torch.equal(first, drawn(1, 1))
    assert len(made().batches(digits)) == len(digits.train_dataloader())


def test_the_generators_first_weights_are_its_seeds(digits):
    torch.rand(3)
    one = made().generator.state_dict()
    torch.rand(5)
    assert all(torch.equal(one[key], value) for key, value in made().generator.state_dict().items())


def test_a_checkpoint_is_a_teacher_without_its_generator(tmp_path):
    module = made()
    back = load_weights(save(module, tmp_path), SmallCNN()).state_dict()
    assert all(torch.equal(back[key], value) for key, value in module.network.state_dict().items())


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 0},
        {"one_hot": -1},
        {"adversarial": -1},
        {"latent": 0},
        {"batch_size": 1},
        {"strokes": 0},
        {"replays": -1},
        {"memory": 100},
        {"generator_learning_rate": 0},
    ],
)
def test_impossible_settings_are_refused_by_name(settings):
    with pytest.raises(UserError, match=f"kd.{next(iter(settings))}="):
        DataFreeDistillation(**settings)


class Signals(ImageClassification):
    def example_inputs(self, n):
        return {"signal": torch.zeros(n, 1, 28, 28)}


def test_a_task_without_pixels_is_refused_before_the_baseline_trains(monkeypatch, tmp_path):
    with pytest.raises(UserError, match="kd=data_free: draws images; the task's inputs are signal"):
        DataFreeModule(SmallCNN(), LeNet5(), DataFreeDistillation(), task=Signals())
    monkeypatch.setattr(ImageClassification, "example_inputs", Signals.example_inputs)
    monkeypatch.setattr(ImageClassification, "inputs", lambda self, batch: {"signal": batch[0]})
    with hydra.initialize_config_dir(str(run_config.folder().resolve()), version_base="1.3"):
        cfg = hydra.compose("config", ["kd=data_free", "data=mnist5k", f"baseline.cache={tmp_path / 'cache'}"])
    result = run(cfg, tmp_path, [])
    assert result.status == "failed" and "kd=data_free: draws images" in result.error
    assert not list(tmp_path.rglob("entry.json"))


@pytest.mark.slow
def test_no_training_image_is_read_once_the_baseline_is_there(monkeypatch, tmp_path):
    settings = ["data=mnist5k", "data.epoch_examples=512", f"baseline.cache={tmp_path}", "measure.latency_runs=1"]
    settings += ["baseline.trainer.max_epochs=1", "trainer.max_epochs=1", "progress=false", "logger=none"]
    with hydra.initialize_config_dir(str(run_config.folder().resolve()), version_base="1.3"):
        plain = hydra.compose("config", settings)
        free = hydra.compose("config", [*settings, "kd=data_free", "prune=scheduled", "quant=static"])
    assert run(plain, tmp_path / "plain", []).status == "ok"
    make, reads = components.make_data, []

    class Unreadable(Examples):
        def __getitem__(self, index):
            raise AssertionError("a training image is read")

    def make_data(cfg):
        data = make(cfg)
        data.train = Unreadable(data.train.images, data.train.labels)
        data.train.images = None
        reads.append(data)
        return data

    monkeypatch.setattr(components, "make_data", make_data)
    result = run(free, tmp_path / "free", [])
    assert result.status == "ok", result.error
    assert result.steps == 2 and reads
    assert isinstance(reads[0].train_dataloader(), DataLoader)
    with pytest.raises(AssertionError, match="a training image is read"):
        next(iter(reads[0].train_dataloader()))
