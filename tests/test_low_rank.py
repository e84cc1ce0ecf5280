"""Two layers in the place of one: exact at full rank, wrong by what is dropped below it, ranks by one rule."""

import itertools
import logging
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import Tied
from test_filters import drawn
from torch import nn
from training import train

from lcomp.errors import UserError
from lcomp.evaluation.size import of_graph
from lcomp.export.onnx_export import export
from lcomp.models import CifarResNet, LeNet5, SmallCNN
from lcomp.modules import BaselineModule
from lcomp.tasks import ImageClassification
from lcomp.techniques.pruning import LowRank
from lcomp.techniques.pruning.factors import Decomposition, Factors, Option, by_budget, by_energy, options, price
from lcomp.techniques.quantization import QuantizationAwareTraining
from lcomp.techniques.technique import layers, load_checkpoint

PIXELS = torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(0))
LAYERS = {
    "plain": lambda: nn.Conv2d(3, 5, 3, padding=1),
    "strided": lambda: nn.Conv2d(3, 5, (3, 2), (2, 3), (1, 2), (2, 1), bias=False),
    "same": lambda: nn.Conv2d(4, 4, (5, 3), padding="same"),
    "valid": lambda: nn.Conv2d(4, 2, 3, padding="valid"),
    "reflecting": lambda: nn.Conv2d(3, 4, 3, padding=(1, 2), padding_mode="reflect"),
    "circular": lambda: nn.Conv2d(3, 4, 5, padding=2, padding_mode="circular"),
    "pointwise": lambda: nn.Conv2d(6, 4, 1, 2),
    "linear": lambda: nn.Linear(7, 4),
}


def given_to(layer):
    shape = (2, 7) if isinstance(layer, nn.Linear) else (2, layer.in_channels, 11, 12)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("form", ["spatial", "channel"])
@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_at_full_rank_nothing_changes_and_below_it_the_error_is_what_was_dropped(make, form):
    layer = make().double()
    x, one = given_to(layer), Decomposition(layer, form)
    full = len(one.energies)
    with torch.no_grad():
        assert torch.allclose(one.factors(full)(x), layer(x), rtol=0, atol=1e-12)
    values = torch.linalg.svdvals(one.matrix(layer.weight.detach()))
    for rank in range(1, full + 1):
        factors = one.factors(rank)
        assert factors.rank == rank
        shapes = [part(x).shape for part in (layer, factors)]
        weight = equivalent(factors, layer)
        error = (layer.weight.detach() - weight).square().sum()
        assert torch.allclose(error, values[rank:].square().sum(), rtol=0, atol=1e-12)  # Eckart and Young
        assert float(one.energies[rank - 1]) == pytest.approx(1 - float(error / values.square().sum()))
        assert shapes[0] == shapes[1]


@torch.no_grad()
def equivalent(factors, layer):
    """The weight of one layer that computes what the two do."""
    first, second = factors[0].weight, factors[1].weight
    if isinstance(layer, nn.Linear):
        return second @ first
    return torch.einsum("orab,ricd->oiacbd", second, first).reshape(layer.weight.shape)


OPTIONS = st.integers(2, 8).flatmap(
    lambda size: st.lists(st.floats(0.01, 1), min_size=size, max_size=size).map(lambda v: sorted(v, reverse=True))
)


def row(values, whole, one):
    squares = torch.tensor(values, dtype=torch.float64).cumsum(0)
    return options(whole, one, squares / squares[-1])


@settings(deadline=None)
@given(st.lists(st.tuples(OPTIONS, st.integers(20, 90), st.integers(5, 15)), min_size=1, max_size=4), st.floats(0, 1))
def test_the_budget_is_kept_and_no_cheaper_choice_keeps_more(drawn_rows, share):
    rows = [row(*one) for one in drawn_rows]
    budget = share * sum(one[0].cost for one in rows)
    chosen = by_budget(rows, budget)
    every = list(itertools.product(*rows))

    def cost(choice):
        return sum(option.cost for option in choice)

    def loss(choice):
        return sum(option.loss for option in choice)

    reachable = min(map(cost, every))
    assert cost(chosen) <= max(budget, reachable)
    as_cheap = [choice for choice in every if cost(choice) <= budget]
    if as_cheap:  # the convex hull: within one step of the best
        step = max(option.loss for one in rows for option in one)
        assert loss(chosen) <= min(map(loss, as_cheap)) + step + 1e-9
    if budget >= sum(one[0].cost for one in rows):
        assert chosen == [one[0] for one in rows]


