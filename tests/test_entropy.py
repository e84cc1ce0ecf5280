"""The price on bytes: the code length is the packed file's own, gradients reach weights and steps, a run pays less."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from training import Watch, train

from lcomp.errors import UserError
from lcomp.models import SmallCNN
from lcomp.modules import BaselineModule
from lcomp.packed.coder import Writer, adaptive_bits
from lcomp.techniques.parametrizations import parametrization
from lcomp.techniques.pruning import Pruning
from lcomp.techniques.quantization import EntropyRegularizedTraining, LearnedStepQuantization
from lcomp.techniques.quantization.entropy import PricedWeight, code_length, soft_counts
from lcomp.techniques.quantization.grids import Uniform
from lcomp.techniques.technique import layers

WHOLE = st.lists(st.integers(-3, 3), min_size=1, max_size=200)


@given(WHOLE)
def test_code_length_of_whole_levels_is_the_coders(values):
    counts = soft_counts(torch.tensor(values, dtype=torch.float64), 3)
    assert counts.tolist() == np.bincount(np.array(values) + 3, minlength=7).tolist()
    assert float(code_length(counts)) == pytest.approx(adaptive_bits(counts.numpy()), abs=1e-6)


def test_a_packed_file_takes_what_the_code_length_says():
    values = torch.randn(5_000, generator=torch.Generator().manual_seed(0)).mul(1.5).round().clamp(-7, 7)
    io = Writer()
    io.sequence(15, values.numpy().astype(np.int64) + 7)
    said = float(code_length(soft_counts(values, 7)))
    assert sum(io.spent.values()) == pytest.approx(said, rel=0.01)
    assert 8 * len(io.content()) == pytest.approx(said, rel=0.02)


@given(st.lists(st.floats(-5, 5, width=32), min_size=1, max_size=30))
def test_values_count_at_the_two_levels_beside_them(values):
    expected = np.zeros(7)
    for value in np.clip(np.array(values, np.float64), -3, 3):
        for level in range(-3, 4):
            expected[level + 3] += max(0.0, 1 - abs(value - level))
    assert soft_counts(torch.tensor(values, dtype=torch.float64), 3).tolist() == pytest.approx(expected.tolist())


def test_gradients_are_the_finite_differences_of_the_code_length():
    x = torch.tensor([0.2, -0.4, 0.1, 1.3, 2.7, -2.6, 0.45], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: code_length(soft_counts(x, 3)), x)


def test_a_weight_is_pulled_to_the_level_that_others_have():
    x = torch.tensor([*[0.0] * 50, *[1.0] * 5, 0.3, 0.7, -0.3, 9.0], requires_grad=True)
    code_length(soft_counts(x, 2)).backward()
    pull = -x.grad
    assert pull[55] < 0 and pull[56] < 0 and pull[57] > 0  # all three towards zero
    assert pull[58] == 0  # beyond the grid


@pytest.mark.parametrize(("granularity", "values"), [("channel", 4), ("tensor", 8)])
def test_steps_grow_under_the_price_with_the_gradient_factor_of_the_loss(granularity, values):
    weight = torch.tensor([[0.3, -0.9, 0.2, 0.55], [1.0, 0.4, -0.45, 0.1]])
    quantizer = PricedWeight(weight, Uniform(3), granularity)
    quantizer.enabled.fill_(True)
    quantizer(weight)
    quantizer.bits(weight).backward()
    assert (quantizer.log_step.grad < 0).all()  # a larger step, fewer bits
    steps, h = quantizer.log_step.detach().clone().double(), 1e-6

    def bits(log_step):
        return float(code_length(soft_counts(weight.double() / log_step.exp(), 3)))

    for index in np.ndindex(tuple(steps.shape)):
        up, down = steps.clone(), steps.clone()
        up[index] += h
        down[index] -= h
        slope = (bits(up) - bits(down)) / (2 * h) / math.sqrt(values * 3)
        assert float(quantizer.log_step.grad[index]) == pytest.approx(slope, rel=1e-3)


def trained(digits, technique, *others, steps=30):
    torch.manual_seed(0)
    module = BaselineModule(SmallCNN(), [technique, *others], learning_rate=0.003)
    watch = Watch(lambda module: technique.scalars(module.network).get("weights_kilobytes"))
    train(module, digits, steps=steps, callbacks=[watch])
    return module, watch.seen


def test_a_price_of_zero_is_learned_steps_alone(digits):
    free, _ = trained(digits, EntropyRegularizedTraining(4, rate=0))
    other, _ = trained(digits, LearnedStepQuantization(4))
    for one, same in zip(free.network.parameters(), other.network.parameters(), strict=True):
        assert torch.equal(one, same)


def test_a_price_lowers_the_bytes_and_a_higher_one_more(digits):
    sizes = []
    for rate in (0.0, 0.3, 3.0):
        module, seen = trained(digits, EntropyRegularizedTraining(4, rate=rate))
        assert seen[-1] > 0
        integers = [module.finalize().get_submodule(name).coded.integers for name in ("conv", "fc1", "fc2")]
        bits = sum(adaptive_bits(np.unique(i.numpy(), return_counts=True)[1]) for i in integers)
        assert bits / 8_000 < 1.1 * seen[-1]  # levels that nothing is at cost a little
        sizes.append(bits)
    assert sizes[0] > 1.05 * sizes[1] > 1.05**2 * sizes[2]


def test_the_price_counts_what_a_mask_leaves_and_begins_with_rounding(digits):
    technique = EntropyRegularizedTraining(4, rate=0.3, begin=0.5)
    module, seen = trained(digits, technique, Pruning(0.9, end=0.5, interval=2), steps=20)
    assert seen[:10] == [0] * 10 and all(seen[10:])
    network, expected = module.network, 0.0
    for _, layer in layers(network):
        quantizer = parametrization(layer, PricedWeight)
        masked = layer.parametrizations.weight.original * layer.parametrizations.weight[0].mask
        expected += float(code_length(soft_counts((masked / quantizer.log_step.exp()).detach(), 7))) / 8_000
    assert technique.scalars(network)["weights_kilobytes"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("rate", [-1, math.nan, math.inf])
def test_a_price_that_cannot_be_is_refused(rate):
    with pytest.raises(UserError, match=rf"quant.rate={rate}: what 1,000 bytes add to the loss, 0 or more"):
        EntropyRegularizedTraining(rate=rate)


class Counting(EntropyRegularizedTraining):
    """Counts how often the price is computed."""

    paid = 0

    def kilobytes(self, network):
        self.paid += 1
        return EntropyRegularizedTraining.kilobytes(network)


@pytest.mark.parametrize(("batches", "steps"), [(1, 4), (2, 2)])
def test_the_price_is_paid_once_a_step_however_many_batches_it_has(digits, batches, steps):
    technique = Counting(4, rate=1.0)
    module = BaselineModule(SmallCNN(), [technique], learning_rate=0.003)
    train(module, digits, steps=4, accumulate_grad_batches=batches)
    assert technique.paid == steps
