"""Techniques on networks that lcomp did not write: a layer is changed only where that does what it says."""

import copy
import inspect

import networks
import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from networks import (
    Attentive,
    BareParameters,
    Body,
    CalledTwice,
    DeadChannels,
    Hooked,
    NeverCalled,
    RowsNormalized,
    SpectralNormalized,
    StandardizedConv2d,
    Tied,
    WeightStandardized,
)
from quickly import first_quickly
from torch import nn
from torch.nn.utils import parametrizations, prune
from training import train

from lcomp.errors import UserError
from lcomp.evaluation import measurement, size
from lcomp.export.onnx_export import export
from lcomp.models.blocks import Normalize
from lcomp.modules import BaselineModule
from lcomp.packed import load, pack
from lcomp.runtimes import ONNXRuntime, integer_kernels
from lcomp.tasks import ImageClassification
from lcomp.techniques import inspection, layer_graph
from lcomp.techniques.pruning import Pruning
from lcomp.techniques.pruning.criteria import Taylor
from lcomp.techniques.quantization import (
    DynamicQuantization,
    HybridQuantization,
    LearnedStepQuantization,
    MixedPrecision,
    QuantizationAwareTraining,
    StaticQuantization,
    WeightSharing,
)
from lcomp.techniques.quantization.integer_layers import QuantizedConv2d, QuantizedLinear
from lcomp.techniques.technique import finalize

ALL = [
    kind
    for _, kind in inspect.getmembers(networks, inspect.isclass)
    if issubclass(kind, nn.Module) and kind not in (Body, StandardizedConv2d)
]
POST_TRAINING = [DynamicQuantization, HybridQuantization, lambda: WeightSharing(8, begin=1)]


class Gained(nn.Conv2d):
    def forward(self, x):
        return F.conv2d(x, 0.3 * self.weight, self.bias, self.stride, self.padding)


class Same(nn.Conv2d):
    def forward(self, x):
        return super().forward(x)


class LowRankAdapted(nn.Linear):
    def __init__(self, inputs, outputs):
        super().__init__(inputs, outputs)
        self.down, self.up = nn.Parameter(torch.randn(2, inputs)), nn.Parameter(torch.randn(outputs, 2))

    def forward(self, x):
        return super().forward(x) + x @ self.down.t() @ self.up.t()


class Cosine(nn.Linear):
    def forward(self, x):
        return F.linear(F.normalize(x), F.normalize(self.weight))


class Heated(nn.Linear):
    def forward(self, x, temperature):
        return super().forward(x) / temperature


class OwnKernel(nn.Conv2d):
    def _conv_forward(self, x, weight, bias):
        return super()._conv_forward(x, weight - weight.mean(), bias)


def zeroed(kind, *arguments):
    layer = kind(*arguments)
    nn.init.zeros_(layer.weight)
    return layer


