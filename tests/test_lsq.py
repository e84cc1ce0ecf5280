"""Learned steps against the paper's equations, written out one value at a time, and against torch's own kernel."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from training import Watch, train

from lcomp.errors import UserError
from lcomp.models import LeNet5, SmallCNN
from lcomp.modules import BaselineModule
from lcomp.techniques.parametrizations import parametrization
from lcomp.techniques.pruning import Pruning
from lcomp.techniques.quantization import LearnedStepQuantization
from lcomp.techniques.quantization.fake import ActivationQuantizer
from lcomp.techniques.quantization.grids import Uniform
from lcomp.techniques.quantization.integer_layers import Input
from lcomp.techniques.quantization.lsq import LearnedActivation, LearnedWeight, learned_round
from lcomp.techniques.quantization.quantization import quantizers
from lcomp.techniques.technique import layers

VALUES = st.lists(st.floats(-8, 8, width=32, allow_subnormal=False), min_size=1, max_size=20)


def papers(v, s, lowest, largest):
    """Esser et al. 2020 for one value: (v_hat, its derivative by s, its derivative by v), eq. 1 to 3 and 5."""
    x = v / s
    if x <= lowest:
        return lowest * s, lowest, 0.0
    if x >= largest:
        return largest * s, largest, 0.0
    return round(x) * s, round(x) - x, 1.0


@given(VALUES, st.sampled_from([0.3, 0.75, 2.0]), st.sampled_from([(-1, 1), (-7, 7), (0, 3), (0, 1), (-8, 7)]))
def test_forward_and_gradients_are_those_of_the_paper(values, step, levels):
    lowest, largest = levels
    values = [v for v in values if all(abs(v / step - end) > 1e-4 for end in (lowest, largest))]  # not at an end
    values = [v for v in values if abs(v / step % 1 - 0.5) > 1e-4] or [0.1]  # nor where a tie may fall either way
    x = torch.tensor(values, requires_grad=True)
    s = torch.tensor(step, requires_grad=True)
    seen = learned_round(x, s, lowest, largest, len(values))
    upstream = torch.linspace(-1, 2, len(values))
    (seen * upstream).sum().backward()
    expected = [papers(v, step, lowest, largest) for v in x.tolist()]
    assert seen.tolist() == pytest.approx([e[0] for e in expected], abs=1e-5)
    assert x.grad.tolist() == pytest.approx([e[2] * u for e, u in zip(expected, upstream.tolist(), strict=True)])
    of_step = sum(e[1] * u for e, u in zip(expected, upstream.tolist(), strict=True))
    assert float(s.grad) == pytest.approx(of_step / math.sqrt(len(values) * largest), rel=1e-4, abs=1e-4)


@pytest.mark.parametrize(("lowest", "largest"), [(-1, 1), (-7, 7), (0, 3), (0, 255)])
def test_torchs_learnable_fake_quantizer_agrees(lowest, largest):
    values = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    mine, theirs = (values.clone().requires_grad_(True) for _ in range(2))
    step, scale = torch.tensor(0.11, requires_grad=True), torch.tensor([0.11], requires_grad=True)
    zero, factor = torch.tensor([0.0], requires_grad=True), 1 / math.sqrt(1000 * largest)
    upstream = torch.randn(1000, generator=torch.Generator().manual_seed(1))
    one = learned_round(mine, step, lowest, largest, 1000)
    other = torch._fake_quantize_learnable_per_tensor_affine(theirs, scale, zero, lowest, largest, factor)
    for seen in (one, other):
        (seen * upstream).sum().backward()
    assert torch.allclose(one, other, atol=1e-5)
    inside = ((values / 0.11 > lowest) & (values / 0.11 < largest)).float()
    assert torch.allclose(mine.grad, upstream * inside)
    differ = (mine.grad - theirs.grad).abs() > 1e-6  # theirs passes half a step further
    assert (inside[differ] == 0).all() and differ.float().mean() < 0.1
    # beyond the ends theirs gives the step round(x) - x up to half a step, where the paper has the end itself
    far = (values / 0.11 > lowest - 0.5) & (values / 0.11 < largest + 0.5) & (inside == 0)
    rest = float(((values / 0.11).round().clamp(lowest, largest) - values / 0.11)[far] @ upstream[far]) * factor
    ends = float((values / 0.11).round().clamp(lowest, largest)[far] @ upstream[far]) * factor
    assert float(step.grad) - ends == pytest.approx(float(scale.grad) - rest, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize(("granularity", "shape"), [("channel", (2, 1, 1, 1)), ("tensor", ())])
def test_first_steps_of_weights_leave_pruned_ones_out(granularity, shape):
    weight = torch.randn(2, 3, 2, 2, generator=torch.Generator().manual_seed(0)) * 3
    weight[:, 0] = 0
    quantizer = LearnedWeight(weight, Uniform(4), granularity)
    assert quantizer.log_step.shape == shape and isinstance(quantizer.log_step, nn.Parameter)
    assert torch.equal(quantizer(weight), weight)  # off, the identity
    quantizer.enabled.fill_(True)
    seen = quantizer(weight)
    kept = weight[:, 1:].abs().flatten(1)
    mean = kept.mean(1) if granularity == "channel" else kept.mean().expand(2)
    assert torch.allclose(quantizer.scale.flatten(), 2 * mean / math.sqrt(7))
    assert quantizer.scale.shape == (2, 1, 1, 1)
    integers = quantizer.integers(weight)
    assert torch.allclose(seen, integers * quantizer.scale) and not integers[:, 0].any()
    with torch.no_grad():
        quantizer.log_step += 1  # as an optimizer would
    assert torch.allclose(quantizer.integers(weight) * quantizer.scale, quantizer(weight))


def test_a_channel_of_zeros_borrows_a_step():
    quantizer = LearnedWeight(torch.zeros(2, 2), Uniform(4))
    quantizer.enabled.fill_(True)
    assert not quantizer(torch.tensor([[1.0, 2.0], [0.0, 0.0]])).isnan().any()
    assert quantizer.scale[0] == quantizer.scale[1] > 0


def test_step_gradient_of_a_weight_is_scaled_by_the_weights_that_share_it():
    weight = torch.tensor([[0.3, -0.9, 0.2, 5.0], [1.0, 0.4, -0.4, 0.1]])
    for granularity, rows in (("channel", [[0], [1]]), ("tensor", [[0, 1]])):
        quantizer = LearnedWeight(weight, Uniform(3), granularity)
        quantizer.enabled.fill_(True)
        quantizer(weight).sum().backward()
        gradient = quantizer.log_step.grad.flatten().tolist()
        for found, row in zip(gradient, rows, strict=True):
            step, values = float(quantizer.scale[row[0]]), weight[row].flatten().tolist()
            of_step = sum(papers(v, step, -3, 3)[1] for v in values) / math.sqrt(len(values) * 3)
            assert found == pytest.approx(step * of_step, rel=1e-4)  # the chain rule through the logarithm


@pytest.mark.parametrize("bits", [1, 2, 8])
def test_first_step_of_activations_is_of_the_first_batch(bits):
    quantizer = LearnedActivation(bits)
    x = torch.rand(5, 7, generator=torch.Generator().manual_seed(0))
    assert torch.equal(quantizer(x), x)
    quantizer.enabled.fill_(True)
    quantizer(x)
    step = float(quantizer.scale.detach())
    assert step == pytest.approx(2 * float(x.mean()) / math.sqrt(2**bits - 1)) and quantizer.zero_point == 0
    seen = quantizer(100 * x)
    assert float(quantizer.scale.detach()) == step and len(seen.unique()) <= 2**bits and seen.min() >= 0
    assert torch.allclose(Input(quantizer.scale, quantizer.zero_point, quantizer.levels)(100 * x), seen)


def test_signed_activations_have_signed_levels():
    quantizer = LearnedActivation(3)
    quantizer.enabled.fill_(True)
    x = torch.linspace(-9, 9, 50).view(5, 10)
    quantizer(x)
    seen = (quantizer(10 * x) / quantizer.scale).detach().round()
    assert (seen.min(), seen.max(), quantizer.zero_point) == (-4, 3, 4)
    assert torch.allclose(Input(quantizer.scale, quantizer.zero_point, quantizer.levels)(x), quantizer(x))
    with pytest.raises(UserError, match=r"quant.activation_bits=1: .*negative"):
        LearnedActivation(1).observe(x)


def test_steps_learn_from_begin_on_and_pruned_weights_stay_zero(digits):
    def look(module):
        network = module.network
        return [float(p.detach().sum()) for name, p in network.named_parameters() if "log_step" in name]

    watch = Watch(look)
    techniques = [Pruning(0.5, end=0.5, interval=2), LearnedStepQuantization(4, 4, begin=0.25)]
    torch.manual_seed(0)
    module = BaselineModule(SmallCNN(), techniques, learning_rate=0.003)
    train(module, digits, callbacks=[watch])
    seen = torch.tensor(watch.seen)
    assert seen.shape == (20, 3 + 2)  # three weights, two inputs that are not the pixels
    assert not seen[:5].any() and (seen[5:].diff(dim=0) != 0).any(0).all()
    pixels = [q for q in quantizers(module.network, ActivationQuantizer) if not isinstance(q, LearnedActivation)]
    assert [q.levels for q in pixels] == [255]
    zeros = {name: layer.weight == 0 for name, layer in layers(module.network)}
    steps = {n: parametrization(layer, LearnedWeight).log_step.exp() for n, layer in layers(module.network)}
    masks = {name: layer.parametrizations.weight[0].mask for name, layer in layers(module.network)}
    network = module.finalize()
    for name, zero in zeros.items():
        integer = network.get_submodule(name).coded
        assert not integer.integers[~masks[name]].any() and torch.equal(integer.integers == 0, zero)
        std = LeNet5().normalize.std if name == "conv" else 1.0  # the normalization is folded into the first layer
        assert torch.allclose(integer.scale * std, steps[name].flatten(), rtol=1e-5)


def test_single_layers_have_widths_of_their_own(digits):
    module = BaselineModule(SmallCNN(), [LearnedStepQuantization(2, 4, bits_of={"fc*": 8})], learning_rate=0.003)
    names = [name for name, _ in layers(module.network)]
    train(module, digits)
    network = module.finalize()
    largest = {name: int(network.get_submodule(name).coded.integers.abs().max()) for name in names}
    assert {name for name in names if largest[name] > 1} == {"fc1", "fc2"}
    assert largest["conv"] == 1


def test_a_begin_without_training_is_refused():
    with pytest.raises(UserError, match=r"quant.begin=1: a share of training, from 0 to below 1"):
        LearnedStepQuantization(begin=1)
