"""How a network learns: which weights decay, how the rate moves, what a step is made of, in which precision."""

import math
import sys

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from quickly import first_quickly
from test_lottery import Saved
from torch import nn
from torch.optim import lr_scheduler
from training import QUIET, Watch, loaders, train

from lcomp.cli import shorthand
from lcomp.cli.error_messages import unknown_key
from lcomp.config import identity, run_config
from lcomp.config.composition import compose
from lcomp.config.run_spec import TrainerSettings, parse
from lcomp.config.settings import checked
from lcomp.errors import UserError
from lcomp.models import SmallCNN
from lcomp.modules import BaselineModule, DistillationModule
from lcomp.record.environment import environment
from lcomp.tasks import ImageClassification
from lcomp.techniques.distillation import LogitDistillation
from lcomp.techniques.pruning import LotteryTicket, Pruning
from lcomp.techniques.quantization import LearnedStepQuantization
from lcomp.training.fit import fit
from lcomp.training.optimization import fit_settings, make_optimization

RATE = 0.01


def optimization(*overrides, baseline=False):
    spec = parse(compose([f"trainer.learning_rate={RATE}", *overrides]))
    return make_optimization(spec.baseline, "baseline.") if baseline else make_optimization(spec)


def module_of(*overrides, techniques=(), network=None):
    torch.manual_seed(0)
    return BaselineModule(network or SmallCNN(), techniques, **optimization(*overrides))


def rates(digits, module, steps=20, **settings):
    """The rate of each step of a short training."""
    seen = []

    class First(pl.Callback):
        def on_before_optimizer_step(self, trainer, module, optimizer):
            seen.append(optimizer.param_groups[0]["lr"])

    train(module, digits, steps=steps, callbacks=[First()], **settings)
    return seen


def rise(step, warmup, total=20):
    return min(1, (step + 1) / (warmup * total)) if warmup else 1


def progress(step, warmup, total=20):
    return max(0, step - warmup * total) / (total - warmup * total)


SHARES = {
    ("constant",): lambda p: 1.0,
    ("cosine",): lambda p: 0.5 * (1 + math.cos(math.pi * p)),
    ("cosine", "final=0.5"): lambda p: 0.5 + 0.25 * (1 + math.cos(math.pi * p)),
    ("linear",): lambda p: 1 - p,
    ("linear", "final=0.2"): lambda p: 1 - 0.8 * p,
    ("step",): lambda p: 1.0 if p < 0.5 else 0.1 if p < 0.75 else 0.01,
    ("step", "milestones=[0.1]", "gamma=0.5"): lambda p: 1.0 if p < 0.1 else 0.5,
}


@pytest.mark.parametrize("warmup", [0.0, 0.25])
@pytest.mark.parametrize("asked", SHARES, ids=" ".join)
def test_the_rate_moves_as_its_scheduler_says(digits, asked, warmup):
    name, *settings = asked
    chosen = [f"scheduler={name}", f"scheduler.warmup={warmup}", *(f"scheduler.{one}" for one in settings)]
    expected = [RATE * rise(step, warmup) * SHARES[asked](progress(step, warmup)) for step in range(20)]
    assert rates(digits, module_of(*chosen)) == pytest.approx(expected, abs=1e-12)


def test_one_cycle_is_torchs_with_the_rate_for_its_highest_and_the_momentum_as_it_is(digits):
    module = module_of("scheduler=one_cycle", "optimizer=sgd", "optimizer.momentum=0.8")
    seen = rates(digits, module)
    assert max(seen) == RATE and seen.index(RATE) == 5 and seen[0] == pytest.approx(RATE / 25)
    assert seen[-1] == pytest.approx(RATE / 25 / 10000)
    assert module.trainer.optimizers[0].param_groups[0]["momentum"] == 0.8