@pytest.mark.parametrize(
    ("layer", "as_its_kind", "zeros"),
    [
        (nn.Conv2d(3, 4, 3, 2, 1), True, True),
        (nn.Conv2d(4, 8, 3, groups=4, padding_mode="reflect", padding=1), True, True),
        (parametrizations.spectral_norm(nn.Linear(20, 30)), True, True),
        (Same(8, 8, 3), True, True),
        (Gained(3, 4, 3, 2, 1), False, True),
        (Cosine(20, 30), False, True),
        (StandardizedConv2d(1, 8, 3, 2, 1), False, False),
        (zeroed(StandardizedConv2d, 8, 16, 3, 2, 1), False, False),
        (OwnKernel(3, 4, 3), False, False),
        (LowRankAdapted(20, 30), False, False),
        (Heated(20, 30), False, False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else str(value),
)
def test_a_layer_says_what_it_computes(layer, as_its_kind, zeros):
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    assert inspection.computes_as_its_kind(layer) == as_its_kind
    assert inspection.keeps_zeros(layer) == zeros
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())


def test_a_forward_put_on_the_layer_itself_is_noticed():
    layer = nn.Linear(4, 4)
    layer.forward = lambda x: F.linear(x, layer.weight.abs())
    assert not inspection.computes_as_its_kind(layer)


@pytest.mark.parametrize("kind", ALL)
def test_asking_a_network_leaves_it_and_the_random_state_as_they_were(kind, pixels):
    network = kind().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = torch.get_rng_state()
    inspection.observed_calls(network, pixels[:2])
    assert torch.equal(state, torch.get_rng_state()) and all(module.training for module in network.modules())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_calls_tell_what_is_called_and_what_is_only_read(pixels):
    seen = inspection.observed_calls(Attentive(), pixels[:2])
    assert seen.ranks == {"patch": 4, "fc": 2} and seen.read == {"patch", "fc", "attention.out_proj"}
    seen = inspection.observed_calls(NeverCalled(), pixels[:2])
    assert set(seen.ranks) == seen.read == {"c1", "fc"}
    assert inspection.observed_calls(RowsNormalized(), pixels[:2]).ranks == {"fc1": 3, "fc2": 2, "out": 2}


@pytest.fixture(scope="module")
def pixels(digits):
    return digits.test.images[:300].float().div(255)


def made(kind, pixels):
    """A network whose batch norms have seen digits and whose batch norms' scales differ, in evaluation mode."""
    torch.manual_seed(0)
    network = kind()
    with torch.no_grad():
        for _ in range(5):
            network.train()(pixels)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) and kind is not DeadChannels:
                module.weight.uniform_(0.5, 1.5)
                module.bias.uniform_(-0.3, 0.3)
    return network.eval()


@torch.no_grad()
def logits(network, pixels):
    return network(pixels).numpy()


def close(seen, expected, tolerance):
    """Whether the root mean square difference is within `tolerance` of how much the expected logits vary."""
    spread = (expected - expected.mean(0)).std()
    return np.sqrt(np.square(seen - expected).mean()) < tolerance * spread


def after(technique, network, pixels):
    technique.check(network, pixels[:2])
    technique.prepare(network)
    return technique.finalize(network, [pixels]).eval()


def artifact(network, path, pixels):
    export(network, path, ImageClassification())
    return measurement.artifact_outputs(ONNXRuntime().session(path), {"pixels": pixels.numpy()})


@pytest.mark.parametrize("technique", POST_TRAINING, ids=["dynamic", "hybrid", "shared"])
@pytest.mark.parametrize("kind", ALL)
def test_eight_bits_change_logits_by_a_rounding(kind, technique, pixels):
    network = made(kind, pixels)
    expected = logits(network, pixels)
    rounded = after(technique(), network, pixels)
    assert close(logits(rounded, pixels), expected, 0.15)


@pytest.mark.parametrize("kind", first_quickly(ALL, 3))
def test_the_artifact_of_integers_gives_the_networks_logits(kind, pixels, tmp_path):
    network = made(kind, pixels)
    expected = logits(network, pixels)
    rounded = after(StaticQuantization(), network, pixels)
    own = artifact(rounded, tmp_path / "a.onnx", pixels)
    assert close(logits(rounded, pixels), expected, 0.15) and close(own, logits(rounded, pixels), 0.05)