def test_by_budget_takes_from_the_layer_that_loses_least_for_what_it_saves():
    flat, steep, dear = row([1, 1, 1, 1], 100, 25), row([97, 1, 1, 1], 100, 25), row([97, 1, 1, 1], 1000, 250)
    assert price(Option(100, 0.0, None), Option(60, 0.2, 1)) == pytest.approx(0.005)
    assert [option.rank for option in by_budget([flat, steep], 125)] == [None, 1]
    assert by_budget([flat, steep], 160)[1] == Option(50, pytest.approx(-math.log(0.98)), 2)
    assert [option.rank for option in by_budget([steep, dear], 600)] == [None, 2]
    first, then = row([99, 1], 100, 60), row([70, 30], 1000, 600)
    assert [option.rank for option in by_budget([first, then], 1000)] == [None, 1]  # what was taken first returns


def test_by_energy_keeps_the_least_rank_or_the_layer():
    ranked = row([6, 2, 1, 1], 35, 10)
    assert [by_energy([ranked], share)[0].rank for share in (0.5, 0.6, 0.61, 0.9, 0.91, 1.0)] == [
        1,
        1,
        2,
        3,
        None,
        None,
    ]


@pytest.mark.parametrize(
    "settings", [{"energy": 0.8}, {"sparsity": 0.6}, {"sparsity": 0.5, "cost": "macs"}, {"form": "channel"}]
)
def test_a_network_is_smaller_by_what_was_asked(settings, tmp_path):
    network, technique = drawn(LeNet5), LowRank(**settings)
    had, plain = {name: layer.weight for name, layer in layers(network)}, of_graph(exported(network, tmp_path)).macs
    technique.check(network, PIXELS)
    assert not any(isinstance(module, Factors) for module in network.modules())  # it was a copy
    technique.prepare(network)
    state = {name: value.clone() for name, value in network.state_dict().items()}
    technique.prepare(network)  # nothing more
    assert state.keys() == network.state_dict().keys()
    ranks = technique.scalars(network)
    if technique.energy:
        for name in had:
            values = Decomposition(drawn(LeNet5).get_submodule(name), "spatial").energies
            if rank := ranks.get(f"rank/{name}"):
                assert values[int(rank) - 1] >= 0.8 > (values[int(rank) - 2] if rank > 1 else 0)
    left = sum(layer.weight.numel() for _, layer in layers(network)) / sum(weight.numel() for weight in had.values())
    if technique.cost == "macs":
        share = of_graph(exported(network, tmp_path)).macs / plain
        assert 0.49 < share <= 0.5
    elif technique.sparsity:
        assert 1 - technique.sparsity - 0.02 < left <= 1 - technique.sparsity
    else:
        assert left < 0.9


def exported(network, folder):
    path = folder / "artifact.onnx"
    export(network.eval(), path, ImageClassification())
    return path


class Awkward(nn.Module):
    """Layers that cannot be taken apart, and one that can."""

    def __init__(self):
        super().__init__()
        self.stem, self.depthwise = nn.Conv2d(1, 8, 3), nn.Conv2d(8, 8, 3, groups=8)
        self.a, self.fc = nn.Linear(8, 8), nn.Linear(8, 10)
        self.b = nn.Linear(8, 8)
        self.b.weight = self.a.weight

    def forward(self, x):
        x = self.depthwise(self.stem(x)).mean((2, 3))
        return self.fc(self.b(self.a(x)))


