"""Masks are exact, hold through everything that could undo them, and grow as their schedule says."""

import itertools

import pytest
import pytorch_lightning as pl
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrize
from training import QUIET, Watch, loaders, train, weights

from lcomp.errors import UserError
from lcomp.models import LeNet5, SmallCNN
from lcomp.modules import BaselineModule, PruningModule
from lcomp.techniques.pruning import GatedPruning, Pruning, criteria, schedules
from lcomp.techniques.pruning.mask import lowest, prune_masks

SHARE = st.floats(0, 0.999)


def zeros(weight):
    return int((weight == 0).sum())


def exact(network, sparsity):
    return {name: round(sparsity * w.numel()) for name, w in weights(network).items()}


def counted(network):
    return {name: zeros(weight) for name, weight in weights(network).items()}


@given(st.integers(1, 200), SHARE, st.integers(0, 99))
def test_shrink_is_exact_and_takes_the_lowest(size, sparsity, seed):
    scores = torch.rand(size, generator=torch.Generator().manual_seed(seed))
    [mask] = prune_masks([torch.ones(size, dtype=torch.bool)], [scores], sparsity)
    assert zeros(mask) == round(sparsity * size)
    if mask.any() and not mask.all():
        assert scores[~mask].max() <= scores[mask].min()


@given(
    st.lists(st.sampled_from([-1.0, 0.0, -0.0, 1.0, 2.0, float("inf"), -float("inf"), float("nan")]), min_size=1),
    st.data(),
)
def test_selection_takes_what_a_stable_sort_puts_first(values, data):
    scores, count = torch.tensor(values), data.draw(st.integers(1, len(values)))
    expected = torch.zeros(len(values), dtype=torch.bool)
    expected[scores.argsort(stable=True)[:count]] = True
    assert torch.equal(lowest(scores, count), expected)


@given(st.integers(1, 50), st.lists(SHARE, min_size=2, max_size=6), st.integers(0, 99), st.booleans())
def test_masks_only_shrink(size, path, seed, infinite):
    random = torch.Generator().manual_seed(seed)
    mask = torch.ones(size, dtype=torch.bool)
    for sparsity in path:
        scores = torch.rand(size, generator=random)
        if infinite:  # as low as what is pruned already
            scores = torch.where(scores < 0.5, -torch.inf, scores)
        [after] = prune_masks([mask], [scores], sparsity)
        assert not (after & ~mask).any()
        mask = after
    assert zeros(mask) == max(round(s * size) for s in path)


def test_equal_scores_still_give_the_exact_count():
    [mask] = prune_masks([torch.ones(10, dtype=torch.bool)], [torch.zeros(10)], 0.3)
    assert mask.tolist() == [False] * 3 + [True] * 7


@given(st.integers(1, 40), st.integers(1, 40), SHARE)
def test_global_scope_counts_over_all_masks_together(one, other, sparsity):
    masks = [torch.ones(n, dtype=torch.bool) for n in (one, other)]
    shrunk = prune_masks(masks, [torch.rand(one), 2 + torch.rand(other)], sparsity)
    pruned = round(sparsity * (one + other))
    assert [zeros(m) for m in shrunk] == [min(one, pruned), max(0, pruned - one)]


@given(SHARE, SHARE)
def test_schedules_run_from_initial_to_final(one, other):
    initial, final = sorted((one, other))
    for schedule in (schedules.linear, schedules.cubic):
        assert schedule(0, initial, final) == pytest.approx(initial)
        assert schedule(1, initial, final) == pytest.approx(final)
        path = [schedule(p / 10, initial, final) for p in range(11)]
        assert all(before <= after + 1e-12 for before, after in itertools.pairwise(path))
    assert schedules.constant(0, initial, final) == final


def test_cubic_is_equation_1_of_zhu_and_gupta():
    assert schedules.cubic(0.5, 0.5, 0.8) == pytest.approx(0.8 + (0.5 - 0.8) * 0.5**3)
    assert schedules.linear(0.25, 0.0, 0.8) == pytest.approx(0.2)