@pytest.mark.parametrize(
    ("kind", "reasons"),
    [
        (WeightStandardized, {"c1": "does not compute as a Conv2d does", "c2": "does not compute as a Conv2d does"}),
        (Hooked, {"c1": "it has hooks of its own"}),
        (NeverCalled, {"old_head": "the network's forward does not use it"}),
        (Attentive, {"attention.out_proj": "its weight is read, but the layer itself is not called"}),
    ],
)
def test_layers_left_in_float_are_named_with_the_reason_and_the_others_become_integers(kind, reasons, pixels, caplog):
    network = made(kind, pixels)
    names = [name for name, module in network.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    with caplog.at_level("WARNING", "lcomp"):
        rounded = after(StaticQuantization(), network, pixels)
    for name in names:
        integer = isinstance(rounded.get_submodule(name), QuantizedConv2d | QuantizedLinear)
        assert integer == (name not in reasons), name
    for name, reason in reasons.items():
        assert any(f"quant leaves {name} as it is" in line and reason in line for line in caplog.messages)


def test_weights_that_no_layer_holds_are_named(pixels, caplog):
    with caplog.at_level("WARNING", "lcomp"):
        after(StaticQuantization(), made(BareParameters, pixels), pixels)
        after(StaticQuantization(), made(Attentive, pixels), pixels)
    lines = [line.partition("left as they are: ")[2] for line in caplog.messages if "left as they are: " in line]
    assert lines == ["w1, w2", "attention.in_proj_weight"]


def test_a_layer_of_which_nothing_can_be_kept_is_refused_before_training(pixels):
    network = nn.Sequential(StandardizedConv2d(1, 8, 3), nn.Flatten())
    with pytest.raises(UserError, match=r"prune: no layer of Sequential can be acted on \(0: what it computes has no"):
        Pruning(0.5).check(network, pixels[:2])
    with pytest.raises(UserError, match=r"quant: no layer of Sequential .*0: it does not compute as a Conv2d does"):
        StaticQuantization().check(network, pixels[:2])


@pytest.mark.parametrize(
    ("technique", "message"),
    [
        (Pruning(0.5, sparsities={"c1": 0.9}), r"prune\.sparsities\.c1: c1 cannot be pruned \(what it computes"),
        (StaticQuantization(bits_of={"c*": 4}), r"quant\.bits_of\.c\*: c1 cannot be quantized \(it does not compute"),
        (WeightSharing(bits_of={"c1": 4}), r"quant\.bits_of\.c1: c1 cannot be quantized"),
    ],
)
def test_what_is_asked_of_a_layer_that_is_left_alone_is_refused(technique, message, pixels):
    with pytest.raises(UserError, match=message):
        technique.check(WeightStandardized(), pixels[:2])


def pruned(network, pixels, sparsity=0.75, criterion=None):
    technique = Pruning(sparsity) if criterion is None else Pruning(sparsity, criterion=criterion)
    technique.check(network, pixels[:2])
    technique.prepare(network)
    technique.prune(sparsity)
    masked = logits(network.eval(), pixels)
    return technique, masked, technique.finalize(network)


@pytest.mark.parametrize("kind", first_quickly(ALL, 3))
def test_the_artifacts_zeros_are_those_that_were_asked_for(kind, pixels, tmp_path):
    network = made(kind, pixels)
    technique, masked, baked = pruned(network, pixels)
    assert np.array_equal(logits(baked, pixels), masked)
    own = artifact(baked, tmp_path / "a.onnx", pixels)
    assert np.abs(own - masked).max() < 1e-4 * max(1, np.abs(masked).max())
    acted_on = sum(layer.weight.numel() for layer in technique.masked)
    model = onnx.load(tmp_path / "a.onnx")
    stored = sum(int((onnx.numpy_helper.to_array(tensor) == 0).sum()) for tensor in model.graph.initializer)
    counted = size.of_graph(tmp_path / "a.onnx").sparsity
    assert stored >= round(0.75 * acted_on)
    weights = sum(np.prod(t.dims) for t in model.graph.initializer if len(t.dims) > 1)
    assert counted * weights == pytest.approx(round(0.75 * acted_on), abs=weights * 0.02)


def test_only_layers_whose_zeros_survive_are_pruned(pixels):
    technique, _, baked = pruned(made(WeightStandardized, pixels), pixels)
    assert technique.masked == [baked.fc] and (baked.fc.weight == 0).float().mean() == 0.75
    assert (baked.c1.weight != 0).all() and (baked.c2.weight != 0).all()


def test_what_forward_does_not_use_neither_counts_nor_is_ranked(pixels):
    _, _, baked = pruned(made(NeverCalled, pixels), pixels)
    zeros = int((baked.c1.weight == 0).sum() + (baked.fc.weight == 0).sum())
    assert zeros == round(0.75 * (144 + 160)) and (baked.old_head.weight != 0).all()
    assert size.of_network(baked, pixels[:2]).parameters == 144 + 16 + 160 + 10


def test_a_shared_weight_has_one_mask_one_set_of_integers_and_counts_once(pixels, tmp_path):
    technique, _, baked = pruned(made(Tied, pixels), pixels)
    assert baked.a.weight is baked.b.weight and len(technique.masked) == 3
    weights = 784 * 64 + 64 * 64 + 64 * 10
    zeros = sum(int((layer.weight == 0).sum()) for layer in (baked.inp, baked.a, baked.out))
    assert zeros == round(0.75 * weights)
    rounded = after(StaticQuantization(), baked, pixels)
    assert rounded.a.coded is rounded.b.coded
    assert size.of_network(rounded, pixels[:2]).parameters == weights + 3 * 64 + 10
    export(rounded, tmp_path / "a.onnx", ImageClassification())
    assert (tmp_path / "a.onnx").stat().st_size < weights + 6_000
    assert size.of_graph(tmp_path / "a.onnx").sparsity >= zeros / weights


@pytest.mark.parametrize("kind", [Tied, CalledTwice])
def test_weights_used_in_two_places_stand_in_the_file_once_and_pack(kind, pixels, tmp_path, monkeypatch):
    monkeypatch.setattr(integer_kernels, "saturate", lambda: True)  # exact kernels are those that own their weights
    rounded = after(StaticQuantization(), made(kind, pixels), pixels)
    export(rounded, tmp_path / "a.onnx", ImageClassification())
    graph = onnx.load(tmp_path / "a.onnx").graph
    stored = [t.name for t in graph.initializer]
    read = [node.input for node in graph.node if node.op_type == "DequantizeLinear" and node.input[2] in stored]
    decoders = [inputs for inputs in read if "weight" in inputs[0]]
    assert len(decoders) == len({inputs[0] for inputs in decoders}) == len({inputs[2] for inputs in decoders}) == 4
    own = artifact(rounded, tmp_path / "a.onnx", pixels)
    weights = [t for t in onnx.load(tmp_path / "a.onnx").graph.initializer if len(t.dims) > 1]
    assert len(weights) == 3
    pack(tmp_path / "a.onnx", tmp_path / "a.lcomp")
    assert close(logits(load(tmp_path / "a.lcomp"), pixels), own, 0.05)


class HeldByABag(nn.Module):
    """The weight of a linear layer is also that of a bag of embeddings, on which nothing acts."""

    def __init__(self):
        super().__init__()
        self.embedding, self.fc = nn.EmbeddingBag(10, 784), nn.Linear(784, 10)
        self.fc.weight = self.embedding.weight
        self.out = nn.Linear(10, 10)

    def forward(self, x):
        return self.out(self.fc(x.flatten(1)) + self.embedding(torch.zeros(len(x), 1, dtype=torch.long))[:, :10])


def test_a_weight_that_something_else_holds_too_is_left_alone(pixels, caplog):
    with caplog.at_level("WARNING", "lcomp"):
        technique, _, _ = pruned(HeldByABag(), pixels)
    assert [len(layer.weight[0]) for layer in technique.masked] == [10]
    assert "prune leaves fc as it is: its weight is embedding.weight too" in caplog.messages


def test_a_layer_whose_twin_is_excluded_is_left_alone_with_it(pixels):
    technique = Pruning(0.5, exclude=["b"])
    technique.prepare(network := Tied())
    assert technique.masked == [network.inp, network.out]


@pytest.mark.parametrize("normed", [parametrizations.spectral_norm, parametrizations.weight_norm])
def test_the_weight_in_force_is_what_is_pruned_and_rounded(normed, pixels):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), normed(nn.Linear(784, 30)), nn.ReLU(), nn.Linear(30, 10)).eval()
    in_force = network[1].weight.detach().clone()
    _, _, baked = pruned(network, pixels, 0.5)
    kept = baked[1].weight != 0
    assert torch.equal(baked[1].weight[kept], in_force[kept]) and not hasattr(baked[1], "parametrizations")
    ranked = torch.cat([in_force.flatten(), baked[3].weight.flatten()]).abs()
    assert in_force[~kept].abs().max() <= ranked.median() * 1.5
    rounded = after(HybridQuantization(), baked, pixels)
    assert torch.allclose(rounded[1].weight, baked[1].weight, atol=float(in_force.abs().max()) / 127)


