"""Windows of few steps: what still acts in them, and what is said of the rest."""

import functools

import pytest
import torch
from pytorch_lightning import Callback
from torch import nn
from training import Watch, train

from lcomp.errors import UserError
from lcomp.models import LeNet5, SmallCNN
from lcomp.modules import BaselineModule, DistillationModule
from lcomp.techniques.distillation import Distillation
from lcomp.techniques.distillation.vid import VID
from lcomp.techniques.pruning import (
    AdaptivePruning,
    FilterPruning,
    GatedPruning,
    LotteryTicket,
    NMPruning,
    Pruning,
    criteria,
    schedules,
)
from lcomp.techniques.quantization import (
    LearnedStepQuantization,
    MixedPrecision,
    QuantizationAwareTraining,
    QuantizationNoise,
    WeightSharing,
)
from lcomp.techniques.quantization.fake import WeightQuantizer
from lcomp.techniques.schedule import first_step_after


def sparsities(digits, technique, steps, **settings):
    """The sparsity in force in each step."""
    watch = Watch(lambda module: round(technique.scalars(module.network)["sparsity"], 4))
    train(BaselineModule(SmallCNN(), [technique]), digits, steps=steps, callbacks=[watch], **settings)
    return watch.seen


def test_an_interval_longer_than_its_window_gives_a_number_of_updates(digits):
    seen = sparsities(digits, Pruning(0.8, interval=100), 24)
    expected = [schedules.cubic(step / 18, 0, 0.8) for step in range(18)] + [0.8] * 6
    assert seen == pytest.approx(expected, abs=1e-3)


def test_an_interval_that_fits_its_window_stays_to_the_step(digits, caplog):
    seen = sparsities(digits, Pruning(0.8, begin=0.2, end=0.7, interval=5), 20)
    expected = [0.0] * 5 + [schedules.cubic(0.1, 0, 0.8)] * 5 + [schedules.cubic(0.6, 0, 0.8)] * 4 + [0.8] * 6
    assert seen == pytest.approx(expected, abs=1e-3)
    assert "prune.interval" not in caplog.text


@pytest.mark.parametrize(
    "technique",
    [
        FilterPruning(0.5),
        AdaptivePruning(0.9),
        GatedPruning(sparsity=0.8),
        Pruning(0.8, criterion=criteria.Taylor()),
        Pruning(0.8, criterion=criteria.OptimalBrainSurgeon()),
        Pruning(0.8, schedule=lambda progress, initial, final: final * progress),
    ],
)
def test_every_scheduled_pruning_acts_more_than_once_in_a_short_window(digits, technique, caplog):
    assert len(set(sparsities(digits, technique, 24))) >= 5
    assert "prune.interval=100: its window (0 to 75 % of training) has 18 of the 24 steps, 0 updates" in caplog.text


def test_each_round_of_a_schedule_has_an_update_of_its_own(digits):
    schedule = functools.partial(schedules.iterative, rounds=8)
    seen = sparsities(digits, Pruning(0.8, interval=10, schedule=schedule), 24)
    expected = [schedules.exponential(number / 8, 0, 0.8) for number in range(1, 9)]
    assert sorted(set(seen)) == pytest.approx(expected, abs=1e-3)


def test_one_weight_of_a_group_goes_after_another(digits):
    # 15 levels in 16 steps, at an interval that allows for one
    seen = sparsities(digits, NMPruning(1, 16, interval=10), 32)
    assert len(set(seen)) >= 15


@pytest.mark.parametrize(
    "technique, key",
    [
        (Pruning(0.8, schedule=functools.partial(schedules.iterative, rounds=20)), "prune.interval=100"),
        (LotteryTicket(0.8, rounds=9), "prune.rounds=9: its window (0 to 100 % of training) has 8 of the 8 steps"),
        (GatedPruning(sparsity=0.8, end=0.75), "prune.monitor=val_accuracy"),
        (QuantizationAwareTraining(begin=0.51, freeze=0.6), "quant.begin=0.51, quant.freeze=0.6"),
        (QuantizationNoise(begin=0.99, freeze=1.0), "quant.begin=0.99, quant.freeze=1"),
        (LearnedStepQuantization(begin=0.95), "quant.begin=0.95: its window (95 to 100 % of training) has 0 of the 8"),
        (MixedPrecision(begin=0.1), "quant.begin=0.1: its window (0 to 10 % of training) has 1 of the 8 steps"),
        (WeightSharing(3, begin=0.95), "quant.begin=0.95"),
    ],
)
def test_what_acts_less_often_than_it_needs_says_so(digits, technique, key, caplog):
    train(BaselineModule(SmallCNN(), [technique]), digits, steps=8)
    assert key in caplog.text