def test_random_scores_are_the_same_on_every_update_and_others_with_another_seed():
    weight = torch.zeros(30, 20)
    assert torch.equal(criteria.random(weight, 1), criteria.random(weight + 1, 1))
    assert not torch.equal(criteria.random(weight, 1), criteria.random(weight, 2))


def test_a_criterion_decides_what_goes(digits):
    module = BaselineModule(SmallCNN(), [Pruning(0.5, criterion=criteria.random, interval=1)])
    train(module, digits)
    kept = module.network.fc1.weight[module.network.fc1.weight != 0].abs()
    beneath = module.network.fc1.parametrizations.weight.original[module.network.fc1.weight == 0].abs()
    assert beneath.max() > kept.median()


@pytest.mark.parametrize("sparsity", [0.5, 0.777, 0.95])
def test_every_layer_reaches_the_sparsity_exactly(digits, sparsity):
    module = PruningModule(LeNet5(), sparsity, interval=3, scope="layer")
    train(module, digits)
    assert counted(module.network) == exact(module.network, sparsity)
    baked = module.finalize()
    assert not any(parametrize.is_parametrized(layer) for layer in baked.modules())
    assert counted(baked) == exact(baked, sparsity)
    assert all(bool(layer.bias.any()) for layer in baked.modules() if isinstance(layer, nn.Linear))


def test_masks_hold_after_every_step_in_spite_of_momentum(digits):
    watch = Watch(lambda module: counted(module.network))
    technique = Pruning(0.8, begin=0.3, end=0.3, schedule=schedules.constant, scope="layer")
    module = BaselineModule(LeNet5(), [technique])
    train(module, digits, callbacks=[watch])
    assert watch.seen[5] == dict.fromkeys(watch.seen[5], 0)
    assert all(seen == exact(module.network, 0.8) for seen in watch.seen[6:])
    beneath = module.network.fc1.parametrizations.weight.original
    assert beneath[module.network.fc1.weight == 0].any()  # what momentum moved


def test_sparsity_grows_with_the_schedule_and_is_back_before_its_window_ends(digits):
    watch = Watch(lambda module: zeros(module.network.fc1.weight) / 30720)
    module = BaselineModule(LeNet5(), [Pruning(0.9, 0.3, begin=0.25, end=0.75, interval=5, scope="layer")])
    train(module, digits, callbacks=[watch])
    expected = [0.0] * 5 + [schedules.cubic(0, 0.3, 0.9)] * 5 + [schedules.cubic(0.5, 0.3, 0.9)] * 5 + [0.9] * 5
    assert watch.seen == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("end", [0.97, 1.0])
def test_a_window_that_ends_with_training_still_reaches_the_sparsity(digits, end):
    module = BaselineModule(SmallCNN(), [Pruning(0.6, begin=0.0, end=end, interval=100, scope="layer")])
    train(module, digits)
    assert counted(module.finalize()) == exact(module.network, 0.6)


def test_global_scope_reaches_the_sparsity_over_all_layers(digits):
    module = PruningModule(LeNet5(), 0.9, interval=1)
    train(module, digits)
    seen = counted(module.finalize())
    assert sum(seen.values()) == round(0.9 * sum(w.numel() for w in weights(module.network).values()))
    assert seen != exact(module.network, 0.9)


def test_excluded_layers_keep_their_weights(digits):
    module = PruningModule(LeNet5(), 0.9, exclude=["conv*", "fc3"], scope="layer")
    train(module, digits)
    seen = counted(module.finalize())
    assert [name for name, count in seen.items() if count == 0] == ["conv1", "conv2", "fc3"]
    assert seen["fc1"] == round(0.9 * 30720)


def test_masks_are_in_the_checkpoint_and_hold_after_resume(digits, tmp_path):
    module = PruningModule(SmallCNN(), 0.7, begin=0.0, end=0.5, interval=1, scope="layer")
    trainer = train(module, digits, epochs=2)
    trainer.save_checkpoint(tmp_path / "half.ckpt", weights_only=False)
    resumed = PruningModule(SmallCNN(), 0.7, begin=0.0, end=0.5, interval=1, scope="layer")
    watch = Watch(lambda m: counted(m.network))
    trainer = pl.Trainer(**QUIET, max_epochs=3, callbacks=[watch])
    trainer.fit(resumed, *loaders(digits), ckpt_path=tmp_path / "half.ckpt", weights_only=True)
    assert len(watch.seen) == 20 and all(seen == exact(resumed.network, 0.7) for seen in watch.seen)