def test_a_criterion_that_needs_gradients_leaves_parametrized_layers_alone(pixels):
    technique = Pruning(0.5, criterion=Taylor())
    technique.check(network := SpectralNormalized(), pixels[:2])
    technique.prepare(network)
    assert technique.masked == [network.fc]
    widths = MixedPrecision()
    widths.check(network := SpectralNormalized(), pixels[:2])
    assert [name for name, _, _ in (widths.prepare(network), widths.quantized_layers(network))[1]] == ["fc"]


@pytest.mark.parametrize("technique", [Pruning(0.5), StaticQuantization(), WeightSharing()])
def test_a_weight_that_a_hook_computes_is_left_alone(technique, pixels, caplog):
    network = nn.Sequential(nn.Flatten(), nn.Linear(784, 20), nn.Linear(20, 10))
    prune.l1_unstructured(network[1], "weight", 0.5)
    technique.check(network, pixels[:2])
    with caplog.at_level("WARNING", "lcomp"):
        technique.prepare(network)
    assert "leaves 1 as it is: a hook computes its weight (torch.nn.utils.prune, weight_norm)" in caplog.text


def test_a_batch_norm_over_another_axis_is_not_folded(pixels):
    network = made(RowsNormalized, pixels)
    assert layer_graph.batch_norms(network, inspection.observed_calls(network, pixels[:2])) == {}
    vectors = nn.Sequential(nn.Flatten(), nn.Linear(784, 20), nn.BatchNorm1d(20), nn.Linear(20, 10)).eval()
    assert layer_graph.batch_norms(vectors, inspection.observed_calls(vectors, pixels[:2])) == {"1": "2"}
    assert layer_graph.batch_norms(vectors) == {}