def test_what_stays_is_said(caplog):
    network, technique = drawn(Awkward), LowRank(0.3)
    technique.check(network, PIXELS)
    technique.prepare(network)
    assert "prune leaves depthwise as it is: it has 8 groups" in caplog.text
    assert "prune leaves a as it is: its weight is b.weight too" in caplog.text
    factored = {name for name, module in network.named_modules() if isinstance(module, Factors)}
    assert factored and factored <= {"stem", "fc"} and network.a.weight is network.b.weight
    caplog.clear()
    with caplog.at_level(logging.INFO):
        LowRank(energy=1.0).prepare(drawn(SmallCNN))
    assert "leaves conv, fc1, fc2 whole: factors that keep a share of 1.0 of the squares are not cheaper" in caplog.text


class Measuring(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, 8, 3), nn.Linear(8, 10)

    def forward(self, x):
        return self.fc(self.conv(x).mean((2, 3)).view(-1, self.conv.out_channels))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"sparsity": 0.5, "energy": 0.9}, r"prune\.sparsity=0\.5, prune\.energy=0\.9: name one"),
        ({"sparsity": 1.0}, r"prune\.sparsity=1\.0"),
        ({"energy": 0.0}, r"prune\.energy=0\.0"),
        ({"form": "tensor"}, r"prune\.form=tensor"),
        ({"cost": "bytes"}, r"prune\.cost=bytes"),
        ({"exclude": ["fc9"]}, r"prune\.exclude: 'fc9' matches no layer"),
        ({"sparsity": 0.999}, r"prune\.sparsity=0\.999: ranks of one remove 0\.9\d+ of the weights"),
    ],
)
def test_what_cannot_be_is_refused_by_name(settings, words):
    with pytest.raises(UserError, match=words):
        LowRank(**settings).check(LeNet5(), PIXELS)


def test_a_network_that_reads_its_layers_is_refused_before_training():
    with pytest.raises(UserError, match=r"Measuring fails with two layers for one .*out_channels.*prune\.exclude"):
        LowRank().check(Measuring(), PIXELS)
    LowRank(0.2, exclude=["conv"]).check(Measuring(), PIXELS)
    with pytest.raises(UserError, match=r"prune\.cost=macs: the network has to be asked"):
        LowRank(cost="macs").prepare(LeNet5())


def test_it_is_quantized_by_the_layers_name_and_a_checkpoint_goes_into_a_fresh_network(digits, tmp_path):
    def techniques():
        return [LowRank(energy=0.7), QuantizationAwareTraining(4, bits_of={"fc1": 2}, exclude=["conv2"])]

    module = BaselineModule(LeNet5(), techniques())
    trainer = train(module, digits)
    trainer.save_checkpoint(tmp_path / "a.ckpt", weights_only=True)
    fresh = LeNet5()
    with torch.no_grad():
        fresh.fc1.weight.copy_(torch.randn(120, 1) @ torch.randn(1, 256))  # by itself it would be of rank one
    loaded = load_checkpoint(tmp_path / "a.ckpt", BaselineModule(fresh, techniques()))
    assert loaded.network.fc1.rank == module.network.fc1.rank > 1
    networks = [one.finalize().eval() for one in (module, loaded)]
    assert torch.equal(*(one(PIXELS) for one in networks))
    made = networks[0]
    assert {int(factor.coded.integers.abs().max()) for factor in made.fc1} == {1}
    assert all(isinstance(factor, nn.Conv2d) for factor in made.conv2)


def test_of_a_residual_network_logits_stay_at_full_rank():
    network = drawn(lambda: CifarResNet(blocks=1)).double()
    x = torch.rand(2, 3, 32, 32, dtype=torch.float64)
    expected = network(x)
    for name, layer in list(layers(network)):
        whole = Decomposition(layer, "spatial")
        LowRank.replace(network, name, whole.factors(len(whole.energies)))
    assert torch.allclose(network(x), expected, rtol=0, atol=1e-10)


def test_tied_layers_are_left_with_one_weight():
    network = drawn(Tied)
    technique = LowRank(0.3)
    technique.check(network, PIXELS)
    technique.prepare(network)
    assert network.a.weight is network.b.weight
