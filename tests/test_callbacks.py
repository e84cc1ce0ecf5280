"""Callbacks of a run's choice: averages of the weights, early stopping, a user's own, several at once."""

import copy
import shutil

import pytest
import pytorch_lightning as pl
import torch
from test_checkpoints import ALWAYS, All, same
from test_lottery import Saved
from test_optimization import Normed
from torch import nn
from training import QUIET, loaders, train

from lcomp.config.composition import compose
from lcomp.config.run_spec import parse
from lcomp.errors import UserError
from lcomp.models import SmallCNN
from lcomp.modules import BaselineModule
from lcomp.modules.weight_averaging import WeightAveraging
from lcomp.record.metric import ACCURACY, Metric
from lcomp.techniques.pruning import LotteryTicket, Pruning
from lcomp.techniques.quantization import QuantizationAwareTraining
from lcomp.techniques.technique import load_checkpoint
from lcomp.training.best_epoch import BestEpoch
from lcomp.training.checkpoint_files import CheckpointFiles
from lcomp.training.epochs import Epochs
from lcomp.training.fit import fit
from lcomp.training.optimization import fit_settings, make_callbacks, make_optimization


class Steps(pl.Callback):
    """What the network holds after each step, and what validation sees of it."""

    def __init__(self):
        self.after, self.validated = [], []

    @staticmethod
    def state(module):
        return {name: value.clone() for name, value in module.network.state_dict().items()}

    def on_train_batch_end(self, trainer, module, *_):
        if len(self.after) < trainer.global_step:
            self.after.append(self.state(module))

    def on_validation_epoch_end(self, trainer, module):
        self.validated.append(self.state(module))


def averaged(digits, callback, techniques=(), network=None, epochs=2, **settings):
    torch.manual_seed(0)
    module = BaselineModule(network or Normed(), techniques, 0.01)
    steps = Steps()
    train(module, digits, epochs, 10, callbacks=[callback, steps], **settings)
    return module, steps