class Forced(pl.Callback):
    """Makes the validation accuracy what the test says, before the gate looks."""

    def __init__(self, path):
        self.path = iter(path)

    def on_validation_epoch_end(self, trainer, pl_module):
        pl_module.log("val_accuracy", next(self.path))


class Scripted(BaselineModule):
    def validation_step(self, batch, batch_idx):
        pass


@pytest.mark.parametrize(
    ("accuracies", "reached"),
    [
        ((0.9, 0.9, 0.9, 0.9), 0.8),
        ((0.9, 0.7, 0.7, 0.7), 0.5),
        ((0.9, 0.7, 0.9, 0.7), 0.65),
        ((0.9, 0.86, 0.86, 0), 0.8),
    ],
)
def test_gated_sparsity_grows_only_while_accuracy_holds(digits, accuracies, reached):
    gate = GatedPruning(
        sparsity=0.8, initial_sparsity=0.2, tolerance=0.05, begin=0.0, end=1.0, interval=20, scope="layer"
    )
    module = Scripted(SmallCNN(), [gate])
    train(module, digits, epochs=4, callbacks=[Forced(accuracies)])
    assert gate.reached == pytest.approx(reached)  # 0.15 at the start of each epoch whose gate is open
    assert counted(module.network) == exact(module.network, gate.reached)


def test_the_gate_opens_once_a_step_even_where_several_batches_make_one(digits):
    gate = GatedPruning(sparsity=0.8, begin=0.0, end=1.0, interval=1)
    watch = Watch(lambda module: gate.reached)
    train(BaselineModule(SmallCNN(), [gate]), digits, accumulate_grad_batches=4, callbacks=[watch])
    assert watch.seen == pytest.approx([0.16 * (1 + batch // 4) for batch in range(20)])


def test_gate_needs_its_metric(digits):
    class Silent(BaselineModule):
        def validation_step(self, batch, batch_idx):
            pass

    with pytest.raises(UserError, match=r"prune.monitor=val_accuracy: not logged"):
        train(Silent(SmallCNN(), [GatedPruning(sparsity=0.5)]), digits)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sparsity": 80}, r"prune.sparsity=80: .*0\.8\?"),
        ({"sparsity": 1}, "prune.sparsity=1"),
        ({"sparsity": -0.1}, "prune.sparsity"),
        ({"sparsity": 0.3, "initial_sparsity": 0.5}, "prune.initial_sparsity=0.5 is above prune.sparsity=0.3"),
        ({"begin": 0.5, "end": 0.2}, "prune.begin=0.5, prune.end=0.2: shares of training"),
        ({"interval": 0}, "prune.interval=0"),
        ({"scope": "layr"}, "prune.scope=layr: .*did you mean layer"),
    ],
)
def test_impossible_settings_are_refused_by_name(settings, message):
    with pytest.raises(UserError, match=message):
        Pruning(**settings)


def test_excluding_a_layer_that_is_not_there_is_refused():
    with pytest.raises(UserError, match=r"prune.exclude: 'fc9' matches no layer; the layers are conv1, .*, fc3"):
        Pruning(exclude=["fc9"]).check(LeNet5())


def test_a_network_without_layers_to_prune_is_refused():
    with pytest.raises(UserError, match="prune: Conv1d has no Conv2d and no Linear layer to act on"):
        Pruning(0.5).check(nn.Conv1d(1, 1, 3))


def test_layers_of_other_kinds_are_named_as_left_alone(caplog):
    Pruning(0.5).prepare(nn.Sequential(nn.Conv1d(1, 4, 3), nn.Linear(4, 2)))
    assert "left as they are: 0" in caplog.text
