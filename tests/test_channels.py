"""Whatever a network does with its channels: they go and its logits stay, or its layers stay and are named."""

import copy

import networks
import pytest
import torch
import torch.nn.functional as F
from quickly import first_quickly
from test_filters import drawn, left, pruned
from torch import nn
from torch.nn.utils import parametrize

from lcomp.errors import UserError
from lcomp.models import ConvNet, LeNet5, mobilenet_v3_small, resnet18
from lcomp.techniques.parametrizations import independent_copy
from lcomp.techniques.pruning import FilterPruning, LayerPruning
from lcomp.techniques.technique import layers

PIXELS = torch.rand(6, 1, 28, 28, generator=torch.Generator().manual_seed(1))


class Between(nn.Module):
    """Eight maps, something done with them, a convolution that reads what comes out, a head."""

    def __init__(self, act, reads=8, **parts):
        super().__init__()
        self.stem, self.act = nn.Conv2d(1, 8, 3, 2, 1), act
        for name, part in parts.items():
            setattr(self, name, part)
        self.read, self.fc = nn.Conv2d(reads, 6, 3, 2, 1), nn.Linear(6, 10)

    def forward(self, x):
        x = self.act(self, F.relu(self.stem(x)))
        return self.fc(F.relu(self.read(x)).mean((2, 3)))


def constant(*shape):
    return nn.Parameter(torch.rand(shape) + 0.5)


class Buffer(nn.Module):
    def __init__(self, *shape):
        super().__init__()
        self.register_buffer("value", torch.rand(shape) + 0.5)


def conv(reads=8, writes=8, groups=1):
    return nn.Conv2d(reads, writes, 3, 1, 1, groups=groups)


