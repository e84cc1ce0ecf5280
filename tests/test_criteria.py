"""Criteria, schedules and granularities against their formulas."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from training import train

from lcomp.errors import UserError
from lcomp.models import CifarResNet, LeNet5, SmallCNN, mobilenet_v2
from lcomp.modules import BaselineModule
from lcomp.techniques.pruning import AdaptivePruning, NMPruning, Pruning, criteria, schedules
from lcomp.techniques.pruning.adaptive import pq_index, prune_count
from lcomp.techniques.pruning.mask import prune_outputs
from lcomp.techniques.technique import layers

OBSERVING = [
    criteria.Taylor(),
    criteria.OptimalBrainDamage(),
    criteria.OptimalBrainSurgeon(block=8),
    criteria.Movement(),
    criteria.Wanda(),
]
shares = st.floats(0, 0.9)


def loss(weight, fisher, at):
    """The quadratic model of the loss about `at`."""
    moved = weight - at
    return float(0.5 * moved @ fisher @ moved)


def observed(criterion, weight, gradients):
    statistic = criterion.statistic(weight)
    for gradient in gradients:
        criterion.observe(statistic, weight, gradient)
    return statistic


def test_scores_are_those_of_the_papers():
    weight = torch.tensor([[0.5, -2.0], [1.0, 0.1]])
    one, two = torch.tensor([[1.0, 0.1], [-1.0, 3.0]]), torch.tensor([[2.0, 0.2], [1.0, 1.0]])
    kept = torch.ones_like(weight, dtype=torch.bool)
    taylor = criteria.Taylor(momentum=0.5)
    statistic = observed(taylor, weight, [one, two])
    assert torch.allclose(
        taylor.scores(weight, statistic, kept), 0.25 * (one * weight) ** 2 + 0.5 * (two * weight) ** 2
    )
    damage = criteria.OptimalBrainDamage(momentum=0.5)
    statistic = observed(damage, weight, [one, two])
    assert torch.allclose(damage.scores(weight, statistic, kept), (0.25 * one**2 + 0.5 * two**2) * weight**2 / 2)
    movement = criteria.Movement()
    statistic = observed(movement, weight, [one, two])
    assert torch.allclose(movement.scores(weight, statistic, kept), -weight * (one + two))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_the_surgeon_leaves_the_loss_as_low_as_it_can_be(seed):
    """Against the solution of the constrained problem, for each pair of weights that might go."""
    random = torch.Generator().manual_seed(seed)
    weight = torch.randn(5, generator=random, dtype=torch.float64)
    gradients = torch.randn(40, 5, generator=random, dtype=torch.float64)
    surgeon = criteria.OptimalBrainSurgeon(block=5, damping=1e-3, momentum=0.9)
    statistic = observed(surgeon, weight, gradients)
    fisher = statistic[0] + 1e-3 * torch.eye(5, dtype=torch.float64)
    kept = torch.ones(5, dtype=torch.bool)
    scores = surgeon.scores(weight, statistic, kept)
    for going in itertools.combinations(range(5), 2):
        pruned = torch.zeros(5, dtype=torch.bool)
        pruned[list(going)] = True
        moved = torch.where(pruned, 0.0, surgeon.compensated(weight, statistic, kept, pruned))
        rest = [index for index in range(5) if index not in going]
        best = weight.clone()
        best[list(going)] = 0.0
        best[rest] += torch.linalg.solve(fisher[rest][:, rest], fisher[rest][:, list(going)] @ weight[list(going)])
        assert torch.allclose(moved, best, atol=1e-8)
    for index in range(5):
        pruned = torch.zeros(5, dtype=torch.bool)
        pruned[index] = True
        moved = torch.where(pruned, 0.0, surgeon.compensated(weight, statistic, kept, pruned))
        assert loss(moved, fisher, weight) == pytest.approx(float(scores[index]), rel=1e-6)


def test_the_surgeon_lets_what_is_gone_alone():
    weight, kept = torch.randn(10), torch.tensor([True] * 6 + [False] * 4)
    surgeon = criteria.OptimalBrainSurgeon(block=4)
    statistic = observed(surgeon, weight, torch.randn(20, 10) * kept)
    pruned = torch.tensor([True] + [False] * 9)
    moved = surgeon.compensated(weight, statistic, kept, pruned)
    assert torch.equal(moved[~kept], weight[~kept]) and not torch.equal(moved[1:4], weight[1:4])
    assert torch.allclose(moved[4:6], weight[4:6])  # another block


@pytest.mark.parametrize("criterion", OBSERVING, ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("schedule", [schedules.constant, schedules.cubic])
def test_with_gradients_the_sparsity_is_exact_too(digits, criterion, schedule):
    pruning = Pruning(
        0.8, end=0.0 if schedule is schedules.constant else 0.75, interval=5, schedule=schedule, criterion=criterion
    )
    module = BaselineModule(SmallCNN(), [pruning])
    train(module, digits, epochs=2)
    network = module.finalize()
    weights = [layer.weight for _, layer in layers(network)]
    total = sum(weight.numel() for weight in weights)
    assert sum(int((weight == 0).sum()) for weight in weights) == round(0.8 * total)


def test_sparsities_of_single_layers(digits):
    pruning = Pruning(0.5, interval=5, sparsities={"fc1": 0.95, "conv*": 0.1})
    module = BaselineModule(LeNet5(), [pruning])
    train(module, digits, epochs=2)
    zeros = {name: float((layer.weight == 0).float().mean()) for name, layer in layers(module.finalize())}
    assert zeros["fc1"] == pytest.approx(0.95, abs=1e-4)
    assert zeros["conv1"] == pytest.approx(0.1, abs=0.01) and zeros["conv2"] == pytest.approx(0.1, abs=0.001)
    rest = (zeros["fc2"] * 10_080 + zeros["fc3"] * 840) / 10_920
    assert rest == pytest.approx(0.5, abs=1e-4)


def test_a_name_that_is_no_layer_is_refused():
    with pytest.raises(UserError, match=r"prune\.sparsities.*fc9"):
        Pruning(sparsities={"fc9": 0.5}).check(LeNet5())
    with pytest.raises(UserError, match=r"prune\.sparsities\.fc1"):
        Pruning(sparsities={"fc1": 95})


@given(shares, shares)
def test_schedules_run_from_initial_to_final_and_never_back(one, other):
    initial, final = sorted((one, other))
    for schedule in (schedules.exponential, schedules.one_shot, schedules.iterative):
        path = [schedule(p / 20, initial, final) for p in range(21)]
        assert path[-1] == pytest.approx(final) and all(a <= b + 1e-9 for a, b in itertools.pairwise(path))
    assert schedules.exponential(0, initial, final) == pytest.approx(initial)
    assert schedules.one_shot(0.99, initial, final) == initial


def test_iterative_takes_the_same_share_of_what_is_left_each_round():
    path = [1 - schedules.iterative(p, 0.0, 0.9, rounds=4) for p in (0, 0.25, 0.5, 0.75)]
    ratios = [b / a for a, b in itertools.pairwise([1.0, *path])]
    assert ratios == pytest.approx([0.1**0.25] * 4) and path[-1] == pytest.approx(0.1)


def test_wanda_is_the_weight_times_the_norm_of_its_input_by_hand():
    layer, wanda = nn.Linear(3, 2, bias=False), criteria.Wanda(momentum=0.5)
    layer.weight.data = torch.tensor([[1.0, -2.0, 3.0], [0.5, 4.0, -0.1]])
    one, two = torch.tensor([[1.0, 0.0, 2.0], [3.0, 1.0, 0.0]]), torch.tensor([[2.0, 2.0, 2.0]])
    statistic = wanda.statistic(layer.weight)
    for x in (one, two):
        wanda.observe_input(statistic, layer, x)
    norms = torch.tensor(
        [0.25 * (1 + 9) / 2 + 0.5 * 4, 0.25 * (0 + 1) / 2 + 0.5 * 4, 0.25 * (4 + 0) / 2 + 0.5 * 4]
    ).sqrt()
    scores = wanda.scores(layer.weight, statistic, torch.ones(2, 3, dtype=torch.bool))
    assert torch.allclose(scores, layer.weight.abs() * norms)


def test_wanda_of_an_embedding_is_that_of_a_linear_layer_over_its_indices_as_ones():
    table, wanda = nn.Embedding(5, 3), criteria.Wanda(momentum=0.5)
    layer, ids = nn.Linear(5, 3, bias=False), torch.tensor([[0, 2, 2, 4], [2, 1, 0, 2]])
    looked_up, read = wanda.statistic(table.weight), wanda.statistic(layer.weight)
    wanda.observe_input(looked_up, table, ids)
    wanda.observe_input(read, layer, nn.functional.one_hot(ids, 5).float())
    assert torch.equal(looked_up, read.T) and looked_up[:, 0].tolist() == [0.5, 0.25, 1.0, 0.0, 0.25]


CONVOLUTIONS = {
    "plain": lambda: nn.Conv2d(4, 6, 3, padding=1),
    "strided": lambda: nn.Conv2d(4, 6, (3, 2), (2, 1), (1, 0), (1, 2)),
    "grouped": lambda: nn.Conv2d(4, 6, 3, groups=2),
    "depthwise": lambda: nn.Conv2d(4, 8, 3, 2, 1, groups=4),
    "same": lambda: nn.Conv2d(4, 6, 5, padding="same"),
    "reflecting": lambda: nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"),
}


@pytest.mark.parametrize("make", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_wandas_squared_score_is_what_the_output_of_a_convolution_loses(make):
    layer, wanda = make().double(), criteria.Wanda(momentum=0.0)
    x = torch.randn(5, 4, 9, 8, dtype=torch.float64)
    statistic = wanda.statistic(layer.weight)
    wanda.observe_input(statistic, layer, x)
    scores = wanda.scores(layer.weight, statistic, torch.ones_like(layer.weight, dtype=torch.bool))
    weight = layer.weight.detach().clone()
    with torch.no_grad():
        whole = layer(x)
        for place in [(0, 0, 0, 0), (3, layer.weight.shape[1] - 1, 2, 1), (5, 0, 1, 0)]:
            layer.weight[place] = 0
            lost = (layer(x) - whole).square().sum() / len(x)
            layer.weight[place] = weight[place]
            assert torch.allclose(lost, scores[place] ** 2)


def test_each_output_goes_to_the_same_sparsity_by_its_own_ranks():
    [mask] = prune_outputs(
        [torch.tensor([[True, True, True, True], [True, False, True, True]])],
        [torch.tensor([[1.0, 2.0, 3.0, 4.0], [30.0, 10.0, 40.0, 20.0]])],
        0.5,
    )
    assert mask.tolist() == [[False, False, True, True], [True, False, True, False]]


def test_with_wanda_every_output_is_as_sparse_and_no_hook_is_left(digits):
    network = LeNet5()
    pruning = Pruning(0.5, end=0.5, interval=5, criterion=criteria.Wanda(), scope="output")
    train(BaselineModule(network, [pruning]), digits)
    assert not any(module._forward_pre_hooks for module in network.modules()) and not pruning.unfinished(network)
    for layer in pruning.masked:
        mask = pruning.mask_of(layer)
        zeros = (~mask.mask).flatten(1).sum(1)
        assert (zeros == round(0.5 * mask.mask[0].numel())).all() and mask.statistic.any()


def test_what_watches_is_gone_after_an_exception(digits):
    network = SmallCNN()
    module = BaselineModule(network, [Pruning(0.5, criterion=criteria.Wanda())])
    module.loss = lambda *_: 1 / 0
    module.training_step = module.loss
    with pytest.raises(ZeroDivisionError):
        train(module, digits)
    assert not any(module._forward_pre_hooks for module in network.modules())


@pytest.mark.parametrize("make", [lambda: CifarResNet(blocks=1), mobilenet_v2])
def test_n_m_of_residual_networks_and_depthwise_convolutions(make):
    network, pruning = make(), NMPruning(2, 4)
    pruning.prepare(network)
    pruning.prune(0.5)
    weights = {name: layer.weight.flatten(1) for name, layer in layers(pruning.finalize(network))}
    assert any(weight.shape[1] == 9 for weight in weights.values()) or make is not mobilenet_v2
    for weight in weights.values():
        whole = weight.shape[1] // 4 * 4
        assert ((weight[:, :whole] != 0).reshape(-1, 4).sum(1) == 2).all() and (weight[:, whole:] != 0).all()


@pytest.mark.parametrize(("n", "m"), [(2, 4), (1, 4), (4, 8), (1, 2)])
def test_every_whole_group_keeps_n_of_m(digits, n, m):
    module = BaselineModule(LeNet5(), [NMPruning(n, m, interval=5)])
    train(module, digits, epochs=2)
    for _, layer in layers(module.finalize()):
        flat = layer.weight.flatten(1)
        whole = flat.shape[1] // m * m
        assert ((flat[:, :whole] != 0).reshape(-1, m).sum(1) == n).all()
        assert (flat[:, whole:] != 0).all()


def test_n_m_takes_the_smallest():
    pruning = NMPruning(2, 4)
    scores = torch.tensor([[4.0, 1.0, 3.0, 2.0, 9.0, 8.0, 7.0, 6.0, 0.0]])
    mask = pruning.n_m_mask(torch.ones_like(scores, dtype=torch.bool), scores, 2)
    assert mask.tolist() == [[True, False, True, False, True, True, False, False, True]]


@pytest.mark.parametrize(("n", "m"), [(4, 4), (0, 4), (5, 4)])
def test_patterns_that_cannot_be(n, m):
    with pytest.raises(UserError, match=r"prune\.n="):
        NMPruning(n, m)


def test_pq_index_at_its_ends():
    assert pq_index(torch.ones(50)) == pytest.approx(0, abs=1e-12)
    assert pq_index(torch.tensor([1.0] + [0.0] * 99)) == pytest.approx(1 - 1 / 100)
    assert pq_index(torch.zeros(3)) == 0


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0.01, 10), min_size=2, max_size=30), st.floats(0.1, 100))
def test_pq_index_has_the_properties_of_a_sparsity_measure(values, scale):
    weight = torch.tensor(values, dtype=torch.float64)
    index = pq_index(weight)
    assert 0 <= index < 1
    assert pq_index(weight * scale) == pytest.approx(index, abs=1e-9)  # scaling
    assert pq_index(torch.cat([weight, weight])) == pytest.approx(index, abs=1e-9)  # cloning
    expected = 1 - len(values) ** (1 - 2) * float(weight.sqrt().sum() ** 2 / weight.sum())
    assert index == pytest.approx(max(0.0, expected), abs=1e-9)


def test_how_many_go_by_the_index():
    alike, few = torch.ones(1000), torch.tensor([1.0] * 10 + [1e-9] * 990)
    settings = {"p": 0.5, "q": 1.0, "eta": 0.0, "gamma": 1.0, "beta": 0.9}
    assert prune_count(alike, **settings) == 0
    assert prune_count(few, **settings) == 900  # beta
    assert 980 <= prune_count(few, **settings | {"beta": 0.999}) <= 990


def test_adaptive_pruning_takes_more_where_few_weights_carry_the_rest(digits):
    found = {}
    for name in ("as drawn", "uneven"):
        torch.manual_seed(0)
        network = SmallCNN()
        if name == "uneven":
            with torch.no_grad():
                for _, layer in layers(network):
                    layer.weight.mul_(torch.rand_like(layer.weight) ** 6)
        module = BaselineModule(network, [AdaptivePruning(0.99, interval=10)], learning_rate=1e-5)
        train(module, digits)
        masks = [AdaptivePruning.mask_of(layer).mask for _, layer in layers(module.network)]
        found[name] = 1 - sum(int(m.sum()) for m in masks) / sum(m.numel() for m in masks)
    assert 0 < found["as drawn"] < found["uneven"] <= 0.99


@pytest.mark.parametrize("settings", [{"gamma": 0}, {"beta": 1}, {"eta": -1}, {"p": 1.0, "q": 0.5}, {"p": 0}])
def test_adaptive_settings_that_cannot_be(settings):
    with pytest.raises(UserError, match=r"prune\.gamma"):
        AdaptivePruning(**settings)


def test_what_a_criterion_knows_is_in_the_checkpoint(digits):
    module = BaselineModule(SmallCNN(), [Pruning(0.5, criterion=criteria.Taylor(), interval=5)])
    train(module, digits)
    kept = [key for key in module.state_dict() if key.endswith(".statistic")]
    assert len(kept) == 3 and all(module.state_dict()[key].any() for key in kept)