def zeros(module):
    """The share of weights that are zero."""
    weights = [layer.weight for layer in module.network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    return sum(int((w == 0).sum()) for w in weights) / sum(w.numel() for w in weights)


def expected_of(states, name, decay):
    """The average of what a name held after each step, written out."""
    average = states[0][name].clone()
    for count, state in enumerate(states[1:], 1):
        keep = count / (count + 1) if decay is None else min(decay, (1 + count) / (10 + count))
        average = keep * average + (1 - keep) * state[name]
    return average


LEARNED = ("0.weight", "0.bias", "1.weight", "1.bias", "4.weight", "4.bias", "1.running_mean", "1.running_var")


@pytest.mark.parametrize("decay", [0.9, 0.5, 0.0, None])
def test_the_average_is_validated_and_left_in_the_network(digits, decay):
    module, steps = averaged(digits, WeightAveraging(decay))
    final, moved = Steps.state(module), steps.after[-1]
    for name in LEARNED:
        half, whole = (expected_of(steps.after[:count], name, decay) for count in (10, 20))
        assert torch.allclose(steps.validated[0][name], half, atol=1e-6), name
        assert torch.allclose(steps.validated[1][name], whole, atol=1e-6), name
        assert torch.equal(final[name], steps.validated[1][name])
    assert int(final["1.num_batches_tracked"]) == 20
    far = (final["4.weight"] - moved["4.weight"]).abs().max()
    assert (far == 0) == (decay == 0.0)


def test_training_itself_goes_as_without_an_average(digits):
    _, with_average = averaged(digits, WeightAveraging(0.9))
    _, without = averaged(digits, pl.Callback())
    for one, other in zip(with_average.after, without.after, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_mean_of_equal_weights_begins_at_its_share_and_an_average_in_16_bits_or_of_several_batches_counts_steps(
    digits,
):
    module, steps = averaged(digits, WeightAveraging(None, begin=0.5))
    mean = torch.stack([state["4.weight"] for state in steps.after[10:]]).mean(0)
    assert torch.allclose(module.network[4].weight, mean, atol=1e-6)
    assert torch.equal(steps.validated[0]["4.weight"], steps.after[9]["4.weight"])  # it has not begun
    callback = WeightAveraging(None)
    module, steps = averaged(digits, callback, epochs=1, accumulate_grad_batches=2)
    assert len(steps.after) == 5
    mean = torch.stack([state["4.weight"] for state in steps.after]).mean(0)
    assert torch.allclose(module.network[4].weight, mean, atol=1e-6)


def test_masks_and_ranges_are_the_schedules_own(digits):
    techniques = [Pruning(0.8, end=0.5, interval=1), QuantizationAwareTraining(8)]
    module, steps = averaged(digits, WeightAveraging(0.9), techniques, SmallCNN())
    moved, final = steps.after[-1], Steps.state(module)
    own = [name for name in final if not any(name == n for n, _ in module.network.named_parameters())]
    assert len(own) > 10
    for name in own:
        assert torch.equal(final[name], moved[name]), name
    assert zeros(module) >= 0.8 - 1e-4  # rounding adds some


def test_it_begins_anew_where_a_technique_rewinds_the_weights(digits):
    callback = WeightAveraging(None)
    module, steps = averaged(digits, callback, [LotteryTicket(0.5, rounds=1)], SmallCNN())
    name = "fc1.parametrizations.weight.original"
    mean = torch.stack([state[name] for state in steps.after[10:]]).mean(0)
    assert torch.allclose(Steps.state(module)[name], mean, atol=1e-6)


def test_a_resumed_average_is_that_of_a_whole_training_and_a_checkpoint_holds_it(digits, tmp_path):
    def made():
        torch.manual_seed(0)
        return BaselineModule(SmallCNN(), [Pruning(0.7, interval=1)], 0.01, "cosine")

    whole, other, resumed = made(), made(), made()
    train(whole, digits, 2, 10, callbacks=[WeightAveraging(0.9)])
    steps = Steps()
    train(other, digits, 2, 10, callbacks=[WeightAveraging(0.9), steps, Saved(tmp_path / "half.ckpt", 10)])
    trainer = pl.Trainer(**QUIET, max_epochs=2, callbacks=[WeightAveraging(0.9)])
    trainer.fit(resumed, *loaders(digits, 10), ckpt_path=tmp_path / "half.ckpt", weights_only=True)
    expected, seen = whole.state_dict(), resumed.state_dict()
    assert expected.keys() == seen.keys() and all(torch.equal(expected[name], seen[name]) for name in expected)
    back = load_checkpoint(tmp_path / "half.ckpt", made())
    name = "fc1.parametrizations.weight.original"
    assert torch.equal(back.network.state_dict()[name], steps.validated[0][name])
    assert not torch.equal(steps.validated[0][name], steps.after[9][name])


def test_it_helps_where_the_rate_is_high(digits):
    def accuracy(*callbacks):
        torch.manual_seed(0)
        trainer = train(BaselineModule(SmallCNN(), [], 0.03), digits, 3, callbacks=[*callbacks])
        return float(trainer.callback_metrics["val_accuracy"])

    assert accuracy(WeightAveraging(0.9)) > accuracy()


@pytest.mark.parametrize(
    ("settings", "words"), [({"decay": 1}, "decay=1: from 0"), ({"begin": 1.0}, "begin=1.0: a share of training")]
)
def test_an_average_that_cannot_be_is_refused(settings, words):
    with pytest.raises(UserError, match=words):
        WeightAveraging(**settings)


class Own(pl.Callback):
    def __init__(self, word: str = "none"):
        self.word = word


def chosen(*overrides, metric=ACCURACY, owner=""):
    spec = parse(compose(list(overrides)))
    return make_callbacks(spec.baseline.callbacks if owner else spec.callbacks, metric, f"{owner}callbacks")


def test_several_are_chosen_together_each_afresh_and_told_what_judges():
    asked = ["callbacks=[ema,early_stopping]", "callbacks.ema.decay=0.99", "callbacks.early_stopping.patience=7"]
    ema, stopping = chosen(*asked)
    assert ema.decay == 0.99 and (stopping.monitor, stopping.mode, stopping.patience) == ("val_accuracy", "max", 7)
    assert chosen(*asked)[0] is not ema
    [stopping] = chosen("callbacks=early_stopping", metric=Metric("angle_error", higher_is_better=False))
    assert (stopping.monitor, stopping.mode) == ("val_angle_error", "min")
    [stopping] = chosen("callbacks=early_stopping", "+callbacks.early_stopping.monitor=val_loss")
    assert stopping.monitor == "val_loss"
    [swa] = chosen("callbacks=swa")
    assert swa.decay is None and swa.begin == 0.75
    [own] = chosen("+callbacks.mine={_target_: test_callbacks.Own, word: hello}")
    assert own.word == "hello"
    assert chosen() == [] and chosen("callbacks=ema", owner="baseline.") == []
    assert len(chosen("callbacks@baseline.callbacks=[ema,early_stopping]", owner="baseline.")) == 2


LIGHTNINGS = "pytorch_lightning.callbacks"


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (
            "+callbacks.mine={_target_: torch.nn.Identity}",
            "callbacks.mine._target_=.*: must be a pytorch_lightning.Callb",
        ),
        ("callbacks=[ema,swa]", r"callbacks=\[ema,swa\]: a network has one average of its weights; leave one out"),
        ("+callbacks._target_=test_callbacks.Own", "callbacks._target_=.*: a callback has a name of its own"),
        (
            f"+callbacks.kept={{_target_: {LIGHTNINGS}.ModelCheckpoint}}",
            "callbacks.kept.*: a run keeps its checkpoints",
        ),
        (
            f"+callbacks.swa={{_target_: {LIGHTNINGS}.StochasticWeightAveraging, swa_lrs: 0.1}}",
            "callbacks.swa.*: trains an epoch more, at rates of its own; callbacks=swa",
        ),
        (
            f"+callbacks.ema={{_target_: {LIGHTNINGS}.EMAWeightAveraging}}",
            "averages masks and ranges too; callbacks=ema",
        ),
        (
            "+callbacks.mine={_target_: test_callbacks.Own, wort: hello}",
            "callbacks.mine.wort=hello: .*did you mean word",
        ),
    ],
)
def test_what_is_of_no_use_is_refused_by_name(asked, words):
    with pytest.raises(UserError, match=words):
        chosen(asked)