def shuffled(x, groups):
    n, c, h, w = x.shape
    return x.view(n, groups, c // groups, h, w).transpose(1, 2).reshape(n, c, h, w)


def squeezed_and_excited(net, x):
    return x * net.up(F.relu(net.down(x.mean((2, 3), keepdim=True)))).sigmoid()


def single(net, x):
    if x.shape[1] == 1:
        raise ValueError("one map is not enough")
    return x


CUT = {
    "nothing": lambda: Between(lambda net, x: x),
    "chunks": lambda: Between(lambda net, x: torch.mul(*x.chunk(2, 1)), reads=4),
    "twice": lambda: Between(lambda net, x: torch.cat([x, x], 1), reads=16),
    "beside": lambda: Between(lambda net, x: torch.cat([x, net.b(x)], 1), reads=12, b=conv(8, 4)),
    "residual": lambda: Between(lambda net, x: x + net.b(F.relu(net.a(x))), a=conv(8, 5), b=conv(5, 8)),
    "excitation": lambda: Between(squeezed_and_excited, down=nn.Conv2d(8, 3, 1), up=nn.Conv2d(3, 8, 1)),
    "read twice": lambda: Between(lambda net, x: net.a(x) * net.b(x), a=conv(), b=conv()),
    "depthwise": lambda: Between(lambda net, x: net.a(x), a=conv(groups=8)),
    "batch norm": lambda: Between(lambda net, x: net.a(x), a=nn.BatchNorm2d(8)),
    "recurrent": lambda: Between(lambda net, x: net.a(F.relu(net.a(x))), a=conv()),
    "two names": lambda: Between(lambda net, x: net.b(F.relu(net.a(x))), a=(one := conv()), b=one),
    "scalar": lambda: Between(lambda net, x: x * net.a, a=constant(1)),
}
KEPT = {  # the stem stays, the layer that reads it can lose its own filters
    "slices of written sizes": lambda: Between(lambda net, x: x[:, :4] * torch.sigmoid(x[:, 4:]), reads=4),
    "split of written sizes": lambda: Between(lambda net, x: torch.cat(x.split([3, 5], 1), 1)),
    "shuffle": lambda: Between(lambda net, x: shuffled(x, 2)),
    "pixel shuffle": lambda: Between(lambda net, x: F.pixel_shuffle(x, 2), reads=2),
    "max over pairs": lambda: Between(lambda net, x: x.view(len(x), 4, 2, *x.shape[2:]).amax(2), reads=4),
    "grouped": lambda: Between(lambda net, x: net.a(x), a=conv(groups=2)),
    "layer norm": lambda: Between(lambda net, x: net.a(x.movedim(1, -1)).movedim(-1, 1), a=nn.LayerNorm(8)),
    "functional norm": lambda: Between(lambda net, x: F.group_norm(x, 2)),
    "group norm": lambda: Between(lambda net, x: net.a(x), a=nn.GroupNorm(2, 8)),
    "softmax": lambda: Between(lambda net, x: x.softmax(1)),
    "mean of channels": lambda: Between(lambda net, x: x - x.mean(1, keepdim=True)),
    "embedding": lambda: Between(lambda net, x: x + net.a, a=constant(1, 8, 1, 1)),
    "fixed gate": lambda: Between(lambda net, x: x * net.a.value, a=Buffer(1, 8, 1, 1)),
    "einsum": lambda: Between(lambda net, x: torch.einsum("nchw,cd->ndhw", x, net.a), a=constant(8, 8)),
    "flipped": lambda: Between(lambda net, x: x + x.flip(1)),
    "rolled": lambda: Between(lambda net, x: x.roll(1, 1)),
    "sorted": lambda: Between(lambda net, x: x.sort(1).values),
    "first": lambda: Between(lambda net, x: torch.cat([x[:, :1] * x[:, 1:], x[:, :1]], 1)),
    "weight elsewhere": lambda: Between(lambda net, x: x * net.stem.weight.mean()),
    "written numbers": lambda: Between(lambda net, x: x.reshape(len(x), 8, -1).view(len(x), 8, 14, 14)),
    "not alone": lambda: Between(single),
    "hidden": lambda: Between(lambda net, x: x + net.a * x.flip(1), a=nn.Parameter(torch.zeros(()))),
}


TIED = {"Tied": {"inp", "a", "b"}, "CalledTwice": {"stem", "block"}, "Gated": {"c1", "c2"}}
PLAIN = {
    "Hooked": {"c1", "c2"},
    "SpectralNormalized": {"c1", "c2"},
    "DeadChannels": {"c1", "c2"},
    "NeverCalled": {"c1"},
}
PARTLY = {"WeightStandardized": {"c2"}, "RowsNormalized": {"fc2"}, "SeparateHeads": {"patch", "o"}}


def parameters(kinds):
    return [pytest.param(make, id=name) for name, make in kinds.items()]


def exact(network, sparsity, scope):
    """Prunes and cuts `network`; the layers that lost filters, and those that are named as whole."""
    before, pruning = left(network), FilterPruning(sparsity, scope=scope)
    expected, made = pruned(network, pruning, PIXELS)
    with torch.no_grad():
        assert (made(PIXELS) - expected).abs().max() <= 1e-5 * expected.abs().max().clamp(min=1)
    return {name for name, outputs in left(made).items() if outputs < before[name]}, pruning.named_whole


@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize("make", parameters(CUT))
def test_channels_go_and_the_logits_stay(make, scope):
    for sparsity in (0.25, 0.5, 0.75):
        network = drawn(make)
        cut, whole = exact(network, sparsity, scope)
        assert not whole
        if scope == "layer":
            assert cut == {name for name, _ in layers(network) if name != "fc"}


@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize("make", parameters(KEPT))
def test_channels_that_are_mixed_stay_and_their_layers_are_named(make, scope):
    for sparsity in (0.25, 0.5):
        cut, whole = exact(drawn(make), sparsity, scope)
        assert "read" in cut and "stem" in whole and not cut & whole


@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize("name", [*TIED, *PLAIN, *PARTLY])
def test_networks_in_other_styles_lose_what_they_can(name, scope):
    make = getattr(networks, name)
    for sparsity in (0.25, 0.6):
        cut, whole = exact(drawn(make), sparsity, scope)
        can = (TIED | PLAIN | PARTLY)[name]
        assert cut == can if scope == "layer" or name in TIED | PARTLY else cut <= can
        assert bool(whole) == (name in PARTLY) and not whole & can


def test_layers_with_one_weight_still_have_one():
    network = drawn(networks.Tied)
    _, made = pruned(network, FilterPruning(0.5), PIXELS)
    assert made.a.weight is made.b.weight and made.a.weight.shape == (32, 32)
    assert sum(p.numel() for p in made.parameters()) == 32 * 785 + 32 * 32 + 2 * 32 + 10 * 33


@pytest.mark.parametrize("make", [networks.Attentive, networks.BareParameters])
def test_a_network_that_cannot_lose_filters_is_refused_before_training(make):
    network = drawn(make)
    state, keys = copy.deepcopy(network.state_dict()), list(network.state_dict())
    with pytest.raises(UserError, match=r"^prune"):
        FilterPruning(0.5).check(network, PIXELS)
    network(PIXELS)
    assert list(network.state_dict()) == keys
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())


