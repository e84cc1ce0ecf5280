"""Integers in the file, integer kernels in the runtime, the network's own answers."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx_graphs import initializers, integer_weights, logits, operators, optimized
from quickly import first_quickly
from torch import nn
from training import Watch, loaders, train

from lcomp.errors import UserError
from lcomp.export.onnx_export import export
from lcomp.models import LeNet5, SmallCNN
from lcomp.modules import BaselineModule, QATModule
from lcomp.tasks import ImageClassification
from lcomp.techniques import layer_graph
from lcomp.techniques.parametrizations import parametrization
from lcomp.techniques.quantization import DynamicQuantization, QuantizationAwareTraining, StaticQuantization
from lcomp.techniques.quantization.fake import (
    ActivationQuantizer,
    DynamicQuantizer,
    WeightQuantizer,
    fake_quantize,
    rounded_straight_through,
)
from lcomp.techniques.quantization.grids import Uniform
from lcomp.techniques.quantization.integer_layers import Input
from lcomp.techniques.quantization.quantization import quantizers
from lcomp.techniques.quantization.ranges import MovingAverage
from lcomp.techniques.quantization.static import enable_weights
from lcomp.techniques.technique import layers

FLOATS = st.floats(-100, 100, width=32, allow_subnormal=False)


def quantized(technique, network, digits):
    """A copy of `network` after post-training quantization."""
    network = copy.deepcopy(network).requires_grad_(True)
    technique.prepare(network)
    return technique.finalize(network, (batch[0] for batch in digits.train_dataloader())).eval()


@pytest.fixture(scope="module")
def after_qat(digits, trained):
    """LeNet-5 after one short fit with 8-bit QAT: (fake-quantized network, integer network)."""
    module = QATModule(copy.deepcopy(trained).requires_grad_(True).train(), 8)
    train(module, digits, steps=40)
    fake = copy.deepcopy(module.network).eval()
    return fake, module.finalize()


@pytest.fixture(scope="module")
def pixels(digits):
    return digits.test.images.float() / 255


@given(st.lists(FLOATS, min_size=2, max_size=40), st.integers(2, 8))
def test_weights_round_to_their_grid_and_zeros_stay_zeros(values, bits):
    weight = torch.tensor([values, [0.0] * len(values)])
    weight[0, 0] = 0.0
    quantizer = WeightQuantizer(weight, Uniform(bits))
    quantizer.observe(weight)
    quantizer.enabled.fill_(True)
    quantizer.eval()
    seen = quantizer(weight)
    integers = quantizer.integers(weight)
    assert integers.abs().max() <= 2 ** (bits - 1) - 1
    assert torch.allclose(seen, integers.float() * quantizer.scale, rtol=1e-6, atol=1e-12)
    assert (seen - weight).abs().max() <= quantizer.scale.max() / 2 * (1 + 1e-5)
    assert seen[0, 0] == 0 and not seen[1].any()


def test_granularity_is_one_scale_per_channel_or_one_per_tensor():
    weight = torch.tensor([[1.0, -2.0], [0.5, 0.1], [0.0, 0.0]])
    for granularity, largest in (("channel", [2.0, 0.5, 2.0]), ("tensor", [2.0, 2.0, 2.0])):
        quantizer = WeightQuantizer(weight, Uniform(8), granularity)
        quantizer.observe(weight)
        assert torch.allclose(quantizer.scale.flatten() * 127, torch.tensor(largest))
    with pytest.raises(UserError, match=r"quant.granularity=layer: allowed are channel, tensor"):
        StaticQuantization(granularity="layer")


@given(st.lists(FLOATS, min_size=1, max_size=40), st.integers(2, 8))
def test_activations_round_to_their_grid_within_half_a_step(values, bits):
    x = torch.tensor(values)
    quantizer = ActivationQuantizer(bits)
    quantizer.observe(x)
    quantizer.enabled.fill_(True)
    seen = quantizer(x)
    assert (seen - x).abs().max() <= quantizer.scale * (1 + 1e-4)  # zero is exact, which can cost the ends half a step
    assert len(seen.unique()) <= 2**bits
    assert quantizer(torch.zeros(1)) == 0


@given(st.lists(FLOATS, min_size=1, max_size=40))
def test_dynamic_quantizer_is_onnx_dynamic_quantize_linear(values):
    from onnx.reference.ops.op_dynamic_quantize_linear import DynamicQuantizeLinear

    x = np.array(values, np.float32)
    integers, scale, zero_point = DynamicQuantizeLinear.eval(x)
    expected = (integers.astype(np.float32) - zero_point) * scale
    seen = DynamicQuantizer()(torch.from_numpy(x)).numpy()
    assert np.abs(seen - expected).max() <= (scale * 1.001 if scale else 0)  # at most one step, where a tie falls
    assert (np.abs(seen - expected) > 1e-4 * (1 + np.abs(x))).mean() <= 0.5


def test_gradient_passes_inside_the_range_and_stops_outside():
    x = torch.tensor([-1.0, 0.3, 0.9, 5.0], requires_grad=True)
    fake_quantize(x, torch.tensor(0.1), torch.tensor(0.0), 15).sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 0]
    x = torch.tensor([0.01, 0.04, 1.46, 1.49], requires_grad=True)  # inside, and rounded to the ends
    fake_quantize(x, torch.tensor(0.1), torch.tensor(0.0), 15).sum().backward()
    assert x.grad.tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("ends", [(-1.0, 1.0), (-8.0, 7.0), (0.0, 255.0)])
@pytest.mark.parametrize("shape", [(16, 6, 5, 5), (64, 50)])
def test_gradients_are_those_that_autograd_makes_step_by_step(ends, shape):
    def step_by_step(x, step, lowest, largest):
        inside = (x / step).clamp(lowest, largest)
        return (inside + (inside.round() - inside).detach()) * step

    torch.manual_seed(0)
    lowest, largest = (torch.tensor(end) for end in ends)
    for steps in (1, shape[0]):
        step = torch.empty(steps, *[1] * (len(shape) - 1)).uniform_(0.1, 0.3)
        scaled = torch.empty(shape).uniform_(2 * ends[0] - 1, 2 * ends[1])
        near = torch.rand(shape) < 0.5  # at the ends, and as near to them as numbers get
        close = torch.tensor(ends)[torch.randint(2, shape)] + torch.randint(-3, 4, shape) * 2.0**-22
        x, upstream = torch.where(near, close, scaled) * step, torch.randn(shape)
        seen = []
        for function in (step_by_step, rounded_straight_through):
            leaves = [x.clone().requires_grad_(), step.clone().requires_grad_()]
            rounded = function(*leaves, lowest, largest)
            rounded.backward(upstream)
            seen.append([rounded.detach(), *(leaf.grad for leaf in leaves)])
        assert all(torch.equal(one, other) for one, other in zip(*seen, strict=True))


def test_rounding_starts_at_begin_and_ranges_freeze(digits):
    def look(module):
        activation, weight = (quantizers(module.network, kind)[-1] for kind in (ActivationQuantizer, WeightQuantizer))
        return bool(activation.enabled), float(activation.high), weight.scale.sum().item()

    watch = Watch(look)
    technique = QuantizationAwareTraining(8, begin=0.25, freeze=0.6)
    train(BaselineModule(LeNet5(), [technique]), digits, callbacks=[watch])
    enabled, highs, scales = zip(*watch.seen, strict=True)
    assert list(enabled) == [False] * 5 + [True] * 15
    assert len(set(highs[:5])) == 1 and len(set(highs[5:12])) == 7 and len(set(highs[11:])) == 1
    assert len(set(scales[5:12])) == 7 and len(set(scales[11:])) == 1


def test_a_window_between_two_steps_still_observes_once(digits):
    module = BaselineModule(SmallCNN(), [QuantizationAwareTraining(8, begin=0.51, freeze=0.54)])
    train(module, digits)
    assert all(float(q.high) > 0 for q in quantizers(module.network, ActivationQuantizer))
    assert all(layer.coded.integers.abs().max() == 127 for layer in (module.finalize().fc1, module.network.fc2))


def test_validation_leaves_the_ranges_alone(digits):
    module = QATModule(LeNet5(), 8, freeze=1.0)
    train(module, digits, steps=5)
    before = [float(q.high) for q in quantizers(module.network, ActivationQuantizer)]
    module.network.eval()(100 * loaders(digits)[1].dataset.tensors[0])
    assert [float(q.high) for q in quantizers(module.network, ActivationQuantizer)] == before


def test_moving_average_of_the_ranges():
    quantizer = ActivationQuantizer(8, MovingAverage(0.1))
    quantizer.observe(torch.tensor([0.0, 1.0]))
    quantizer.observe(torch.tensor([-1.0, 3.0]))
    assert (float(quantizer.low), float(quantizer.high)) == pytest.approx((-0.1, 1.2))


def test_qat_file_has_integers_and_runs_integer_kernels(after_qat, tmp_path, pixels):
    fake, network = after_qat
    path = tmp_path / "qat.onnx"
    export(network, path, ImageClassification(), "")
    assert sorted(w.size for w in integer_weights(path)) == sorted(p.weight.numel() for _, p in layers(LeNet5()))
    assert not any(a.dtype == "float32" and a.ndim > 1 for a in initializers(path).values())
    kernels = optimized(path)
    assert kernels["QLinearConv"] == 2 and kernels["QGemm"] == 2
    assert not kernels["Conv"]
    assert path.stat().st_size <= 52_000
    with torch.no_grad():
        expected = fake(pixels).numpy()
    seen = logits(path, pixels.numpy())
    assert (seen.argmax(1) == expected.argmax(1)).mean() >= 0.999
    assert np.abs(seen - expected).max() < 0.2


def test_integer_network_gives_the_fake_quantized_networks_logits(after_qat, pixels):
    fake, network = after_qat
    with torch.no_grad():
        one, other = network(pixels), fake(pixels)
    assert (one.argmax(1) == other.argmax(1)).float().mean() >= 0.999
    assert ((one - other).abs().amax(1) > 1e-3).float().mean() < 0.05  # a tie that falls the other way moves one step


@pytest.mark.parametrize("network", [LeNet5, SmallCNN])
@pytest.mark.parametrize(("bits", "agreement"), first_quickly([(8, 0.999), (4, 0.99)]))  # 4: a coarse step of a tie
def test_static_quantization_exports_what_it_computes(digits, tmp_path, network, bits, agreement, pixels):
    torch.manual_seed(1)
    made = quantized(StaticQuantization(bits, calibration_images=500), network(), digits)
    path = tmp_path / "static.onnx"
    export(made, path, ImageClassification(), "")
    with torch.no_grad():
        expected = made(pixels).numpy()
    assert (logits(path, pixels.numpy()).argmax(1) == expected.argmax(1)).mean() >= agreement
    assert max(np.abs(w).max() for w in integer_weights(path)) == 2 ** (bits - 1) - 1


def test_narrow_activations_saturate_in_the_file_as_in_the_network(tmp_path, pixels):
    class Narrow(nn.Module):
        def __init__(self):
            super().__init__()
            quantizer = ActivationQuantizer(4)
            quantizer.observe(torch.tensor([0.0, 0.5]))
            self.quantize, self.flatten, self.linear = (
                Input(quantizer.scale, quantizer.zero_point, quantizer.levels),
                nn.Flatten(),
                nn.Linear(784, 10),
            )

        def forward(self, x):
            return self.linear(self.flatten(self.quantize(x)))

    network = Narrow().eval()
    export(network, tmp_path / "narrow.onnx", ImageClassification())
    with torch.no_grad():
        expected = network(pixels[:200]).numpy()
    assert np.abs(logits(tmp_path / "narrow.onnx", pixels[:200].numpy()) - expected).max() < 1e-4


def test_static_8_bits_cost_almost_nothing(digits, trained, pixels):
    labels = digits.test.labels
    made = quantized(StaticQuantization(8), trained, digits)
    with torch.no_grad():
        before, after = (float((n(pixels).argmax(1) == labels).float().mean()) for n in (trained, made))
    assert after >= before - 0.005


def test_static_ranges_are_the_extremes_over_the_calibration_examples(digits, trained):
    network = copy.deepcopy(trained)
    technique = StaticQuantization(8, calibration_images=300)
    technique.prepare(network)
    quantizer = network.fc2.input_quantizer
    inputs = []
    plain = copy.deepcopy(trained)
    plain.fc2.register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
    images = digits.train.images.float().split(100)
    technique.finalize(network, (batch / 255 for batch in images))
    for batch in images[:3]:
        plain(batch / 255)
    assert float(quantizer.high) == pytest.approx(float(torch.cat(inputs).max()), rel=1e-5)


def test_dynamic_graph_stores_no_activation_scale(digits, trained, tmp_path, pixels):
    made = quantized(DynamicQuantization(8), trained, digits)
    path = tmp_path / "dynamic.onnx"
    export(made, path, ImageClassification(), "")
    seen = operators(path)
    assert seen["DynamicQuantizeLinear"] == 5 and seen["QuantizeLinear"] == 0
    assert not any(a.ndim == 0 and a.dtype == "float32" for a in initializers(path).values())
    assert len(integer_weights(path)) == 5
    few = pixels[:100].numpy()
    with torch.no_grad():
        expected = made(pixels[:100]).numpy()
    assert (logits(path, few).argmax(1) == expected.argmax(1)).mean() >= 0.99


@settings(max_examples=7)
@given(st.integers(2, 8))
def test_any_width_keeps_its_levels(bits):
    network = LeNet5()
    technique = QuantizationAwareTraining(bits, bits)
    technique.prepare(network)
    weight = parametrization(network.conv1, WeightQuantizer)
    assert weight.largest == 2 ** (bits - 1) - 1
    assert network.fc1.input_quantizer.levels == 2**bits - 1
    assert network.normalize.input_quantizer.levels == 255  # pixels keep 8 bits


def test_excluded_layers_stay_float(digits, tmp_path):
    made = quantized(StaticQuantization(8, exclude=["fc*"]), LeNet5(), digits)
    path = tmp_path / "some.onnx"
    export(made, path, ImageClassification(), "")
    assert len(integer_weights(path)) == 2
    assert sum(a.dtype == "float32" and a.ndim == 2 for a in initializers(path).values()) == 3


def with_batch_norms(seed=0):
    """Three convolutions of one width (equal zero points), batch norms with gains of either sign and one of zero."""
    blocks = [
        nn.Sequential(nn.Conv2d(c, 6, 3, bias=i > 0), nn.BatchNorm2d(6), nn.ReLU()) for i, c in enumerate((1, 6, 6))
    ]
    network = nn.Sequential(*blocks, nn.Flatten(), nn.Linear(6 * 22 * 22, 10))
    for index, module in enumerate(m for m in network.modules() if isinstance(m, nn.BatchNorm2d)):
        random = torch.Generator().manual_seed(index)
        for tensor in (module.weight.data, module.bias.data, module.running_mean):
            tensor.copy_(torch.randn(6, generator=random))
        module.running_var.uniform_(0.5, 2, generator=random)
        module.weight.data[0] = 0
    return network.eval()


def test_batch_norm_is_folded_exactly_and_leaves_integer_kernels(digits, tmp_path, pixels):
    network = with_batch_norms()
    technique = StaticQuantization(8, calibration_images=200)
    technique.prepare(network)
    fake = copy.deepcopy(network)
    made = technique.finalize(network, (batch[0] for batch in digits.train_dataloader())).eval()
    for mine, theirs in zip(quantizers(fake, ActivationQuantizer), quantizers(made, Input), strict=True):
        mine.low.copy_(-theirs.zero_point.float() * theirs.scale)
        mine.high.copy_(mine.low + mine.levels * theirs.scale)
        mine.enabled.fill_(True)
    enable_weights(fake)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in made.modules())
    with torch.no_grad():
        one, other = made(pixels[:20]), fake(pixels[:20])
    assert (one - other).abs().max() < 0.05 * other.std()
    path = tmp_path / "norms.onnx"
    export(made, path, ImageClassification(), "")
    assert optimized(path)["QLinearConv"] == 3 and operators(path)["BatchNormalization"] == 0
    with torch.no_grad():
        expected = made(pixels).numpy()
    assert (logits(path, pixels.numpy()).argmax(1) == expected.argmax(1)).mean() >= 0.999


def test_batch_norm_that_another_reader_bypasses_stays():
    class Bypassed(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)

        def forward(self, x):
            x = self.conv(x)
            return x + self.norm(x)

    assert layer_graph.batch_norms(Bypassed()) == {}
    assert layer_graph.batch_norms(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))) == {"0": "1"}
    assert (
        layer_graph.batch_norms(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2, track_running_stats=False))) == {}
    )


def test_normalization_is_folded_only_where_nothing_is_padded():
    class Padded(nn.Module):
        def __init__(self):
            super().__init__()
            self.normalize, self.conv = LeNet5().normalize, nn.Conv2d(1, 2, 3, padding=1)

        def forward(self, x):
            return self.conv(self.normalize(x))

    assert layer_graph.foldable(LeNet5()) == {"conv1": "normalize"}
    assert layer_graph.foldable(Padded()) == {}


@pytest.mark.parametrize(
    ("technique", "settings", "message"),
    [
        (QuantizationAwareTraining, {"bits": 1}, "quant.bits=1: .*2 to 8"),
        (StaticQuantization, {"bits": 16}, "quant.bits=16"),
        (QuantizationAwareTraining, {"activation_bits": 9}, "quant.activation_bits=9"),
        (DynamicQuantization, {"activation_bits": 4}, "quant.activation_bits=4: .*quant=static"),
        (QuantizationAwareTraining, {"begin": 0.5, "freeze": 0.5}, "quant.begin=0.5, quant.freeze=0.5"),
        (QuantizationAwareTraining, {"begin": 0.5, "freeze": 0.2}, "quant.begin=0.5, quant.freeze=0.2: shares"),
        (StaticQuantization, {"calibration_images": 0}, "quant.calibration_images=0"),
    ],
)
def test_impossible_settings_are_refused_by_name(technique, settings, message):
    with pytest.raises(UserError, match=message):
        technique(**settings)


def test_a_layer_that_cannot_be_quantized_is_refused():
    network = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"))
    with pytest.raises(UserError, match="pads with 'reflect'"):
        StaticQuantization().check(network)


def test_static_without_calibration_images_is_refused():
    technique, network = StaticQuantization(), SmallCNN()
    technique.prepare(network)
    with pytest.raises(UserError, match="needs calibration examples"):
        technique.finalize(network)