class ReadElsewhere(nn.Module):
    """A normalization and a batch norm beside a layer whose weight is used in a second place."""

    def __init__(self):
        super().__init__()
        self.normalize, self.fc, self.norm = Normalize(), nn.Linear(784, 784), nn.BatchNorm1d(784)
        self.out = nn.Linear(784, 10)

    def forward(self, x):
        y = self.norm(self.fc(self.normalize(x.flatten(1))))
        return self.out(F.linear(F.relu(y), self.fc.weight))


class PaddedNorm(nn.BatchNorm2d):
    def forward(self, x):
        return super().forward(x).abs()


def hooked_norm():
    norm = nn.BatchNorm2d(4)
    norm.register_forward_hook(lambda module, arguments, output: output + 1)
    return norm


def test_nothing_folds_into_a_layer_whose_weight_is_read_elsewhere(pixels):
    network = made(ReadElsewhere, pixels)
    observed = inspection.observed_calls(network, pixels[:2])
    assert layer_graph.foldable(network) == {} and layer_graph.batch_norms(network, observed) == {}
    expected = logits(network, pixels)
    assert close(logits(after(StaticQuantization(), network, pixels), pixels), expected, 0.15)


@pytest.mark.parametrize("norm", [PaddedNorm(4), hooked_norm()], ids=["subclass", "hook"])
def test_a_batch_norm_that_does_more_is_not_folded(norm):
    assert layer_graph.batch_norms(nn.Sequential(nn.Conv2d(1, 4, 3), norm)) == {}