@pytest.mark.parametrize(
    "technique",
    [
        Pruning(0.8, begin=0.0, end=0.0, schedule=schedules.constant),
        Pruning(0.8, interval=1),
        LotteryTicket(0.8, rounds=7),
        GatedPruning(sparsity=0.8, interval=1, end=1.0),
        QuantizationAwareTraining(),
        LearnedStepQuantization(begin=0.5),
        MixedPrecision(),
        WeightSharing(3, begin=0.5),
    ],
)
def test_what_acts_as_often_as_it_needs_is_silent(digits, technique, caplog):
    train(BaselineModule(SmallCNN(), [technique]), digits, steps=8, val_check_interval=2)
    assert "its window" not in caplog.text


def test_a_warm_up_shorter_than_two_steps_says_so(digits, caplog):
    train(BaselineModule(SmallCNN(), warmup=0.04), digits, steps=20)
    assert "trainer.warmup=0.04: its window (0 to 4 % of training) has 1 of the 20 steps, and needs 2" in caplog.text


def test_a_warm_up_of_each_part_between_restarts_counts(digits, caplog):
    module = BaselineModule(SmallCNN(), [LotteryTicket(0.8, rounds=3)], warmup=0.25)
    train(module, digits, steps=16)
    assert "trainer.warmup=0.25: its window (0 to 6 % of training) has 1 of the 16 steps" in caplog.text
    assert module.share_of_rate(0.0, 1 / 16) == 1.0  # a part has four steps, and its warm-up one


def test_an_objective_that_ends_after_a_step_says_so(digits, trained, caplog):
    module = DistillationModule(
        SmallCNN(), trained, Distillation(objectives={"vid": VID(until=0.05)}), input_shape=(1, 28, 28)
    )
    train(module, digits, steps=20)
    assert "kd.objectives.vid.until=0.05: its window (0 to 5 % of training) has 1 of the 20 steps" in caplog.text


@pytest.mark.parametrize("activation_bits", [8, None])
@pytest.mark.parametrize("begin, freeze", [(0.51, 0.52), (0.98, 0.99)])
def test_ranges_and_scales_are_observed_however_narrow_the_window(digits, begin, freeze, activation_bits):
    technique = QuantizationAwareTraining(8, activation_bits, begin=begin, freeze=freeze)
    torch.manual_seed(0)
    module = BaselineModule(SmallCNN(), [technique], learning_rate=3e-3)
    train(module, digits, epochs=2)
    for quantizer in (one for one in module.network.modules() if isinstance(one, WeightQuantizer)):
        assert quantizer.enabled and float(quantizer.scale.max()) < 0.01
    accuracy = right(module.network, digits)
    assert accuracy > 0.7
    assert right(module.finalize(), digits) == pytest.approx(accuracy, abs=0.01)


def test_ranges_freeze_although_a_layer_is_never_called(digits):
    class Spare(SmallCNN):
        def __init__(self):
            super().__init__()
            self.spare = nn.Linear(16, 10)

    module = BaselineModule(Spare(), [QuantizationAwareTraining(8, freeze=0.5)])
    watch = Watch(lambda module: float(module.network.fc1.input_quantizer.high))
    train(module, digits, callbacks=[watch])
    assert watch.seen[8] != watch.seen[9] and len(set(watch.seen[9:])) == 1
    assert module.network.fc1.parametrizations.weight[0].frozen


def right(network, digits):
    with torch.no_grad():
        seen = network.eval()(digits.validation.images.float() / 255).argmax(1)
    return float((seen == digits.validation.labels).float().mean())


@pytest.mark.parametrize("total", [1, 7, 10, 24, 30, 2110])
@pytest.mark.parametrize("share", [0.0, 0.05, 0.1, 0.3, 0.7, 2 / 3, 0.75, 1.0])
def test_first_step_is_that_of_the_share(share, total):
    step = first_step_after(share, total)
    assert step / total >= share and (step == 0 or (step - 1) / total < share)


def test_a_fit_without_an_end_is_refused_at_its_beginning(digits):
    class Late(Callback):
        def on_train_batch_start(self, *_):
            raise AssertionError("a step was begun")

    with pytest.raises(UserError, match="a schedule needs an end"):
        train(BaselineModule(LeNet5(), [Pruning(0.5)]), digits, epochs=-1, callbacks=[Late()])