def noisy():
    return Between(lambda net, x: x * (1 + torch.randn(len(x), 1, 1, 1)))


@pytest.mark.parametrize("make", [LeNet5, ConvNet, networks.Gated, noisy])
def test_the_check_changes_nothing(make):
    network = drawn(make).train()
    state, drawn_next = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    pruning = FilterPruning(0.5)
    pruning.check(network, PIXELS)
    assert torch.equal(torch.get_rng_state(), drawn_next) and network.training and pruning.groups is None
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
    assert not any("parametrizations" in name for name, _ in network.named_modules())


class Positive(nn.Module):
    def forward(self, bias):
        return bias.exp()


def test_a_parametrized_bias_is_refused_and_left():
    network = drawn(CUT["nothing"])
    parametrize.register_parametrization(network.stem, "bias", Positive())
    with torch.no_grad():
        expected = network(PIXELS)
        with pytest.raises(UserError, match=r"Between fails without its filters \(.*; name the layers"):
            FilterPruning(0.5).check(network, PIXELS)
        assert torch.equal(network(PIXELS), expected) and isinstance(network.stem.weight, nn.Parameter)


def test_what_stays_whole_is_named_once(caplog):
    network, pruning = drawn(networks.SeparateHeads), FilterPruning(0.5)
    pruning.check(network, PIXELS)
    pruning.prepare(network)
    pruning.find_groups(network, PIXELS)
    [message] = [record.getMessage() for record in caplog.records]
    assert message == "prune=filter keeps the filters of v, k, q: something mixes their channels"


@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize("make", first_quickly([LeNet5, ConvNet, resnet18, mobilenet_v3_small], 2))
def test_at_any_sparsity_the_logits_stay(make, scope):
    for sparsity in (0.1, 0.3, 0.7, 0.9) if make in (LeNet5, ConvNet) else (0.3, 0.9):
        _, whole = exact(drawn(make), sparsity, scope)
        assert not whole