@pytest.mark.parametrize(
    "layer",
    [StandardizedConv2d(1, 4, 3), parametrizations.spectral_norm(Gained(1, 4, 3))],
    ids=["standardized", "gain"],
)
def test_a_normalization_does_not_fold_into_a_layer_that_computes_otherwise(layer):
    assert layer_graph.foldable(nn.Sequential(Normalize(), layer)) == {}


class ByName(nn.Module):
    """Inputs given by their name, and the dtype of a weight asked for."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, 4, 3, 2), nn.Linear(4 * 169, 10)

    def forward(self, x):
        x = F.relu(self.conv(input=x.to(self.conv.weight.dtype)))
        return self.fc(input=x.flatten(1)[:, : self.fc.in_features])


@pytest.mark.parametrize("technique", [QuantizationAwareTraining, LearnedStepQuantization])
def test_inputs_by_name_and_readers_of_a_layers_weight_survive(technique, digits, pixels, tmp_path):
    module = BaselineModule(ByName(), [technique(8)])
    train(module, digits)
    expected = logits(module.network.eval(), pixels)
    network = module.finalize()
    assert isinstance(network.conv, QuantizedConv2d) and isinstance(network.fc, QuantizedLinear)
    assert close(artifact(network, tmp_path / "a.onnx", pixels), expected, 0.05)


def test_ranges_freeze_although_a_layer_is_never_called(digits):
    technique = QuantizationAwareTraining(8, freeze=0.5)
    module = BaselineModule(NeverCalled(), [technique])
    train(module, digits)  # nothing has told the technique before what forward calls
    called = [module.network.c1.parametrizations.weight[0], module.network.fc.parametrizations.weight[0]]
    assert all(quantizer.frozen for quantizer in called)
    network = module.finalize()
    assert isinstance(network.old_head, nn.Linear) and isinstance(network.fc, QuantizedLinear)


def test_a_bare_trainer_learns_from_the_first_batch_what_counts(digits):
    module = BaselineModule(NeverCalled(), [Pruning(0.75, end=0.5, interval=2)])
    train(module, digits)
    network = module.finalize()
    zeros = int((network.c1.weight == 0).sum() + (network.fc.weight == 0).sum())
    assert zeros == round(0.75 * (144 + 160)) and (network.old_head.weight != 0).all()


def test_biases_of_nearly_dead_channels_stay_within_32_bits(pixels, tmp_path):
    network = made(DeadChannels, pixels)
    with torch.no_grad():
        network.b1.bias[:2] = 1.0
    expected = logits(network, pixels)
    rounded = after(StaticQuantization(), network, pixels)
    unit = rounded.c1.coded.scale * rounded.c1.quantize_input.scale
    assert (rounded.c1.bias.abs() / unit <= 2**30 * 1.001).all()
    assert close(artifact(rounded, tmp_path / "a.onnx", pixels), expected, 0.1)


class WeightNormalized(Body):
    def __init__(self):
        convs = nn.Conv2d(1, 8, 3, 2, 1), nn.Conv2d(8, 16, 3, 2, 1)
        super().__init__(*map(parametrizations.weight_norm, convs), (1, 28, 28), 10)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [WeightStandardized, Hooked, SpectralNormalized, WeightNormalized, CalledTwice, Tied])
def test_sparse_training_with_rounded_weights_ends_in_an_artifact_that_agrees(kind, digits, pixels, tmp_path):
    torch.manual_seed(0)
    techniques = [Pruning(0.5, interval=2), QuantizationAwareTraining(8)]
    module = BaselineModule(kind(), techniques)
    train(module, digits)
    expected = logits(module.network.eval(), pixels)
    network = finalize(copy.copy(module.network), techniques, [pixels])
    own = artifact(network, tmp_path / "a.onnx", pixels)
    assert (own.argmax(1) == expected.argmax(1)).mean() > 0.98
