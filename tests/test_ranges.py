"""Range estimators against their definitions, computed independently; the scale of weights with the least error."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx_graphs import initializers, integer_weights, logits, operators
from torch import nn

from lcomp.errors import UserError
from lcomp.export.onnx_export import export
from lcomp.models import SmallCNN
from lcomp.tasks import ImageClassification
from lcomp.techniques.quantization import HybridQuantization, QuantizationAwareTraining, StaticQuantization
from lcomp.techniques.quantization.fake import ActivationQuantizer, WeightQuantizer
from lcomp.techniques.quantization.grids import Binary, PowerOfTwo, Uniform
from lcomp.techniques.quantization.ranges import MeanSquaredError, MovingAverage, Percentile, min_max

VALUES = st.lists(st.floats(-50, 50, width=32, allow_subnormal=False), min_size=3, max_size=40)


def observed(estimator, *batches, bits=8):
    """The range after those batches."""
    quantizer = ActivationQuantizer(bits, estimator)
    for batch in batches:
        quantizer.observe(torch.as_tensor(batch, dtype=torch.float32))
    assert int(quantizer.seen) == len(batches)
    return float(quantizer.low), float(quantizer.high)


def error(x, low, high, bits):
    """The squared error of rounding `x` in that range, in numpy."""
    scale = (high - low) / (2**bits - 1)
    zero = np.round(-low / scale)
    return float(((np.clip(np.round(x / scale) + zero, 0, 2**bits - 1) - zero) * scale - x).__pow__(2).sum())


@given(VALUES, VALUES)
def test_min_max_is_the_extremes_of_all_and_zero(one, other):
    assert observed(min_max, one, other) == (min(*one, *other, 0.0), max(*one, *other, 0.0))


def test_moving_average_begins_with_the_first_batch():
    assert observed(MovingAverage(0.25), [0.0, 4.0]) == (0.0, 4.0)
    assert observed(MovingAverage(0.25), [0.0, 4.0], [-4.0, 8.0]) == (-1.0, 5.0)


@given(VALUES, st.sampled_from([60.0, 75.0, 90.0, 99.99, 100.0]))
def test_percentile_is_numpys_inverted_distribution(values, percentile):
    x = np.array(values, np.float32)
    high = max(0.0, float(np.percentile(x, percentile, method="inverted_cdf")))
    low = min(0.0, -float(np.percentile(-x, percentile, method="inverted_cdf")))
    assert observed(Percentile(percentile), values) == (low, high)


def test_one_outlier_in_ten_thousand_is_outside_the_percentile():
    x = np.linspace(0, 1, 20_001, dtype=np.float32)
    x[-1] = 1000.0
    low, high = observed(Percentile(99.99), x)
    assert low == 0 and high < 1
    assert observed(Percentile(100), x)[1] == 1000


def test_batches_count_alike_until_the_momentum_is_more():
    highs = [1.0, 5.0, 9.0, 17.0]
    batches = [[0.0, high] for high in highs]
    assert observed(Percentile(100, 0.05), *batches)[1] == pytest.approx(np.mean(highs))
    mean_of_two = (1.0 + 5.0) / 2
    expected = (mean_of_two + 9.0) / 2  # from the third on with 1/2
    assert observed(Percentile(100, 0.5), *batches[:3])[1] == pytest.approx(expected)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("shift", [0.0, -1.0])
def test_mse_is_the_best_of_a_hundred_shares_of_the_extremes(bits, shift):
    if bits == 1 and shift:
        return
    x = np.random.default_rng(0).exponential(1.0, 2000).astype(np.float32) + np.float32(shift)
    ends = min(0.0, float(x.min())), float(x.max())
    low, high = observed(MeanSquaredError(), x, bits=bits)
    best = min(error(x, share * ends[0], share * ends[1], bits) for share in np.arange(1, 101) / 100)
    assert error(x, low, high, bits) == pytest.approx(best, rel=1e-4)
    assert low / ends[0] == pytest.approx(high / ends[1]) if ends[0] else low == 0
    if bits <= 4:
        assert best < 0.8 * error(x, *ends, bits)


def test_mse_keeps_the_whole_range_where_clipping_costs():
    assert observed(MeanSquaredError(), np.arange(16), bits=4) == (0.0, 15.0)
    assert observed(MeanSquaredError(), np.zeros(4)) == (0.0, 0.0)


def test_one_bit_has_zero_and_a_scale_and_no_gradient_beyond_it():
    quantizer = ActivationQuantizer(1, MeanSquaredError())
    quantizer.low.fill_(0.0)
    quantizer.high.fill_(2.0)
    quantizer.enabled.fill_(True)
    x = torch.tensor([0.0, 0.9, 1.1, 1.9, 2.5, 9.0], requires_grad=True)
    seen = quantizer(x)
    seen.sum().backward()
    assert seen.tolist() == [0, 0, 2, 2, 2, 2]
    assert x.grad[1:].tolist() == [1, 1, 1, 0, 0]
    with pytest.raises(UserError, match=r"quant.activation_bits=1: .*negative values.*quant.exclude"):
        quantizer.observe(torch.tensor([-1.0, 1.0]))


@pytest.mark.parametrize("grid", [Uniform(2), Uniform(4), PowerOfTwo(3), Binary()])
@pytest.mark.parametrize("granularity", ["channel", "tensor"])
def test_mse_scale_of_weights_has_the_least_error(grid, granularity):
    weight = torch.randn(3, 50, generator=torch.Generator().manual_seed(0)) * torch.tensor([[1.0], [5.0], [0.0]])

    def squared(quantizer, scale):
        return (grid.nearest(weight / scale, quantizer.threshold) * scale - weight).square().sum(1)

    plain, best = (WeightQuantizer(weight, grid, granularity, range) for range in ("grid", "mse"))
    for quantizer in (plain, best):
        quantizer.observe(weight)
    tried = torch.stack([squared(plain, plain.scale * share / 100) for share in range(1, 101)])
    tried = tried.sum(1, keepdim=True) if granularity == "tensor" else tried
    found = squared(best, best.scale)
    assert torch.allclose(found.sum() if granularity == "tensor" else found, tried.amin(0), rtol=1e-4)
    if grid.largest == 1 and isinstance(grid, Uniform):  # two bits: where clipping pays most
        assert found.sum() < 0.7 * squared(plain, plain.scale).sum()
    assert not best.integers(weight)[2].any() and best.scale.min() > 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MovingAverage(0), "quant.range.momentum=0: above 0, to 1"),
        (lambda: MeanSquaredError(1.5), "quant.range.momentum=1.5"),
        (lambda: Percentile(50), "quant.range.percentile=50: above 50, to 100"),
        (lambda: StaticQuantization(weight_range="max"), "quant.weight_range=max: allowed are grid, mse"),
        (lambda: StaticQuantization(8, 1), "quant.activation_bits=1: .*quant/range=mse"),
        (lambda: StaticQuantization(8, 4.0), "quant.activation_bits=4.0: a width in whole bits"),
        (lambda: QuantizationAwareTraining(8, True), "quant.activation_bits=True: .*null for floats"),
    ],
)
def test_impossible_settings_are_refused_by_name(make, message):
    with pytest.raises(UserError, match=message):
        make()


def test_static_averages_the_ranges_of_the_calibration_batches(digits, trained):
    network, inputs = copy.deepcopy(trained), []
    technique = StaticQuantization(8, calibration_images=300, range=Percentile(99))
    technique.prepare(network)
    quantizer = network.fc2.input_quantizer
    plain = copy.deepcopy(trained)
    plain.fc2.register_forward_pre_hook(lambda module, args: inputs.append(args[0].numpy()))
    batches = [batch / 255 for batch in digits.train.images[:300].float().split(100)]
    technique.finalize(network, batches)
    for batch in batches:
        plain(batch)
    highs = [np.percentile(x, 99, method="inverted_cdf") for x in inputs]
    assert float(quantizer.high) == pytest.approx(float(np.mean(highs)), rel=1e-5)


@pytest.mark.parametrize("technique", [HybridQuantization(4), QuantizationAwareTraining(4, None)])
def test_float_activations_leave_no_quantizer_and_integers_in_the_file(tmp_path, digits, technique):
    torch.manual_seed(0)
    network = SmallCNN().eval()
    technique.prepare(network)
    assert not any(isinstance(module, ActivationQuantizer) for module in network.modules())
    for module in network.modules():
        if isinstance(module, WeightQuantizer):
            module.enabled.fill_(True)
    plain = copy.deepcopy(network)
    made = technique.finalize(network).eval()
    pixels = digits.test.images[:200].float() / 255
    path = tmp_path / "hybrid.onnx"
    export(made, path, ImageClassification(), "")
    seen = operators(path)
    assert seen["QuantizeLinear"] == seen["DynamicQuantizeLinear"] == 0 and seen["DequantizeLinear"] == 3
    assert len(integer_weights(path)) == 3
    assert max(np.abs(w).max() for w in integer_weights(path)) <= 7
    assert not any(a.dtype == "float32" and a.ndim > 1 for a in initializers(path).values())
    with torch.no_grad():
        expected = made(pixels).numpy()
        if isinstance(technique, HybridQuantization):  # the scales of the other were never set
            for _, layer in plain.named_modules():
                if isinstance(layer, nn.Conv2d | nn.Linear):
                    layer.parametrizations.weight[0].observe(layer.parametrizations.weight.original)
        assert np.abs(plain(pixels).numpy() - expected).max() < 1e-3
    assert np.abs(logits(path, pixels.numpy()) - expected).max() < 1e-4
