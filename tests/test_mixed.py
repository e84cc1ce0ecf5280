"""Widths per layer: the exact best under the budget, from sensitivities that can be computed by hand."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx_graphs import integer_weights
from torch import nn
from training import train

from lcomp.errors import UserError
from lcomp.export.onnx_export import export
from lcomp.models import LeNet5, SmallCNN
from lcomp.modules import BaselineModule
from lcomp.tasks import ImageClassification
from lcomp.techniques.parametrizations import original_weight
from lcomp.techniques.pruning import LowRank, Pruning
from lcomp.techniques.quantization import MixedPrecision, QuantizationAwareTraining, StaticQuantization
from lcomp.techniques.quantization.mixed import cheapest, rounding_sensitivity

OPTION = st.tuples(st.integers(1, 30), st.integers(0, 50))


@given(st.lists(st.lists(OPTION, min_size=1, max_size=4), min_size=1, max_size=5), st.integers(0, 120))
def test_the_choice_is_that_of_brute_force(rows, budget):
    costs, scores = ([[option[part] for option in row] for row in rows] for part in (0, 1))
    chosen = cheapest(costs, scores, budget)

    def total(choice):
        return tuple(sum(rows[row][option][part] for row, option in enumerate(choice)) for part in (1, 0))

    every = [total(choice) for choice in itertools.product(*(range(len(row)) for row in rows))]
    fits = [(score, cost) for score, cost in every if cost <= budget]
    assert (chosen is None) == (not fits)
    if chosen is not None:
        assert total(chosen) == min(fits)  # of equal scores the cheaper


def test_sensitivity_is_the_sum_by_hand():
    network = nn.Sequential(nn.Linear(3, 2))
    technique = MixedPrecision(widths=[2, 8])
    technique.prepare(network)
    [(_, layer, quantizer)] = technique.quantized_layers(network)
    weight = torch.tensor([[1.0, 0.4, -0.6], [0.0, 0.25, 0.5]])
    original_weight(layer).data.copy_(weight)
    quantizer.squares.copy_(torch.tensor([[5.0, 1.0, 2.0], [7.0, 3.0, 4.0]]))
    # two bits, a scale per channel: [1, 0, -1] and [0, 0 (half to even), 0.5]
    by_hand = 1 * 0.4**2 + 2 * 0.4**2 + 3 * 0.25**2
    assert rounding_sensitivity(quantizer, weight, 2) == pytest.approx(by_hand)
    assert rounding_sensitivity(quantizer, weight, 8) < by_hand / 1000


def test_squared_gradients_are_averaged_before_begin_and_stay_from_then_on():
    technique = MixedPrecision(begin=0.5)
    module = BaselineModule(nn.Sequential(nn.Linear(2, 2)), [technique])
    technique.prepare(module.network)
    [(_, layer, quantizer)] = technique.quantized_layers(module.network)
    gradients = [torch.tensor([[1.0, -2.0], [0.0, 3.0]]), torch.tensor([[3.0, 0.0], [1.0, 1.0]])]
    for gradient in gradients:
        original_weight(layer).grad = gradient
        technique.on_before_optimizer_step(None, module, None)
    quantizer.enabled.fill_(True)
    technique.on_before_optimizer_step(None, module, None)
    assert torch.allclose(quantizer.squares, (gradients[0] ** 2 + gradients[1] ** 2) / 2)


def bits_in(network, technique):
    return {name: int(bits) for name, bits in technique.scalars(network).items() if name.startswith("bits/")}


def test_a_network_learns_within_its_budget_and_its_file_holds_the_levels(digits, tmp_path):
    sizes = {"conv": 36, "fc1": 10_816, "fc2": 160}
    budget = 10_816 * 2 / 8 + (36 + 160) * 8 / 8  # fc1 has to be narrow
    technique = MixedPrecision(budget, begin=0.3)
    module = BaselineModule(SmallCNN(), [Pruning(0.5, interval=2), technique])
    train(module, digits, steps=20)
    chosen = bits_in(module.network, technique)
    assert chosen == {"bits/conv": 8, "bits/fc1": 2, "bits/fc2": 8}
    assert sum(sizes[name[5:]] * bits for name, bits in chosen.items()) <= 8 * budget
    network = module.finalize()
    export(network, tmp_path / "a.onnx", ImageClassification())
    largest = {weight.size: int(abs(weight).max()) for weight in integer_weights(tmp_path / "a.onnx")}
    assert largest == {36: 127, 10_816: 1, 160: 127}


def test_widths_given_by_hand_count_in_the_budget():
    technique = MixedPrecision(None, widths=[2, 8], bits_of={"fc1": 8, "fc*": 2})
    network = LeNet5()
    technique.prepare(network)
    for _, _, quantizer in technique.quantized_layers(network):
        quantizer.squares.fill_(1.0)
    technique.budget = (400 * 0 + 150 + 2400 + 256 * 120) + (120 * 84 + 840) * 2 / 8
    technique.choose(network)
    assert bits_in(network, technique) == dict.fromkeys(("bits/conv1", "bits/conv2", "bits/fc1"), 8) | {
        "bits/fc2": 2,
        "bits/fc3": 2,
    }


def test_bit_operations_are_multiplications_by_both_widths():
    network, technique = LeNet5(), MixedPrecision(None, [2, 8], activation_bits=4, cost="bit_operations")
    technique.check(network, torch.rand(3, 1, 28, 28))
    technique.prepare(network)
    macs = {"conv1": 150 * 24**2, "conv2": 2_400 * 8**2, "fc1": 256 * 120, "fc2": 120 * 84, "fc3": 840}
    per_bit = {name: count * (8 if name == "conv1" else 4) for name, count in macs.items()}
    assert {name: technique.per_bit(name, layer) for name, layer, _ in technique.quantized_layers(network)} == per_bit
    for name, _, quantizer in technique.quantized_layers(network):
        quantizer.squares.fill_(1e-9 if name == "conv1" else 1.0)  # the most operations for the least loss
    technique.budget = 2 * per_bit["conv1"] + 8 * (sum(per_bit.values()) - per_bit["conv1"])
    technique.choose(network)
    assert bits_in(network, technique) == {f"bits/{name}": 2 if name == "conv1" else 8 for name in macs}
    assert technique.scalars(network)["budget/bit_operations"] == technique.budget
    floats = MixedPrecision(activation_bits=None, cost="bit_operations")
    floats.check(network, torch.rand(3, 1, 28, 28))
    assert floats.per_bit("fc3", network.fc3) == 840 * 32


def test_a_budget_of_operations_is_kept_in_training(digits):
    technique = MixedPrecision(2.5e6, begin=0.3, cost="bit_operations")
    module = BaselineModule(SmallCNN(), [LowRank(0.5), technique])
    train(module, digits, steps=20)
    logged = technique.scalars(module.network)
    assert 0.6 * 2.5e6 < logged["budget/bit_operations"] <= 2.5e6
    assert any(name.startswith("bits/fc1.0") for name in logged)


@pytest.mark.parametrize("kind", [QuantizationAwareTraining, StaticQuantization])
def test_widths_by_hand_reach_the_integers_of_other_techniques(kind):
    network = LeNet5()
    technique = kind(8, bits_of={"fc1": 2, "fc*": 3})
    technique.prepare(network)
    network = (
        StaticQuantization.finalize(technique, network, [torch.rand(4, 1, 28, 28)])
        if (kind is StaticQuantization)
        else enabled(technique, network)
    )
    largest = {
        name: int(layer.coded.integers.abs().max())
        for name, layer in network.named_children()
        if hasattr(layer, "quantize_input")
    }
    assert largest == {"conv1": 127, "conv2": 127, "fc1": 1, "fc2": 3, "fc3": 3}


def enabled(technique, network):
    from lcomp.techniques.quantization.static import enable_weights

    technique.observe(network, True)
    network(torch.rand(4, 1, 28, 28))
    enable_weights(network)
    return technique.finalize(network)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"budget": 100}, r"quant\.budget=100: the least that these widths allow is 11047\.5 bytes"),
        ({"bits_of": {"fc1": 8}, "budget": 20_000}, r"quant\.budget=20000: the least .* is 34087\.5 bytes"),
        ({"bits_of": {"fc9": 8}}, r"quant\.bits_of: 'fc9' matches no layer; .*conv1.*"),
        ({"bits_of": {"fc1": 9}}, r"quant\.bits_of\.fc1=9: a width in whole bits"),
        ({"budget": 100, "cost": "bit_operations"}, r"quant\.budget=100: the least .* is 4\.50624e\+06 bit operations"),
        ({"cost": "joules"}, r"quant\.cost=joules"),
        ({"widths": []}, r"quant\.widths=\[\]"),
        ({"widths": [4, 12]}, r"quant\.bits=12|quant\.widths"),
        ({"begin": 0.0}, r"quant\.begin=0\.0: above 0"),
    ],
)
def test_what_cannot_be_is_refused_by_name(settings, words):
    with pytest.raises(UserError, match=words):
        MixedPrecision(**settings).check(LeNet5(), torch.rand(2, 1, 28, 28))
