"""Quantization noise: which weights a step rounds, and what their gradients are."""

import pytest
import torch
from torch import nn
from training import Watch, train

from lcomp.errors import UserError
from lcomp.models import SmallCNN
from lcomp.modules import BaselineModule
from lcomp.techniques.quantization import QuantizationNoise
from lcomp.techniques.quantization.fake import WeightQuantizer
from lcomp.techniques.quantization.grids import Uniform
from lcomp.techniques.quantization.noise import NoisyWeight
from lcomp.techniques.quantization.quantization import quantizers

WEIGHT = torch.randn(50, 100, generator=torch.Generator().manual_seed(0))


def noisy(**settings):
    quantizer = NoisyWeight(WEIGHT, Uniform(3), **settings)
    quantizer.enabled.fill_(True)
    return quantizer.train()


def test_a_step_rounds_the_share_and_leaves_the_others():
    quantizer, plain = noisy(share=0.3), WeightQuantizer(WEIGHT, Uniform(3))
    plain.enabled.fill_(True)
    expected, seen = plain(WEIGHT), quantizer(WEIGHT)
    chosen = quantizer.chosen(WEIGHT)
    assert torch.equal(seen[chosen], expected[chosen]) and torch.equal(seen[~chosen], WEIGHT[~chosen])
    assert float(chosen.float().mean()) == pytest.approx(0.3, abs=4 * (0.21 / 5000) ** 0.5)  # four standard deviations
    assert torch.equal(quantizer.eval()(WEIGHT), expected)
    assert torch.equal(noisy(share=1.0)(WEIGHT), expected)


def test_gradients_of_what_is_left_are_untouched():
    quantizer, weight = noisy(), WEIGHT.clone().requires_grad_(True)
    quantizer.observe(WEIGHT)
    quantizer.scale.div_(2)  # so that half of the range is beyond the grid's reach
    quantizer.frozen.fill_(True)
    quantizer(weight).sum().backward()
    outside = (WEIGHT / quantizer.scale).abs() > 3
    chosen = quantizer.chosen(WEIGHT)
    assert outside.any()
    assert torch.equal(weight.grad == 0, chosen & outside)
    assert (weight.grad[~(chosen & outside)] == 1).all()


def test_blocks_are_rounded_together():
    quantizer = noisy(block=8)
    blocks = quantizer.chosen(WEIGHT).view(-1, 8)
    assert (blocks.all(1) | ~blocks.any(1)).all() and blocks.any() and not blocks.all()


def test_the_draw_is_of_seed_layer_and_step():
    def draw(step=0, **settings):
        quantizer = noisy(**settings)
        quantizer.step.fill_(step)
        return quantizer.chosen(WEIGHT)

    state = torch.get_rng_state()
    assert torch.equal(draw(3, seed=1, position=2), draw(3, seed=1, position=2))
    for other in (draw(4, seed=1, position=2), draw(3, seed=2, position=2), draw(3, seed=1, position=3)):
        agreeing = float((draw(3, seed=1, position=2) == other).float().mean())
        assert agreeing == pytest.approx(0.5, abs=4 * (0.25 / 5000) ** 0.5)
    assert torch.equal(torch.get_rng_state(), state)


def test_training_counts_the_optimizer_steps_and_each_layer_draws_its_own(digits):
    watch = Watch(lambda module: [int(q.step) for q in quantizers(module.network, NoisyWeight)])
    module = BaselineModule(SmallCNN(), [QuantizationNoise(4, seed=5)])
    train(module, digits, steps=4, callbacks=[watch])
    assert watch.seen == [[step] * 3 for step in range(4)]
    made = quantizers(module.network, NoisyWeight)
    assert [q.seed for q in made] == [5] * 3 and len({q.position for q in made}) == 3


def test_pruned_weights_stay_zero():
    weight = nn.Parameter(WEIGHT.clone())
    with torch.no_grad():
        weight[:, ::2] = 0
    assert not noisy()(weight)[:, ::2].any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"share": 0}, "quant.share=0: .*above 0, to 1"),
        ({"share": 50}, "quant.share=50"),
        ({"block": 0}, "quant.block"),
    ],
)
def test_impossible_settings_are_refused_by_name(settings, message):
    with pytest.raises(UserError, match=message):
        QuantizationNoise(**settings)