def fitted(digits, *overrides, techniques=(), epochs=6):
    spec = parse(compose(list(overrides)))
    torch.manual_seed(0)
    module, curves = BaselineModule(SmallCNN(), techniques), Epochs()
    small = copy.copy(digits)
    small.train_dataloader = lambda: loaders(digits, 10)[0]
    small.val_dataloader = lambda: loaders(digits, 10)[1]
    steps = fit(module, small, epochs, 0, False, curves, **fit_settings(spec, ACCURACY))
    return module, steps, curves.curves.columns


NEVER_BETTER = [
    "callbacks=early_stopping",
    "callbacks.early_stopping.patience=1",
    "callbacks.early_stopping.min_delta=1",
]


def test_early_stopping_ends_training_and_the_log_says_so(digits, caplog):
    _, steps, curves = fitted(digits, *NEVER_BETTER)
    assert steps == 20 and len(curves["val_accuracy"]) == 2
    assert "training ended after 2 of 6 epochs: a callback asked for it" in caplog.text


def test_early_stopping_waits_for_the_schedules_of_techniques(digits, caplog):
    module, steps, _ = fitted(digits, *NEVER_BETTER, techniques=[Pruning(0.8, end=0.5, interval=1)])
    assert steps == 50  # settled at step 31; epoch 4 is the first that counts, 5 is no better
    assert "stopping early is held back to step 31" in caplog.text
    assert zeros(module) == pytest.approx(0.8, abs=1e-4)


def test_what_a_callback_logs_between_epochs_is_kept_with_them(digits):
    monitor = f"+callbacks.rate={{_target_: {LIGHTNINGS}.LearningRateMonitor, logging_interval: epoch}}"
    _, _, curves = fitted(digits, monitor, epochs=2)
    assert curves["lr-Adam"] == [0.001, 0.001] and len(curves["val_accuracy"]) == 2


class FewDigits:
    def __init__(self, digits):
        self.digits, self.task = digits, digits.task

    def train_dataloader(self):
        return loaders(self.digits, 5)[0]

    def val_dataloader(self):
        return self.digits.val_dataloader()


RESUMED = {
    "sgd": ["optimizer=sgd", "optimizer.weight_decay=0.01", "optimizer.nesterov=true", "scheduler=one_cycle"],
    "muon": ["optimizer=muon", "scheduler=cosine", "trainer.accumulate_grad_batches=2"],
}


@pytest.mark.parametrize("name", RESUMED)
@pytest.mark.parametrize("techniques", [lambda: [Pruning(0.7, interval=1)], lambda: [LotteryTicket(0.6, rounds=2)]])
def test_a_run_goes_on_to_the_same_bits_from_every_checkpoint(digits, tmp_path, name, techniques):
    spec = parse(compose([*RESUMED[name], "callbacks=[ema,early_stopping]"]))

    def fitted(files=None, best=None):
        torch.manual_seed(0)
        module = BaselineModule(SmallCNN(), techniques(), **make_optimization(spec))
        settings = fit_settings(spec, ACCURACY)
        return module, fit(module, FewDigits(digits), 3, 0, False, checkpoints=files, best=best, **settings)

    expected, steps = fitted()
    files, best = All(tmp_path / "all", "one", ALWAYS), BestEpoch()
    whole, _ = fitted(files)
    assert same(expected, whole)
    taken, _ = fitted(best=best)
    assert same(expected, taken) == (best.epoch in (3, None))
    found = sorted(files.folder.iterdir())
    assert len(found) == (15 if name == "sgd" else 9)
    for path in found[:: 1 if name == "sgd" else 2]:
        one = CheckpointFiles(tmp_path / path.stem, "one")
        one.folder.mkdir()
        shutil.copy(path, one.folder)
        resumed, again = fitted(one)
        assert same(expected, resumed) and again == steps, path.name