@pytest.mark.parametrize(
    ("target", "settings", "share"),
    [
        ("torch.optim.lr_scheduler.CosineAnnealingLR", [], lambda step: 0.5 * (1 + math.cos(math.pi * step / 20))),
        ("torch.optim.lr_scheduler.PolynomialLR", ["power=2"], lambda step: (1 - step / 20) ** 2),
        ("torch.optim.lr_scheduler.StepLR", ["step_size=7"], lambda step: 0.1 ** (step // 7)),
        (f"{__name__}.halving", ["every=4"], lambda step: 0.5 ** (step // 4)),
    ],
)
def test_a_scheduler_of_the_users_is_told_the_steps_of_training_where_it_asks(digits, target, settings, share):
    typed = [f"scheduler._target_={target}", *(f"+scheduler.{one}" for one in settings)]
    module = module_of(*shorthand.expand(typed)[0])
    assert rates(digits, module) == pytest.approx([RATE * share(step) for step in range(20)], abs=1e-12)


def halving(optimizer, every, num_training_steps):
    assert num_training_steps in (20, 100)
    return lr_scheduler.LambdaLR(optimizer, lambda step: 0.5 ** (step // every))


@pytest.mark.parametrize("name", ["cosine", "linear", "step", "constant", "one_cycle"])
def test_every_scheduler_begins_anew_with_a_round_of_the_lottery(digits, name):
    chosen = [f"scheduler={name}"] + ([] if name == "one_cycle" else ["scheduler.warmup=0.4"])
    alone = rates(digits, module_of(*chosen), steps=5)
    seen = rates(digits, module_of(*chosen, techniques=[LotteryTicket(0.6, 3)]))
    assert seen == pytest.approx(alone * 4, abs=1e-12) and len(set(alone)) > 1


@pytest.mark.parametrize("name", ["cosine", "one_cycle"])
@pytest.mark.parametrize("techniques", [tuple, lambda: [LotteryTicket(0.6, 2)]])
def test_a_resumed_training_has_the_rates_of_a_whole_one(digits, tmp_path, name, techniques):
    def made():
        return module_of(f"scheduler={name}", "optimizer=sgd", "optimizer.weight_decay=0.01", techniques=techniques())

    whole, resumed = made(), made()
    expected = rates(digits, whole, 7, epochs=2)
    train(made(), digits, 2, 7, callbacks=[Saved(tmp_path / "half.ckpt", 7)])
    trainer = pl.Trainer(**QUIET, max_epochs=2)
    watch = Watch(lambda module: module.trainer.optimizers[0].param_groups[0]["lr"])
    trainer.callbacks.append(watch)
    trainer.fit(resumed, *loaders(digits, 7), ckpt_path=tmp_path / "half.ckpt", weights_only=True)
    assert watch.seen[:-1] == expected[8:] and len(expected) == 14
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_training_with_fewer_steps_than_rounds_has_rates_all_the_same(digits, steps):
    seen = rates(digits, module_of("scheduler=cosine", techniques=[LotteryTicket(0.6, 4)]), steps=steps)
    assert seen == [RATE] * steps  # each part has one


def test_the_record_names_what_is_not_as_usual():
    usual = environment(1)
    assert not {"deterministic", "precision", "baseline_precision"} & usual.keys()
    other = environment(1, "cuda:0", "bf16-mixed", "16-mixed")
    named = {"deterministic": False, "precision": "bf16-mixed", "baseline_precision": "16-mixed", "device": "cuda:0"}
    assert other == usual | named


REFUSED = {
    "scheduler._target_=torch.optim.lr_scheduler.ReduceLROnPlateau": "waits for a metric",
    "scheduler._target_=torch.optim.lr_scheduler.StepLR": r"StepLR cannot be made \(TypeError: .*'step_size'",
    "scheduler._target_=torch.nn.Identity": "must be a torch.optim.lr_scheduler.LRScheduler",
    "scheduler._target_=torch.optim.lr_scheduler.Cosine": "has no Cosine",
}


@pytest.mark.parametrize("asked", REFUSED)
@pytest.mark.parametrize("owner", ["", "baseline."])
def test_what_is_no_scheduler_is_refused(asked, owner):
    with pytest.raises(UserError, match=f"{owner}scheduler.*{REFUSED[asked]}"):
        optimization(*shorthand.expand([f"{owner}{asked}"])[0], baseline=bool(owner))


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (["scheduler=cosine", "scheduler.warmup=1"], "scheduler.warmup=1: a share"),
        (["scheduler=linear", "scheduler.final=2"], "scheduler.final=2: a share"),
        (["scheduler=step", "scheduler.milestones=[0.5,0.2]"], r"scheduler.milestones=\[0.5, 0.2\]: rising shares"),
        (["scheduler=step", "scheduler.gamma=0"], "scheduler.gamma=0: what is left"),
        (["scheduler=one_cycle", "scheduler.pct_start=2.0"], "scheduler: .*OneCycleLR cannot be made .*pct_start"),
        (["scheduler=cosine", "+scheduler.warm=1"], "scheduler.warm=1: .* takes .*; did you mean warmup"),
        (
            ["trainer.gradient_clip_val=1", "trainer.precision=bf16-mixed"],
            "trainer.gradient_clip_val=1: .* write optimizer.fused=false",
        ),
    ],
)
def test_a_setting_that_cannot_be_is_refused_by_name(asked, words):
    with pytest.raises(UserError, match=words):
        optimization(*asked)


@pytest.mark.parametrize("owner", ["", "baseline."])
@pytest.mark.parametrize("setting", ["trainer.schedule=constant", "trainer.warmup=0.1"])
@pytest.mark.parametrize("chosen", ["scheduler=cosine", "scheduler._target_=a.B", "scheduler@baseline.scheduler=step"])
def test_a_scheduler_beside_what_it_replaces_is_refused(owner, setting, chosen):
    chosen = chosen if "@" in chosen else f"{owner}{chosen}"
    if "@" in chosen and not owner:
        return
    with pytest.raises(UserError, match=f"^{owner}{setting}: {chosen} takes the place of"):
        shorthand.expand([f"{owner}{setting}", chosen])
    other = "baseline." if not owner else ""
    shorthand.expand([f"{other}{setting}", chosen])  # of the other network
    shorthand.expand([f"{owner}{setting}", f"{owner}scheduler=none"])


@pytest.mark.parametrize(
    ("key", "place"),
    [
        ("trainer.weight_decay", "optimizer.weight_decay, of optimizer=adamw,muon,sgd"),
        ("baseline.trainer.momentum", "baseline.optimizer.momentum, of baseline.optimizer=muon,sgd"),
        ("trainer.milestones", "scheduler.milestones, of scheduler=step"),
        ("baseline.trainer.label_smoothing", "task.label_smoothing, of task=image_classification,text_classification"),
        ("trainer.callbacks", "callbacks=..., one of early_stopping, ema, swa"),
        ("baseline.trainer.scheduler", "baseline.scheduler=..., one of constant, cosine, linear, one_cycle, step"),
        ("trainer.lr", "trainer.learning_rate"),
    ],
)
def test_what_is_looked_for_among_the_trainers_keys_is_told_its_place(key, place):
    with pytest.raises(UserError, match=f"^{key}: nothing reads this key; .*; write {place}$"):
        parse(compose([f"+{key}=1"]))
    assert unknown_key(key, {"max_epochs": 1}) == f"{key}: no such key; write {place}"


@pytest.mark.parametrize("part", ["scheduler", "baseline.scheduler", "optimizer", "baseline.optimizer"])
def test_a_key_of_another_choice_names_it(part):
    key, choices = ("final", ["cosine", "linear"]) if "scheduler" in part else ("nesterov", ["muon", "sgd"])
    said = f"{part}.{key}: not a key of the chosen {part}; those with it are "
    assert unknown_key(f"{part}.{key}", {}) == said + ", ".join(f"{part}={choice}" for choice in choices)


def test_the_baselines_choices_are_named_as_its_other_keys_are():
    typed = shorthand.expand(["baseline.optimizer=sgd", "baseline.scheduler=cosine"])[0]
    assert typed == ["optimizer@baseline.optimizer=sgd", "scheduler@baseline.scheduler=cosine"]
    spec = parse(compose(typed))
    assert spec.baseline.optimizer["_target_"] == "torch.optim.SGD" and spec.scheduler == {}
    assert spec.baseline.scheduler["_target_"] == "lcomp.modules.schedulers.Cosine"


class Normed(nn.Sequential):
    def __init__(self):
        super().__init__(
            nn.Conv2d(1, 4, 5, stride=4), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, 10)
        )


@pytest.mark.parametrize("name", ["sgd", "adamw", "muon"])
def test_matrices_decay_and_biases_and_norms_do_not(digits, name):
    module = module_of(f"optimizer={name}", "optimizer.weight_decay=0.5", "trainer.schedule=constant", network=Normed())
    optimizer = module.configure_optimizers()
    decaying = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    named = {name: decaying[id(p)] for name, p in module.network.named_parameters()}
    assert named == {"0.weight": 0.5, "0.bias": 0, "1.weight": 0, "1.bias": 0, "4.weight": 0.5, "4.bias": 0}
    before = {name: p.detach().clone() for name, p in module.network.named_parameters()}
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    with torch.no_grad():
        module.network[1].weight.fill_(2.0), before["1.weight"].fill_(2.0)
    optimizer.step()
    for key, parameter in module.network.named_parameters():
        left = 1 - RATE * 0.5 if named[key] else 1.0
        assert torch.allclose(parameter, before[key] * left, rtol=1e-6), key


def test_the_groups_are_as_they_were_where_nothing_decays_and_step_sizes_do_not():
    torch.manual_seed(0)
    module = BaselineModule(Normed())
    [group] = module.configure_optimizers().param_groups
    assert len(group["params"]) == 6
    module = module_of("optimizer=adamw", "trainer.schedule=constant", techniques=[LearnedStepQuantization(4, 4)])
    module.techniques[0].prepare(module.network)
    [matrices, vectors] = module.configure_optimizers().param_groups
    names = {id(p): name for name, p in module.named_parameters()}
    assert all(names[id(p)].endswith((".original", "weight")) for p in matrices["params"])
    steps = [name for name in names.values() if "log_step" in name]
    assert len(steps) == 5 and set(steps) < {names[id(p)] for p in vectors["params"]}


def test_muon_teaches_and_refuses_what_cannot_be(digits):
    module = module_of("optimizer=muon", "scheduler=one_cycle")
    trainer = train(module, digits, epochs=3)
    assert float(trainer.callback_metrics["val_accuracy"]) > 0.8
    with pytest.raises(UserError, match=r"optimizer: timm.optim.Muon cannot be made .*momentum"):
        optimization("optimizer=muon", "optimizer.momentum=2")


def test_a_class_of_an_extra_that_is_not_installed_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)  # as if it were not there
    with pytest.raises(UserError, match=r"timm.optim.Muon: cannot be imported \(.*pip install 'lcomp\[timm\]'"):
        optimization("optimizer=muon")


def test_smoothed_labels_give_a_share_to_all_classes():
    outputs, labels = torch.randn(7, 10), torch.arange(7)
    plain = -outputs.log_softmax(1)
    expected = 0.8 * plain.gather(1, labels[:, None]).mean() + 0.2 * plain.mean()
    task = ImageClassification(label_smoothing=0.2)
    assert float(task.loss(outputs, labels)) == pytest.approx(float(expected), rel=1e-5)
    assert torch.equal(ImageClassification().loss(outputs, labels), F.cross_entropy(outputs, labels))
    module = DistillationModule(nn.Identity(), nn.Identity(), LogitDistillation(alpha=1.0), task=task)
    assert float(module.objective(outputs, outputs, labels)) == pytest.approx(float(expected), rel=1e-5)
    with pytest.raises(UserError, match=r"task.label_smoothing=1: a share"):
        ImageClassification(label_smoothing=1)


def fitted(digits, *overrides, techniques=(), callbacks=()):
    """What `fit` leaves of a run's settings: the module, and the optimizer's steps."""
    asked = ["trainer.schedule=constant", *overrides]
    module, spec = module_of(*asked, techniques=techniques), parse(compose(asked))
    settings = fit_settings(spec, digits.task.metric)
    return module, fit(module, digits, 1, 0, False, **settings | {"callbacks": callbacks})


@pytest.mark.parametrize("together", first_quickly([5, 2, 1]))
def test_several_batches_make_a_step_and_schedules_count_steps(digits, together):
    seen = []

    class Each(pl.Callback):
        def on_before_optimizer_step(self, trainer, module, optimizer):
            seen.append(optimizer.param_groups[0]["lr"])

    asked = [f"trainer.accumulate_grad_batches={together}", "scheduler=linear"]
    module, steps = fitted(digits, *asked, techniques=[Pruning(0.8, interval=1)], callbacks=[Each()])
    total = math.ceil(len(digits.train_dataloader()) / together)
    assert steps == total and seen[-1] == pytest.approx(RATE / total, rel=1e-6)
    zeros = [layer.weight == 0 for layer in module.network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    share = sum(int(one.sum()) for one in zeros) / sum(one.numel() for one in zeros)
    assert share == pytest.approx(0.8, abs=1e-4)


def test_gradients_are_cut_to_a_norm(digits):
    class Norms(pl.Callback):
        def __init__(self):
            self.seen = []

        def on_before_zero_grad(self, trainer, module, optimizer):
            found = [p.grad for p in module.parameters() if p.grad is not None]
            if found:
                self.seen.append(float(torch.cat([one.flatten() for one in found]).norm()))

    cut, free = Norms(), Norms()
    fitted(digits, "trainer.gradient_clip_val=0.05", "optimizer=sgd", callbacks=[cut])
    fitted(digits, "optimizer=sgd", callbacks=[free])
    assert max(cut.seen) <= 0.0501 and max(free.seen) > 0.5


def test_bf16_computes_layers_and_neither_weights_nor_losses(digits, trained):
    seen = set()

    class Types(pl.Callback):
        def on_train_start(self, trainer, module):
            module.network.fc1.register_forward_hook(lambda layer, given, output: seen.add(("layer", output.dtype)))
            loss = module.task.loss
            module.task.loss = lambda outputs, labels: seen.add(("loss", outputs.dtype)) or loss(outputs, labels)

    module, _ = fitted(digits, "trainer.precision=bf16-mixed", callbacks=[Types()])
    assert seen == {("layer", torch.bfloat16), ("loss", torch.float32)}
    assert {p.dtype for p in module.parameters()} == {torch.float32}
    student = DistillationModule(SmallCNN(), trained, LogitDistillation())
    objective, given = student.objective, []
    student.objective = lambda *tensors: given.extend(t.dtype for t in tensors[:2]) or objective(*tensors)
    train(student, digits, steps=2, precision="bf16-mixed")
    assert set(given) == {torch.float32}


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("trainer.precision=16-mixed", "trainer.precision=16-mixed: .* write device=gpu, or trainer.precision=bf16"),
        ("baseline.trainer.precision=16-mixed", "baseline.trainer.precision=16-mixed: .* or baseline.trainer.prec"),
        ("trainer.precision=64-true", "trainer.precision=64-true: must be 32-true, bf16-mixed or 16-mixed"),
        ("trainer.gradient_clip_val=0", "trainer.gradient_clip_val=0: must be a norm above 0, or null"),
        ("trainer.accumulate_grad_batches=0", "trainer.accumulate_grad_batches=0: must be a whole number, 1 or more"),
    ],
)
def test_a_setting_of_the_trainer_that_cannot_be_is_refused(asked, words):
    with pytest.raises(UserError, match=words):
        parse(compose([asked]))
    if "precision=16" in asked:
        parse(compose([asked, "device=gpu"]))


def test_a_file_of_before_there_were_these_settings_is_read():
    four = {"max_epochs": 3, "learning_rate": 0.1, "schedule": "cosine", "warmup": 0.0}
    settings = checked(TrainerSettings, four, "trainer.")
    assert (settings.precision, settings.accumulate_grad_batches, settings.gradient_clip_val) == ("32-true", 1, None)
    with pytest.raises(UserError, match=r"trainer\.warmup=None"):
        checked(TrainerSettings, {key: value for key, value in four.items() if key != "warmup"}, "trainer.")


NEW = ("gradient_clip_val", "accumulate_grad_batches", "precision")
CHANGED = ["trainer.gradient_clip_val=1", "trainer.accumulate_grad_batches=2", "trainer.precision=bf16-mixed"]
CHANGED += [*(f"baseline.{one}" for one in CHANGED), "task.label_smoothing=0.1", "scheduler=cosine"]
CHANGED += ["scheduler=cosine scheduler.warmup=0.1", "scheduler@baseline.scheduler=cosine"]


def test_what_is_as_it_was_before_there_was_a_choice_is_no_part_of_the_hash():
    def hashed(config):
        return identity.config_hash(config, "data")

    cfg = run_config.resolved_dict(compose([]))
    before = run_config.resolved_dict(compose([]))
    for section in (before["trainer"], before["baseline"]["trainer"]):
        assert all(section.pop(key, "absent") != "absent" for key in NEW)
    assert before["task"].pop("label_smoothing") == 0.0
    assert hashed(cfg) == hashed(before)
    others = {hashed(run_config.resolved_dict(compose(other.split()))) for other in CHANGED}
    assert len(others | {hashed(cfg)}) == len(CHANGED) + 1
