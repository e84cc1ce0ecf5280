"""Rounds of pruning and rewinding: what goes, what returns, and to what."""

import itertools
import math
from fractions import Fraction

import pytest
import pytorch_lightning as pl
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from training import QUIET, Watch, loaders, train

from lcomp.errors import UserError
from lcomp.models import SmallCNN
from lcomp.modules import BaselineModule
from lcomp.techniques.pruning import LotteryTicket, criteria
from lcomp.techniques.quantization import QuantizationAwareTraining
from lcomp.techniques.technique import layers

WEIGHTS = 11_012  # of SmallCNN's layers


def values(network):
    """Copies of parameters under their plain names; masked weights as they are beneath."""
    found = {name.replace(".parametrizations.weight.original", ".weight"): p for name, p in network.named_parameters()}
    return {name: p.detach().clone() for name, p in found.items()}


def masks(network):
    return [LotteryTicket.mask_of(layer).mask.clone() for _, layer in layers(network)]


def zeros(found):
    return sum(int((~mask).sum()) for mask in found)


class Steps(pl.Callback):
    """What the network and the optimizer are as each step begins, after the techniques have acted."""

    def __init__(self):
        self.values, self.masks, self.moments = [], [], []

    def on_before_zero_grad(self, trainer, module, optimizer):  # the weights have not moved yet
        self.values.append(values(module.network))
        self.masks.append(masks(module.network))
        self.moments.append(sum(len(state) for state in optimizer.state.values()))


def watched(digits, technique, network=None, **settings):
    """Each step of a training of 20, with the module and what the network was before it."""
    torch.manual_seed(0)
    module, steps = BaselineModule(network or SmallCNN(), [technique], learning_rate=0.01), Steps()
    before = values(module.network)
    train(module, digits, callbacks=[steps], **settings)
    return steps, module, before


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_each_round_takes_the_same_share_of_what_is_left_and_the_last_is_exact(digits, scope):
    steps, module, _ = watched(digits, LotteryTicket(0.9, rounds=3, scope=scope))
    expected = [0] * 5 + [1 - 0.1 ** (1 / 3)] * 5 + [1 - 0.1 ** (2 / 3)] * 5 + [0.9] * 5
    assert len(steps.masks) == 20
    for share, found in zip(expected, steps.masks, strict=True):
        if scope == "global":
            assert zeros(found) == round(share * WEIGHTS)
        else:
            assert [int((~mask).sum()) for mask in found] == [round(share * mask.numel()) for mask in found]
    for one, two in itertools.pairwise(steps.masks):
        assert not any((later & ~earlier).any() for earlier, later in zip(one, two, strict=True))
    baked = [layer.weight for _, layer in layers(module.finalize())]
    assert sum(int((weight == 0).sum()) for weight in baked) == zeros(steps.masks[-1])


@given(st.integers(1, 30), st.integers(1, 200), st.floats(0, 0.99))
def test_parts_are_equal_whatever_the_number_of_steps(rounds, total, rewind):
    """The step that ends a part and the one at which the rate restarts are one, against exact fractions."""
    technique = LotteryTicket(0.5, rounds, rewind)
    for number, share in enumerate(technique.restarts, 1):
        first = next(step for step in range(total + 1) if step * (rounds + 1) >= number * total)
        assert first == math.ceil(Fraction(number * total, rounds + 1))
        assert first / total >= share and (first == 0 or (first - 1) / total < share)  # the rate restarts there too


def test_the_lowest_of_the_trained_weights_go_and_all_that_is_left_returns(digits):
    steps, _, _ = watched(digits, LotteryTicket(0.6, rounds=1, rewind=0.25))  # parts of 10 steps: step 2.5, so 3
    early, trained = steps.values[3], steps.values[9]
    assert same(early, steps.values[10]) and not same(early, trained)
    assert not same(steps.values[0], early) and not same(early, steps.values[11])
    names = [name for name, _ in layers(SmallCNN())]
    going = torch.cat([~mask.flatten() for mask in steps.masks[10]])
    # the step between is not seen from here: sizes may have moved by one step of Adam
    sizes = torch.cat([trained[f"{name}.weight"].abs().flatten() for name in names])
    assert sizes[going].max() <= sizes[~going].min() + 2 * 0.011
    untrained = torch.cat([early[f"{name}.weight"].abs().flatten() for name in names])
    assert untrained[going].max() > untrained[~going].min() + 0.1  # not the lowest of those that return


def test_without_a_rewind_the_initial_weights_return(digits):
    steps, _, before = watched(digits, LotteryTicket(0.6, rounds=3, rewind=0))
    assert all(same(before, steps.values[step]) for step in (0, 5, 10, 15))
    assert not same(before, steps.values[4])


def test_biases_and_what_a_batch_norm_has_seen_return_too(digits):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 5, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(576, 10))
    seen = []

    class Statistics(pl.Callback):
        def on_before_zero_grad(self, trainer, module, optimizer):
            seen.append(int(network[1].num_batches_tracked))  # the coming step's forward pass is over

    module = BaselineModule(network, [LotteryTicket(0.5, rounds=1, rewind=0.1)])
    train(module, digits, callbacks=[Statistics()])
    assert seen == [*range(1, 11), *range(2, 12)]  # what was kept had seen one batch