class Growing(nn.Sequential):
    """Goes wrong only with five channels left, which no pattern that is tried out leaves."""

    def __init__(self, fails):
        super().__init__(nn.Conv2d(1, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(968, 10))
        self.fails = fails

    def forward(self, x):
        x = self[0](x)
        if x.shape[1] == 5:
            x = x[:, :2] if self.fails else x.flip(1)
        return self[4](self[3](self[2](x)))


@pytest.mark.parametrize(
    ("fails", "cause"), [(True, r"fails without its filters \("), (False, "computes something else")]
)
def test_a_wrong_cut_never_leaves_silently(fails, cause):
    network, pruning = drawn(lambda: Growing(fails)), FilterPruning(0.0, sparsities={"0": 3 / 8})
    with pytest.raises(UserError, match=f"prune=filter: Growing {cause}.*prune.exclude"):
        pruned(copy.deepcopy(network), pruning, PIXELS)
    with pytest.raises(UserError, match=f"prune=filter: Growing {cause}.*prune.exclude"):
        FilterPruning(0.0, sparsities={"0": 3 / 8}).check(network, PIXELS)
    pruned(network, FilterPruning(0.0, sparsities={"0": 4 / 8}), PIXELS)


def scaled_by(scale):
    return lambda module, arguments, output: output * scale


def test_hooks_act_in_the_trial():
    network = drawn(CUT["nothing"])
    network.read.register_forward_hook(scaled_by(torch.rand(1, 6, 1, 1)))
    network.stem.register_forward_hook(scaled_by(torch.rand(1, 1, 1, 1)))
    assert exact(network, 0.5, "layer") == ({"stem"}, {"read"})


def block(**parts):
    return Between(lambda net, x: net.a(x), a=nn.Sequential(conv(), nn.ReLU()), **parts)


def test_a_blocks_hook_acts_without_it():
    network = drawn(block)
    network.a.register_forward_hook(scaled_by(3.0))
    LayerPruning(["a"]).check(network, PIXELS)
    removal = LayerPruning(["a"])
    removal.prepare(network)
    with torch.no_grad():
        expected = network.fc(F.relu(network.read(3 * F.relu(network.stem(PIXELS)))).mean((2, 3)))
        assert torch.allclose(removal.finalize(network)(PIXELS), expected)
        assert torch.allclose(network(PIXELS), expected)


def test_a_block_of_two_names_is_removed():
    network = drawn(lambda: Between(lambda net, x: net.blocks[0](x), a=(one := conv()), blocks=nn.ModuleList([one])))
    removal = LayerPruning(["a"])
    removal.check(network, PIXELS)
    removal.prepare(network)
    with torch.no_grad():
        expected = network.fc(F.relu(network.read(F.relu(network.stem(PIXELS)))).mean((2, 3)))
        assert torch.allclose(network(PIXELS), expected)


class Scaled(nn.Module):
    def forward(self, x, by=1.0):
        return x * by


def held():
    network = block()
    network.act = lambda net, x, hidden=[network.a]: hidden[0](x)
    return network


def listed():
    network = Between(lambda net, x: net.hidden[0](x), a=conv())
    network.hidden = [network.a]
    return network


def watched_inside():
    network = block()
    network.a[0].register_forward_hook(scaled_by(1.0))
    return network


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Between(lambda net, x: net.a(x), a=conv(8, 4), reads=4), r"a changes the shape \(\(8, 14, 14\) to"),
        (lambda: Between(lambda net, x: net.a(x)[0], a=nn.MaxPool2d(1, return_indices=True)), "a gives a tuple"),
        (lambda: Between(lambda net, x: net.a(input=x), a=conv()), "a is not called with tensors alone"),
        (lambda: Between(lambda net, x: F.conv2d(x, net.a.weight), a=conv()), "cannot do without a .*no attribute"),
        (lambda: Between(lambda net, x: net.a(x, by=2.0), a=Scaled()), "a is not called with tensors alone"),
        (watched_inside, "a hook on a.0 would go with a; remove it first"),
        (held, "cannot do without a .*its forward does not call a"),
        (listed, "cannot do without a .*reaches a by another way than its name"),
    ],
)
def test_a_block_that_cannot_go_is_refused_before_training(make, message):
    network = drawn(make)
    state = copy.deepcopy(network.state_dict())
    with pytest.raises(UserError, match=message):
        LayerPruning(["a"]).check(network, PIXELS)
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())


def test_a_copy_that_stands_apart_can_lose_its_parametrizations():
    network = drawn(networks.SpectralNormalized)
    with torch.no_grad():
        expected = network(PIXELS)
        parametrize.remove_parametrizations(independent_copy(network).c1, "weight")
        assert torch.equal(network(PIXELS), expected)
