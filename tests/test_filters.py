"""A network without its filters computes what it computes with them zeroed, and it is smaller by exactly them."""

import copy

import pytest
import torch
import torch_pruning
import torchvision
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrize
from training import train

from lcomp.errors import UserError
from lcomp.models import CifarResNet, LeNet5, SmallCNN, mobilenet_v2, mobilenet_v3_small, resnet18
from lcomp.modules import BaselineModule
from lcomp.record.interruption import Interrupted
from lcomp.techniques.parametrizations import parametrization
from lcomp.techniques.pruning import FilterPruning, LayerPruning, channels, criteria
from lcomp.techniques.quantization import QuantizationAwareTraining
from lcomp.techniques.quantization.fake import WeightQuantizer
from lcomp.techniques.technique import layers

PIXELS = torch.rand(2, 1, 28, 28, generator=torch.Generator().manual_seed(0))


class Residual(nn.Module):
    """Two blocks on one stream; what lies between a filter and its readers does not leave zero where it is."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.Sigmoid())
        self.one = nn.Sequential(nn.Conv2d(6, 8, 3, 1, 1), nn.PReLU(8), nn.Conv2d(8, 6, 1), nn.BatchNorm2d(6))
        self.depthwise = nn.Conv2d(6, 6, 3, 2, 1, groups=6)
        self.beside = nn.Conv2d(6, 3, 1)
        self.mix, self.fc = nn.Conv2d(9, 4, 1), nn.Linear(4, 10)

    def forward(self, x):
        x = self.stem(x)
        x = self.depthwise((x + self.one(x)).sigmoid())
        return self.fc(self.mix(torch.cat([x, self.beside(x)], 1).sigmoid()).sigmoid().mean((2, 3)))


def with_norms():
    return nn.Sequential(
        *(nn.Conv2d(1, 5, 3), nn.BatchNorm2d(5), nn.Softplus(), nn.Conv2d(5, 7, 3, bias=False), nn.BatchNorm2d(7)),
        *(nn.ReLU(), nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(63, 9), nn.BatchNorm1d(9), nn.Linear(9, 10)),
    )


class Depthwise(nn.Sequential):
    def __init__(self):
        super().__init__(
            *(nn.Conv2d(1, 6, 3, 2), nn.Conv2d(6, 6, 3, groups=6), nn.BatchNorm2d(6), nn.Hardsigmoid()),
            *(nn.Conv2d(6, 8, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)),
        )


NETWORKS = [LeNet5, SmallCNN, with_norms, Residual, Depthwise, resnet18, mobilenet_v3_small]


def drawn(make, seed=0):
    """The network with batch norms as if it had learned, biases that are not zero, evaluating."""
    torch.manual_seed(seed)
    network = make()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(module.weight, -1.5, 1.5)
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
        if getattr(module, "bias", None) is not None:
            nn.init.normal_(module.bias, std=0.5)
    return network.eval()


def pruned(network, pruning, pixels=PIXELS):
    """The masked network's logits, and the network when the masks are baked and cut."""
    pruning.prepare(network)
    pruning.find_groups(network, pixels[:1])
    pruning.prune(pruning.sparsity)
    with torch.no_grad():
        expected = network(pixels)
    return expected, pruning.finalize(network).eval()


def left(network):
    return {name: len(layer.weight) for name, layer in layers(network)}


@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize("make", NETWORKS, ids=lambda make: make.__name__)
def test_the_cut_network_computes_what_the_masked_one_did(make, scope):
    network, pruning = drawn(make), FilterPruning(0.5, scope=scope)
    before, outputs = sum(p.numel() for p in network.parameters()), left(network)
    expected, made = pruned(network, pruning)
    assert not any(parametrize.is_parametrized(module) for module in made.modules())
    with torch.no_grad():
        assert (made(PIXELS) - expected).abs().max() <= 1e-5 * expected.abs().max().clamp(min=1)
    assert sum(p.numel() for p in made.parameters()) < 0.6 * before
    gone = sum(group.size - int(made_of(made, group)) for group in pruning.groups)
    if scope == "global":
        assert gone == round(0.5 * sum(group.size for group in pruning.groups))
    for group in pruning.groups:
        assert {outputs[place.module] for place in group.filters} == {group.size}
        assert len({left(made)[place.module] for place in group.filters}) == 1
        if scope == "layer":
            assert made_of(made, group) == group.size - round(0.5 * group.size)