def test_the_optimizer_forgets_with_every_round(digits):
    steps, _, _ = watched(digits, LotteryTicket(0.6, rounds=3))
    assert [step for step, kept in enumerate(steps.moments) if kept == 0] == [0, 5, 10, 15]


def test_a_round_ends_once_where_several_batches_make_a_step(digits):
    steps, module, _ = watched(digits, LotteryTicket(0.6, rounds=1, rewind=0), accumulate_grad_batches=2)
    assert zeros(steps.masks[-1]) == round(0.6 * WEIGHTS) and int(module.network.lottery_round) == 1
    assert module.trainer.global_step == 10


@pytest.mark.parametrize("criterion", [criteria.Movement(), criteria.Taylor()], ids=lambda one: type(one).__name__)
def test_with_gradients_too_the_weights_return_unmoved_and_what_was_seen_is_forgotten(digits, criterion):
    statistics = Watch(lambda module: float(LotteryTicket.mask_of(module.network.fc1).statistic.abs().sum()))
    torch.manual_seed(0)
    module, steps = BaselineModule(SmallCNN(), [LotteryTicket(0.6, 1, 0, criterion)], learning_rate=0.01), Steps()
    train(module, digits, callbacks=[steps, statistics])
    assert same(steps.values[0], steps.values[10]) and zeros(steps.masks[10]) == round(0.6 * WEIGHTS)
    if isinstance(criterion, criteria.Movement):  # sums of 10 steps, then of 1
        assert statistics.seen[10] < statistics.seen[9] / 3


@pytest.mark.parametrize("warmup", [0.0, 0.4])
def test_the_learning_rate_begins_anew_with_every_round(digits, warmup):
    module = BaselineModule(SmallCNN(), [LotteryTicket(0.6, 3)], 0.01, "cosine", warmup)
    watch = Watch(lambda module: module.trainer.optimizers[0].param_groups[0]["lr"])
    train(module, digits, callbacks=[watch])  # 20 steps; the rate seen is that of the coming step
    rise = [min(1, (step + 1) / (5 * warmup)) if warmup else 1 for step in range(5)]
    part = [0.01 * rise[step] * 0.5 * (1 + math.cos(math.pi * step / 5)) for step in range(5)]
    assert watch.seen == pytest.approx([*(part * 4)[1:], 0.0], abs=1e-9)


def test_what_it_remembers_is_gone_in_the_end(digits):
    plain = SmallCNN().state_dict().keys()
    module = BaselineModule(SmallCNN(), [LotteryTicket(0.6, 2)])
    train(module, digits)
    assert {"early/fc1/weight", "early/fc1/bias", "lottery_round"} <= dict(module.network.named_buffers()).keys()
    assert module.finalize().state_dict().keys() == plain


def test_a_second_fit_only_trains_on(digits):
    module = BaselineModule(SmallCNN(), [LotteryTicket(0.6, 1)])
    train(module, digits)
    first, early = masks(module.network), module.network.get_buffer("early/fc1/weight").clone()
    train(module, digits)
    assert all(torch.equal(one, two) for one, two in zip(first, masks(module.network), strict=True))
    assert torch.equal(early, module.network.get_buffer("early/fc1/weight"))


def test_a_run_that_stops_as_a_round_is_due_goes_on_to_the_same_bits(digits, tmp_path):
    def made():
        torch.manual_seed(0)
        return BaselineModule(SmallCNN(), [LotteryTicket(0.9, 3), QuantizationAwareTraining(8)], 0.01, "cosine")

    whole = made()
    train(whole, digits, epochs=2, steps=10)
    stopped = made()
    saved = Saved(tmp_path / "round.ckpt", 10)
    train(stopped, digits, epochs=2, steps=10, callbacks=[saved])
    resumed = made()
    trainer = pl.Trainer(**QUIET, max_epochs=2)
    trainer.fit(resumed, *loaders(digits, 10), ckpt_path=tmp_path / "round.ckpt", weights_only=True)
    expected, seen = whole.state_dict(), resumed.state_dict()
    assert expected.keys() == seen.keys() and same(expected, seen)


class Saved(pl.Callback):
    """Saves a checkpoint at the end of the epoch that ends on a step."""

    def __init__(self, path, step):
        self.path, self.step = path, step

    def on_train_epoch_end(self, trainer, module):
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path, weights_only=False)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rounds": 0}, "prune.rounds=0: how often weights go, 1 or more"),
        ({"rewind": 1}, "prune.rewind=1: a share of the first part of training"),
        ({"rewind": -0.1}, r"prune.rewind=-0\.1"),
        ({"sparsity": 90}, r"prune.sparsity=90: .*0\.9\?"),
    ],
)
def test_impossible_settings_are_refused_by_name(settings, message):
    with pytest.raises(UserError, match=message):
        LotteryTicket(**settings)
