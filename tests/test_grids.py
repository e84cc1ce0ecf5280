"""The levels of quantized weights against their papers, and in a network that learns with them."""

import hydra
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx_graphs import integer_weights
from quickly import first_quickly
from torch import nn

from lcomp.config import run_config
from lcomp.errors import UserError
from lcomp.tasks.classification import accuracy_and_loss
from lcomp.techniques.quantization import QuantizationAwareTraining, StaticQuantization
from lcomp.techniques.quantization.fake import WeightQuantizer
from lcomp.techniques.quantization.grids import AdditivePowerOfTwo, Binary, PowerOfTwo, Ternary, Uniform
from lcomp.testing import TechniqueContract

GRIDS = [
    Uniform(8),
    Uniform(2),
    PowerOfTwo(2),
    PowerOfTwo(4),
    *(AdditivePowerOfTwo(b) for b in (3, 4, 5)),
    Ternary(),
    Binary(),
]
NAMES = sorted(path.stem for path in (run_config.folder() / "quant" / "grid").glob("*.yaml"))
weights = st.lists(st.floats(-3, 3, width=32), min_size=8, max_size=8)


def quantized(grid, rows, granularity="channel"):
    """Integers and scales of a weight."""
    weight = torch.tensor(rows)
    quantizer = WeightQuantizer(weight, grid, granularity)
    quantizer.observe(weight)
    return quantizer.integers(weight), quantizer


def test_levels_are_those_of_the_papers():
    assert PowerOfTwo(4).magnitudes.tolist() == [0, 1, 2, 4, 8, 16, 32, 64]
    assert PowerOfTwo(2).magnitudes.tolist() == [0, 1]
    assert AdditivePowerOfTwo(4).magnitudes.tolist() == [
        0,
        1,
        2,
        3,
        4,
        6,
        8,
        10,
    ]  # of 16
    assert len(AdditivePowerOfTwo(5).magnitudes) == 16 and AdditivePowerOfTwo(5).largest == 48
    assert Uniform(4).largest == 7


@given(weights, weights)
def test_every_weight_goes_to_the_nearest_level(one, other):
    rows = [one, other]
    for grid in (Uniform(4), PowerOfTwo(3), PowerOfTwo(4), AdditivePowerOfTwo(4), AdditivePowerOfTwo(5)):
        integers, quantizer = quantized(grid, rows)
        levels = torch.arange(8.0) if isinstance(grid, Uniform) and not hasattr(grid, "magnitudes") else grid.magnitudes
        signed = torch.cat([-levels, levels])
        x = torch.tensor(rows) / quantizer.scale
        best = (x.clamp(-grid.largest, grid.largest).unsqueeze(-1) - signed).abs().amin(-1)
        assert torch.allclose((x.clamp(-grid.largest, grid.largest) - integers).abs(), best, atol=1e-4)


@given(weights)
def test_zero_stays_zero_and_signs_stay_signs(row):
    for grid in GRIDS:
        integers, _ = quantized(grid, [row, [0.0] * 8])
        weight = torch.tensor([row, [0.0] * 8])
        assert (integers[weight == 0] == 0).all() and integers.abs().max() <= 127
        assert ((integers == 0) | (integers.sign() == weight.sign())).all()


def test_ternary_is_that_of_its_paper():
    row = torch.tensor([0.1, -0.2, 0.9, -1.1, 0.55, 0.0, 2.0, -0.3])  # 0.55 lies between threshold and half the scale
    integers, quantizer = quantized(Ternary(), [row.tolist()])
    threshold = 0.7 * row.abs().mean()
    large = row.abs() > threshold
    assert integers[0].tolist() == (row.sign() * large).tolist()
    assert float(quantizer.scale) == pytest.approx(float(row.abs()[large].mean()))


def test_binary_is_that_of_its_paper_and_leaves_pruned_weights_out():
    integers, quantizer = quantized(Binary(), [[1.0, -3.0, 0.0, 2.0]])
    assert integers.tolist() == [[1, -1, 0, 1]] and float(quantizer.scale) == pytest.approx(2.0)


def test_one_scale_for_a_tensor_is_of_all_its_weights():
    _, quantizer = quantized(Binary(), [[1.0, -3.0], [5.0, 7.0]], "tensor")
    assert quantizer.scale.flatten().tolist() == [4.0, 4.0]


def test_gradients_pass_inside_the_range_and_stop_outside():
    weight = nn.Parameter(torch.tensor([[0.1, -0.4, 3.0, -0.2]]))
    for grid, expected in ((Ternary(), 1.0), (Binary(), 1.0), (Uniform(2), 0.0)):
        quantizer = WeightQuantizer(weight, grid)
        quantizer.enabled.fill_(True)
        quantizer.frozen.fill_(True)  # at a scale of 1, from which 3.0 is far
        weight.grad = None
        quantizer(weight).sum().backward()
        assert weight.grad.tolist() == [[1.0, 1.0, expected, 1.0]]


@pytest.mark.parametrize(
    ("grid", "bits"), [(PowerOfTwo, 5), (AdditivePowerOfTwo, 2), (Ternary, 8), (Binary, 2), (Uniform, 1)]
)
def test_widths_that_a_grid_has_not(grid, bits):
    with pytest.raises(UserError, match=rf"quant\.bits={bits}"):
        QuantizationAwareTraining(bits, grid=grid)


@pytest.mark.parametrize("name", first_quickly(NAMES, 2))
def test_a_network_learns_with_the_grid_and_its_file_holds_the_levels(digits, trained, tmp_path, name):
    contract = TechniqueContract(["quant=qat", f"quant/grid={name}"], digits, trained, tmp_path)
    network, path = contract.exports()
    found = set(np.unique(np.concatenate([w.ravel() for w in integer_weights(path)])).tolist())
    with hydra.initialize_config_dir(str(run_config.folder().resolve()), version_base="1.3"):
        cfg = hydra.compose("config", ["quant=qat", f"quant/grid={name}"])
    grid = hydra.utils.instantiate(cfg.quant.grid)(cfg.quant.bits)
    magnitudes = range(grid.largest + 1) if not hasattr(grid, "magnitudes") else grid.magnitudes.int().tolist()
    assert {abs(level) for level in found} <= set(magnitudes) and max(found) == grid.largest
    assert network is not None


@pytest.mark.parametrize("name", first_quickly(NAMES, 2))
def test_a_run_with_the_grid_resumes_to_the_same_weights(digits, trained, tmp_path, name):
    TechniqueContract(["quant=qat", f"quant/grid={name}"], digits, trained, tmp_path).resumes()


def test_after_training_more_levels_cost_less_accuracy(digits, trained):
    import copy

    from lcomp.evaluation import measurement

    test, found = measurement.split_of(digits.test_dataloader(), digits.task), {}
    for name, grid, bits in (("uniform", Uniform, 8), ("apot", AdditivePowerOfTwo, 5), ("binary", Binary, 1)):
        network = copy.deepcopy(trained)
        technique = StaticQuantization(bits, grid=grid)
        technique.prepare(network)
        network = technique.finalize(network, (batch[0] for batch in digits.train_dataloader()))
        outputs = measurement.predict_outputs(network, test.inputs)  # an artifact has the same: the tests above
        found[name] = accuracy_and_loss(outputs, test.labels)[0]
    assert found["uniform"] >= found["apot"] > found["binary"]