def made_of(network, group):
    return left(network)[group.filters[0].module]


@settings(max_examples=8, deadline=None)
@given(st.floats(0, 0.999), st.sampled_from(["global", "layer"]), st.integers(0, 99))
@example(0.999, "global", 17)  # by their scores alone two of one group would stay, and none of another
def test_one_channel_of_each_group_stays_at_any_sparsity(sparsity, scope, seed):
    network, pruning = drawn(Residual, seed), FilterPruning(sparsity, scope=scope)
    expected, made = pruned(network, pruning)
    sizes, kept = [group.size for group in pruning.groups], [made_of(made, group) for group in pruning.groups]
    assert min(kept) >= 1
    if scope == "global":
        assert sum(sizes) - sum(kept) == min(round(sparsity * sum(sizes)), sum(sizes) - len(sizes))
    else:
        assert kept == [max(1, size - round(sparsity * size)) for size in sizes]
    with torch.no_grad():
        assert torch.allclose(made(PIXELS), expected, atol=1e-5)


COLOURS = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize("sparsity", [0.3, 0.6])
def test_channels_go_across_shortcuts_that_pad_with_zeros(sparsity, scope):
    network, pruning = drawn(lambda: CifarResNet(2, (4, 8, 17))), FilterPruning(sparsity, scope=scope)
    expected, made = pruned(network, pruning, COLOURS)
    with torch.no_grad():
        assert (made(COLOURS) - expected).abs().max() <= 1e-5 * expected.abs().max().clamp(min=1)
    assert not pruning.named_whole
    streams = [len(stack[-1].conv2.weight) for stack in (made.layer1, made.layer2, made.layer3)]
    for inputs, outputs, stack in zip(streams, streams[1:], (made.layer2, made.layer3), strict=False):
        assert inputs + stack[0].shortcut.before + stack[0].shortcut.after == outputs
    assert made.linear.in_features == streams[-1] and made.conv1.out_channels == streams[0] and sum(streams) < 29
    if scope == "layer":
        assert streams == [4 - round(4 * sparsity), *(sum(n - round(n * sparsity) for n in parts) for parts in PARTS)]


PARTS = (4, 2, 2), (4, 2, 2, 4, 5)  # of the second stream and the third, in which channels can go by themselves


def test_what_is_logged_of_a_layer_counts_its_channels_of_all_groups():
    network, pruning = drawn(lambda: CifarResNet(1, (4, 8, 16))), FilterPruning(0.0, sparsities={"conv1": 0.5})
    pruning.prepare(network)
    pruning.find_groups(network, COLOURS)
    pruning.prune(0.0)
    logged = pruning.scalars(network)
    layers_of = ("conv1", "layer1.0.conv2", "layer2.0.conv2", "layer3.0.conv2", "layer3.0.conv1")
    assert [logged[f"sparsity/{name}"] for name in layers_of] == pytest.approx([0.5, 0.5, 0.25, 0.125, 0])


@pytest.mark.slow
def test_mobilenet_v2_loses_the_filters_of_its_depthwise_convolutions_too():
    network, pruning = drawn(mobilenet_v2), FilterPruning(0.5)
    before = left(network)
    expected, made = pruned(network, pruning, COLOURS)
    with torch.no_grad():
        assert (made(COLOURS) - expected).abs().max() <= 1e-5 * expected.abs().max().clamp(min=1)
    depthwise = {name for name, layer in layers(network) if getattr(layer, "groups", 1) > 1}
    assert len(depthwise) == 17 and not pruning.named_whole
    assert sum(left(made)[name] for name in depthwise) < 0.7 * sum(before[name] for name in depthwise)


def test_the_lowest_filters_go_and_those_tied_to_them():
    network = drawn(Residual)
    for name, layer in layers(network):
        if name in ("stem.0", "one.2", "depthwise"):
            layer.weight.data[[1, 4]] *= 1e-3
    _, made = pruned(network, FilterPruning(0.0, sparsities={"stem.0": 1 / 3}))
    assert left(made) == {"stem.0": 4, "one.0": 8, "one.2": 4, "depthwise": 4, "beside": 3, "mix": 4, "fc": 10}
    assert made.depthwise.groups == made.depthwise.in_channels == 4
    assert made.beside.in_channels == 4 and made.mix.in_channels == 7


