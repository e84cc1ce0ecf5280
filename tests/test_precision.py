"""Training in 16 bits, and layers that are called twice between two backward passes."""

import pytest
import torch
import torch.nn.functional as F
from pytorch_lightning.plugins.precision import MixedPrecision as Autocast
from test_schedule import right
from torch import nn
from torch.nn.utils import parametrize
from training import Watch, train

from lcomp.errors import UserError
from lcomp.models import SmallCNN
from lcomp.modules import BaselineModule, DistillationModule
from lcomp.techniques.distillation import LogitDistillation
from lcomp.techniques.pruning import FilterPruning, LotteryTicket, NMPruning, Pruning, criteria
from lcomp.techniques.quantization import (
    DynamicQuantization,
    EntropyRegularizedTraining,
    LearnedStepQuantization,
    MixedPrecision,
    QuantizationAwareTraining,
    QuantizationNoise,
    StaticQuantization,
    WeightSharing,
    ranges,
)
from lcomp.techniques.quantization.fake import ActivationQuantizer
from lcomp.techniques.quantization.lsq import LearnedActivation

TECHNIQUES = {
    "qat": lambda: [Pruning(0.7, interval=1), QuantizationAwareTraining(8)],
    "mse": lambda: [QuantizationAwareTraining(4, 4, range=ranges.MeanSquaredError(), weight_range="mse")],
    "percentile": lambda: [QuantizationAwareTraining(4, 4, range=ranges.Percentile())],
    "min_max": lambda: [QuantizationAwareTraining(4, 4, range=ranges.min_max)],
    "lsq": lambda: [LearnedStepQuantization(4, 4)],
    "mixed": lambda: [MixedPrecision()],
    "noise": lambda: [QuantizationNoise()],
    "entropy": lambda: [EntropyRegularizedTraining()],
    "shared": lambda: [Pruning(0.5, end=0.5, interval=1), WeightSharing(4, begin=0.5)],
    "static": lambda: [StaticQuantization(8)],
    "dynamic": lambda: [DynamicQuantization()],
    "obs": lambda: [Pruning(0.5, interval=5, criterion=criteria.OptimalBrainSurgeon())],
    "taylor": lambda: [Pruning(0.5, interval=1, criterion=criteria.Taylor())],
    "n_m": lambda: [NMPruning(interval=1)],
    "lottery_ticket": lambda: [LotteryTicket(0.5, rounds=1)],
    "filter": lambda: [FilterPruning(0.3, interval=1)],
}


@pytest.mark.parametrize("name", TECHNIQUES)
def test_bf16_autocast_trains_and_leaves_a_network_in_float32(digits, name):
    torch.manual_seed(0)
    module = BaselineModule(SmallCNN(), TECHNIQUES[name](), learning_rate=3e-3)
    train(module, digits, epochs=2, precision="bf16-mixed")
    accuracy = right(module.network, digits)
    network = module.finalize([digits.train.images[:500] / 255])
    assert accuracy > 0.5
    assert right(network, digits) == pytest.approx(accuracy, abs=0.02)
    kept = [*network.parameters(), *network.buffers()]
    assert {value.dtype for value in kept if value.is_floating_point()} == {torch.float32}


def test_a_student_learns_in_bf16(digits, trained):
    torch.manual_seed(0)
    module = DistillationModule(SmallCNN(), trained, LogitDistillation(), TECHNIQUES["qat"](), learning_rate=3e-3)
    train(module, digits, epochs=2, precision="bf16-mixed")
    assert right(module.finalize(), digits) > 0.6


@pytest.mark.parametrize("make", [lambda: ActivationQuantizer(8), lambda: LearnedActivation(8)])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_activations_of_16_bits_are_rounded_in_32(make, dtype):
    x = torch.rand(64, 30, generator=torch.Generator().manual_seed(0)).mul(3).to(dtype)
    narrow, wide = make(), make()
    for quantizer in (narrow, wide):
        quantizer.enabled.fill_(True)
        quantizer.observing.fill_(True)
    seen = narrow(x)
    assert seen.dtype == dtype and torch.equal(seen, wide(x.float()).to(dtype))
    assert narrow.scale.dtype == torch.float32 and narrow.scale == wide.scale


@pytest.mark.parametrize("precision", ["bf16-true", "16-true", "64-true"])
@pytest.mark.parametrize("name", ["qat", "obs", "static"])
def test_another_precision_of_the_weights_is_refused_by_name(digits, name, precision):
    with pytest.raises(UserError, match=f"precision={precision}: techniques keep weights"):
        train(BaselineModule(SmallCNN(), TECHNIQUES[name]()), digits, precision=precision)


def test_a_network_in_16_bits_is_refused_by_name(digits):
    with pytest.raises(UserError, match="conv has weights in bfloat16"):
        train(BaselineModule(SmallCNN().bfloat16(), [Pruning(0.5)]), digits)


@pytest.mark.parametrize("fused", [True, False])
def test_scaled_gradients_are_read_unscaled(digits, fused):
    """precision=16-mixed multiplies the loss; a fused optimizer divides only within its step."""

    class Yours(BaselineModule):
        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), lr=1e-3, fused=fused)

    def statistics(**settings):
        torch.manual_seed(0)
        module = Yours(
            SmallCNN(), [Pruning(0.5, end=1.0, criterion=criteria.Taylor()), EntropyRegularizedTraining(rate=1.0)]
        )
        train(module, digits, steps=3, **settings)
        return [layer.parametrizations.weight[0].statistic for layer in (module.network.fc1, module.network.fc2)]

    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    plain = statistics(precision="bf16-mixed")
    scaled = statistics(plugins=[Autocast("16-mixed", "cpu", scaler)])
    for one, other in zip(plain, scaled, strict=True):
        assert float(other.sum()) == pytest.approx(float(one.sum()), rel=0.3)


class Twice(nn.Module):
    """One layer in two places of the graph."""

    def __init__(self):
        super().__init__()
        self.stem, self.block, self.fc = nn.Linear(784, 16), nn.Linear(16, 16), nn.Linear(16, 10)

    def forward(self, x):
        x = F.relu(self.block(F.relu(self.stem(x.flatten(1)))))
        return self.fc(F.relu(self.block(x)))


QUANTIZED = ("qat", "mse", "percentile", "min_max", "lsq", "mixed", "noise", "entropy", "shared")


@pytest.mark.parametrize("name", QUANTIZED)
def test_a_layer_that_is_called_twice_learns_as_if_its_weight_were_rounded_once(digits, name):
    class Once(Twice):
        def forward(self, x):
            with parametrize.cached():
                return super().forward(x)

    gradients = []
    for kind in (Twice, Once):
        torch.manual_seed(0)
        module = BaselineModule(kind(), TECHNIQUES[name]())
        watch = Watch(
            lambda module: {
                name: value.grad.clone() for name, value in module.named_parameters() if value.grad is not None
            }
        )
        train(module, digits, steps=1, callbacks=[watch])
        gradients += watch.seen
    assert gradients[0].keys() == gradients[1].keys() and len(gradients[0]) >= 6
    for name, gradient in gradients[1].items():
        assert torch.allclose(gradients[0][name], gradient, rtol=1e-4, atol=1e-6), name