def test_scores_are_sums_over_filters_relative_to_their_groups_mean():
    network = drawn(Residual)
    pruning = FilterPruning()
    pruning.prepare(network)
    pruning.find_groups(network, PIXELS[:1])
    [stream] = [group for group in pruning.groups if len(group.filters) == 3]
    tied = (network.stem[0], network.one[2], network.depthwise)
    sums = sum(layer.weight.detach().abs().flatten(1).sum(1) for layer in tied)
    expected = sums / sums.mean()
    expected[expected.argmax()] = torch.inf  # stays in any case
    assert torch.allclose(pruning.importance(stream, pruning.kept_channels(stream)), expected)


def test_torch_pruning_cuts_the_same_channels_to_the_same_network():
    network = drawn(resnet18)
    theirs = copy.deepcopy(network)
    pruning = FilterPruning(0.5, scope="layer")
    pruning.prepare(network)
    pruning.find_groups(network, PIXELS[:1])
    pruning.prune(0.5)
    kept = [pruning.kept_channels(group) for group in pruning.groups]
    mine = pruning.finalize(network).eval()
    graph = torch_pruning.DependencyGraph().build_dependency(theirs, PIXELS[:1])
    for group, keeps in zip(pruning.groups, kept, strict=True):
        root = theirs.get_submodule(group.filters[0].module)
        gone = (~keeps).nonzero().flatten().tolist()
        graph.get_pruning_group(root, torch_pruning.prune_conv_out_channels, gone).prune()
    for name, tensor in mine.state_dict().items():
        assert torch.equal(tensor, theirs.state_dict()[name]), name


def test_the_outputs_and_excluded_layers_stay():
    _, made = pruned(drawn(LeNet5), FilterPruning(0.75, scope="layer", exclude=["conv*"]))
    assert left(made) == {"conv1": 6, "conv2": 16, "fc1": 30, "fc2": 21, "fc3": 10}
    _, made = pruned(drawn(LeNet5), FilterPruning(0.0, sparsities={"conv1": 0.5, "fc1": 0.75}))
    assert left(made) == {"conv1": 3, "conv2": 16, "fc1": 30, "fc2": 84, "fc3": 10}
    assert made.conv2.in_channels == 3 and made.fc1.in_features == 256 and made.fc2.in_features == 30


@pytest.mark.parametrize(
    "criterion",
    [criteria.OptimalBrainSurgeon(block=8), criteria.Movement()],
    ids=lambda one: type(one).__name__,
)
def test_quantizers_stand_on_the_smaller_layers(digits, criterion):
    """One fit with both: the logits before the cut are those after it, and scales go with their outputs."""
    pruning = FilterPruning(0.5, interval=5, criterion=criterion, scope="layer")
    module = BaselineModule(SmallCNN(), [pruning, QuantizationAwareTraining(8)])
    train(module, digits)
    network = module.network.eval()
    scales = parametrization(network.fc1, WeightQuantizer).scale.clone()
    rows = pruning.kept_channels(next(g for g in pruning.groups if g.filters[0].module == "fc1"))
    with torch.no_grad():
        expected = network(PIXELS)
    cut = pruning.finalize(network)
    with torch.no_grad():
        assert torch.allclose(cut(PIXELS), expected, atol=1e-5)
    assert left(cut) == {"conv": 2, "fc1": 8, "fc2": 10} and cut.fc1.weight.shape == (8, 338)
    assert torch.equal(parametrization(cut.fc1, WeightQuantizer).scale, scales[rows])
    assert len(cut.fc1._forward_pre_hooks) == len(cut.fc2._forward_pre_hooks) == 1
    integers = module.techniques[1].finalize(cut).fc1.coded.integers
    assert integers.shape == (8, 338) and int(integers.abs().max()) == 127


class Mixing(nn.Sequential):
    """A softmax over channels: a zero is not nothing there."""

    def __init__(self):
        super().__init__(nn.Conv2d(1, 6, 3, 2), nn.Softmax(1), nn.Flatten(), nn.Linear(6 * 169, 10))


class Grouped(nn.Sequential):
    def __init__(self, norm=False):
        middle = nn.GroupNorm(3, 6) if norm else nn.Conv2d(6, 6, 1, groups=3)
        super().__init__(nn.Conv2d(1, 6, 3, 2), middle, nn.Flatten(), nn.Linear(6 * 169, 8), nn.Linear(8, 10))


def test_a_network_whose_channels_cannot_go_is_refused_or_left():
    with pytest.raises(UserError, match="Mixing has no filter that could go; it keeps those of 0: something mixes"):
        FilterPruning().find_groups(Mixing(), PIXELS[:1])
    for norm in (False, True):
        groups, whole = channels.find_groups(Grouped(norm), PIXELS[:1])
        assert [place.module for group in groups for place in group.filters] == ["3"] and "0" in whole
    with pytest.raises(UserError, match="prune=filter: Linear has no filter that could go"):
        FilterPruning().find_groups(nn.Linear(28, 10), PIXELS[0, 0])


class Starved(nn.Module):
    """The machine has no memory left as soon as anything is missing."""

    def __init__(self):
        super().__init__()
        self.first, self.act, self.last = nn.Linear(784, 8), nn.ReLU(), nn.Linear(8, 10)

    def forward(self, x):
        if self.last.in_features < 8 or isinstance(self.act, nn.Identity):
            raise MemoryError("no memory for a tensor")
        return self.last(self.act(self.first(x.flatten(1))))


@pytest.mark.parametrize("technique", [FilterPruning(), LayerPruning(["act"])])
def test_a_machine_without_memory_is_no_fault_of_the_networks(technique):
    with pytest.raises(Interrupted, match="no memory for a tensor"):
        technique.check(Starved(), PIXELS[:2])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sparsities": {"fc3": 0.5}}, r"prune.sparsities: the outputs of 'fc3' stay; those of conv1, .*fc2 can go"),
        ({"sparsities": {"fc1": 0.5}, "exclude": ["fc*"]}, "prune.sparsities: the outputs of 'fc1' stay"),
    ],
)
def test_a_layer_whose_outputs_must_stay_is_named(settings, message):
    pruning = FilterPruning(**settings)
    pruning.prepare(drawn(LeNet5))
    with pytest.raises(UserError, match=message):
        pruning.find_groups(drawn(LeNet5), PIXELS[:1])


def test_tied_layers_take_one_sparsity():
    pruning = FilterPruning(sparsities={"stem.0": 0.5, "one.2": 0.25})
    with pytest.raises(UserError, match=r"prune.sparsities: .*stem.0.* go together; give them one value"):
        pruning.find_groups(Residual(), PIXELS[:1])


def test_a_residual_block_leaves_and_the_rest_is_as_it_was():
    network = drawn(resnet18)
    parameters = sum(p.numel() for p in network.parameters())
    expected = parameters - (2 * 64 * 64 * 9 + 4 * 64) - (2 * 128 * 128 * 9 + 4 * 128)
    removal = LayerPruning(["layer1.1", "layer2.1"])
    removal.prepare(network)
    with torch.no_grad():
        x = network.maxpool(network.relu(network.bn1(network.conv1(PIXELS))))
        x = network.layer4(network.layer3(network.layer2[0](network.layer1[0](x))))
        assert torch.equal(network(PIXELS), network.fc(x.mean((2, 3))))
    assert not any(module._forward_pre_hooks for module in removal.finalize(network).modules())
    assert sum(p.numel() for p in network.parameters()) == expected


@pytest.mark.parametrize(
    ("named", "message"),
    [
        (["layer1.7"], r"prune.layers: layer1.7 is no part of ResNet; there are layer1.0, layer1.1"),
        (["layer1", "layer1.0"], "prune.layers: layer1.0 goes with layer1; name one of them"),
    ],
)
def test_what_cannot_be_found_is_not_removed(named, message):
    with pytest.raises(UserError, match=message):
        LayerPruning(named).check(torchvision.models.resnet18())


def test_a_block_that_changes_the_shape_is_not_removed():
    network = drawn(resnet18)
    LayerPruning(["layer2.0"]).prepare(network)
    with pytest.raises(UserError, match=r"prune.layers: layer2.0 changes the shape \(\(64, 7, 7\) to \(128, 4, 4\)\)"):
        network(PIXELS)
