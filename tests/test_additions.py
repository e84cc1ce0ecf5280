"""Residual networks in integers: what is added and averaged is rounded once, and runtimes add and average integers."""

import copy
import logging

import onnx
import pytest
import torch
import torch.nn.functional as F
from onnx_graphs import logits, operators, optimized
from quickly import first_quickly
from torch import nn
from training import train

from lcomp.errors import UserError
from lcomp.export.onnx_export import export
from lcomp.models import CifarResNet, ConvNet, LeNet5, SmallCNN
from lcomp.modules import BaselineModule
from lcomp.packed import load, pack
from lcomp.tasks import ImageClassification
from lcomp.techniques import additions
from lcomp.techniques.quantization import (
    DynamicQuantization,
    HybridQuantization,
    LearnedStepQuantization,
    QuantizationAwareTraining,
    StaticQuantization,
)
from lcomp.techniques.quantization.fake import ActivationQuantizer
from lcomp.techniques.quantization.quantization import quantizers
from lcomp.techniques.quantization.ranges import MeanSquaredError, MovingAverage, Percentile
from lcomp.techniques.technique import finalize, layers

FLOAT = {"Add", "GlobalAveragePool", "ReduceMean", "AveragePool"}  # what must not be left
SHAPE = (3, 16, 16)


def conv(inputs, outputs, stride=1, kernel=3):
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)


class Own(CifarResNet):
    """lcomp's, with channels of zeros where the shape changes: two additions of padded integers."""

    added = 3

    def __init__(self):
        super().__init__(blocks=1, widths=(4, 8, 8), input_shape=SHAPE)


class Learned(CifarResNet):
    """With a convolution as shortcut, which has no norm and feeds the addition itself."""

    added = 3

    def __init__(self):
        super().__init__(blocks=1, widths=(4, 8, 8), shortcut="conv", input_shape=SHAPE)


class Sliced(nn.Module):
    def forward(self, x):
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2), "constant", 0)


class Functional(nn.Module):
    """As the public CIFAR ResNets are written: functions instead of modules, addition in place, a sliced shortcut."""

    added = 2

    class Block(nn.Module):
        def __init__(self, inputs, outputs, stride):
            super().__init__()
            self.conv1, self.bn1 = conv(inputs, outputs, stride), nn.BatchNorm2d(outputs)
            self.conv2, self.bn2 = conv(outputs, outputs), nn.BatchNorm2d(outputs)
            self.shortcut = Sliced() if stride > 1 else nn.Sequential()

        def forward(self, x):
            out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
            out += self.shortcut(x)
            return F.relu(out)

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = conv(3, 4), nn.BatchNorm2d(4)
        self.layer1, self.layer2 = nn.Sequential(self.Block(4, 4, 1)), nn.Sequential(self.Block(4, 8, 2))
        self.linear = nn.Linear(8, 10)

    def forward(self, x):
        out = self.layer2(self.layer1(F.relu(self.bn1(self.conv1(x)))))
        return self.linear(F.avg_pool2d(out, out.size()[3]).view(out.size(0), -1))


class Torchvision(nn.Module):
    """As torchvision writes them: one ReLU called in several places, in place; max-pooling before the blocks."""

    added = 2

    class Block(nn.Module):
        def __init__(self, inputs, outputs, downsample):
            super().__init__()
            self.conv1, self.bn1 = conv(inputs, outputs, 2 if downsample else 1), nn.BatchNorm2d(outputs)
            self.conv2, self.bn2 = conv(outputs, outputs), nn.BatchNorm2d(outputs)
            self.relu = nn.ReLU(inplace=True)
            self.downsample = (
                nn.Sequential(conv(inputs, outputs, 2, 1), nn.BatchNorm2d(outputs)) if downsample else None
            )

        def forward(self, x):
            identity = x if self.downsample is None else self.downsample(x)
            out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
            out += identity
            return self.relu(out)

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1, self.relu = conv(3, 4), nn.BatchNorm2d(4), nn.ReLU(inplace=True)
        self.maxpool, self.layer1 = nn.MaxPool2d(3, 2, 1), self.Block(4, 4, False)
        self.layer2, self.avgpool, self.fc = self.Block(4, 8, True), nn.AdaptiveAvgPool2d((1, 1)), nn.Linear(8, 10)

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return self.fc(torch.flatten(self.avgpool(self.layer2(self.layer1(x))), 1))


class Inverted(nn.Module):
    """Without a ReLU behind the addition, as in MobileNetV2; the mean written as one."""

    added = 1

    class Block(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.conv = nn.Sequential(
                conv(width, 2 * width, 1, 1),
                nn.BatchNorm2d(2 * width),
                nn.ReLU6(),
                conv(2 * width, width, 1, 1),
                nn.BatchNorm2d(width),
            )

        def forward(self, x):
            return x + self.conv(x)

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(conv(3, 4, 2), nn.BatchNorm2d(4))
        self.block = self.Block(4)
        self.head = nn.Sequential(conv(4, 8, 1, 1), nn.BatchNorm2d(8), nn.ReLU6())
        self.dropout, self.fc = nn.Dropout(0.1), nn.Linear(8, 10)

    def forward(self, x):
        return self.fc(self.dropout(self.head(self.block(self.stem(x))).mean((2, 3))))


class Within(nn.Module):
    """What it adds is made by functions, in the forward that adds it: no module's boundary lies between."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2, self.fc = conv(3, 4), conv(4, 4), nn.Linear(4, 10)

    def forward(self, x):
        x = torch.tanh(self.conv1(x))
        return self.fc((x + self.conv2(x)).relu().mean((2, 3)))


class Branching(Within):
    """Asks for a value, which no symbolic trace can answer."""

    def forward(self, x):
        return super().forward(x) if x.sum() > -1 else x


NETWORKS = [Own, Learned, Functional, Torchvision, Inverted]


@pytest.fixture(scope="module")
def colours():
    """Smooth random images, so that means over them differ."""
    coarse = torch.rand(96, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    return F.interpolate(coarse, size=SHAPE[1:], mode="bilinear")


def settled(kind, colours):
    """A network whose batch norms know the statistics of `colours`, and whose logits say something."""
    torch.manual_seed(0)
    network = kind()
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, std=0.3)
    with torch.no_grad():
        for _ in range(40):
            network(colours)
    return network.eval()


def after(technique, network, colours):
    network = copy.deepcopy(network)
    technique.prepare(network)
    return technique.finalize(network, [colours[:48], colours[48:]]).eval()


def answers(network, colours):
    with torch.no_grad():
        return network(colours)


@pytest.mark.parametrize("kind", first_quickly(NETWORKS, 2))
def test_additions_and_averages_are_of_integers(kind, colours, tmp_path):
    network = settled(kind, colours)
    rounded = after(StaticQuantization(), network, colours)
    export(rounded, tmp_path / "a.onnx", ImageClassification(10, SHAPE))
    run = optimized(tmp_path / "a.onnx")
    assert run["QLinearAdd"] == kind.added
    assert run["QLinearGlobalAveragePool"] + run["QLinearAveragePool"] == 1
    assert not FLOAT & set(run) and "Conv" not in run and "Relu" not in run
    expected, own = answers(network, colours), answers(rounded, colours)
    assert (own - expected).abs().max() < 0.1 * expected.abs().max()
    level = expected.abs().max() / 40  # sums that runtimes round to the next integer move the logits a little
    assert (torch.from_numpy(logits(tmp_path / "a.onnx", colours.numpy())) - own).abs().max() < level


@pytest.mark.parametrize("kind", first_quickly(NETWORKS, 2))
def test_the_packed_file_gives_the_same_bits(kind, colours, tmp_path):
    if kind is Functional:  # its slicing has no place in a packed file
        return
    rounded = after(StaticQuantization(), settled(kind, colours), colours)
    export(rounded, tmp_path / "a.onnx", ImageClassification(10, SHAPE))
    pack(tmp_path / "a.onnx", tmp_path / "a.lcomp")
    assert torch.equal(answers(load(tmp_path / "a.lcomp"), colours), answers(rounded, colours))


def test_each_tensor_is_rounded_once(colours, tmp_path):
    rounded = after(StaticQuantization(), settled(Own, colours), colours)
    export(rounded, tmp_path / "a.onnx", ImageClassification(10, SHAPE))
    # the input; the stem; in each of three blocks what is between, the branch, the sum; what the linear layer reads
    assert operators(tmp_path / "a.onnx")["QuantizeLinear"] == 1 + 1 + 3 * 3 + 1


def test_what_a_convolution_and_an_addition_read_has_one_quantizer(colours):
    network = Own()
    StaticQuantization().prepare(network)
    own = [name for name, module in network.named_modules() if isinstance(module, ActivationQuantizer)]
    blocks = [f"layer{n}.0.{part}" for n in (1, 2, 3) for part in ("conv2.input", "bn2.output", "relu2.output")]
    assert sorted(own) == sorted(
        f"{part}_quantizer" for part in [*blocks, "conv1.input", "relu.output", "linear.input"]
    )


def test_zeros_around_integers_are_their_zero_point(colours, tmp_path):
    rounded = after(StaticQuantization(), settled(Own, colours), colours)
    export(rounded, tmp_path / "a.onnx", ImageClassification(10, SHAPE))
    graph = onnx.load(tmp_path / "a.onnx").graph
    makers = {name: node for node in graph.node for name in node.output}
    pads = [node for node in graph.node if node.op_type == "Pad"]
    assert len(pads) == 2
    for node in pads:
        assert makers[node.input[0]].op_type == "MaxPool"
        quantize = makers[makers[node.input[0]].input[0]]
        assert quantize.op_type == "QuantizeLinear" and node.input[2] == quantize.input[2]


def test_an_addition_without_a_boundary_stays_float_and_is_named(colours, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        rounded = after(StaticQuantization(), settled(Within, colours), colours)
    assert "quant leaves add as it is: what it adds is made and added in one module's forward" in caplog.text
    export(rounded, tmp_path / "a.onnx", ImageClassification(10, SHAPE))
    assert operators(tmp_path / "a.onnx")["Add"] == 1


def test_a_network_that_cannot_be_traced_is_quantized_as_before(colours, caplog):
    with caplog.at_level(logging.INFO):
        rounded = after(StaticQuantization(), settled(Branching, colours), colours)
    assert "its additions stay float" in caplog.text
    assert answers(rounded, colours).isfinite().all()


@pytest.mark.parametrize("kind", [LeNet5, SmallCNN, ConvNet])
def test_networks_without_additions_are_quantized_at_layers_alone(kind):
    network = kind()
    StaticQuantization().prepare(network)
    held = [name for name, module in network.named_modules() if isinstance(module, ActivationQuantizer)]
    names = {name for name, _ in layers(network)} | {"normalize"}
    assert {name.removesuffix(".input_quantizer") for name in held} <= names


@pytest.mark.parametrize("technique", [DynamicQuantization, HybridQuantization])
def test_additions_are_float_where_activations_have_no_fixed_range(technique, colours):
    network = Own()
    technique().prepare(network)
    assert not quantizers(network, ActivationQuantizer)


def test_additions_can_be_excluded_by_name(colours, tmp_path):
    rounded = after(StaticQuantization(exclude=["layer2.*", "*.add"]), settled(Own, colours), colours)
    export(rounded, tmp_path / "a.onnx", ImageClassification(10, SHAPE))
    assert not optimized(tmp_path / "a.onnx")["QLinearAdd"]
    rounded = after(StaticQuantization(exclude=["layer2.0.add"]), settled(Own, colours), colours)
    export(rounded, tmp_path / "a.onnx", ImageClassification(10, SHAPE))
    assert optimized(tmp_path / "a.onnx")["QLinearAdd"] == 2
    with pytest.raises(UserError, match=r"quant.exclude: 'layer9.add' matches no layer"):
        StaticQuantization(exclude=["layer9.add"]).check(Own())


def test_fewer_bits_of_activations_leave_additions_their_eight(colours):
    network = Own()
    StaticQuantization(activation_bits=4).prepare(network)
    assert network.relu.output_quantizer.levels == 255
    assert network.layer1[0].conv1.input_quantizer.levels == 15


@pytest.mark.parametrize("technique", first_quickly([QuantizationAwareTraining, LearnedStepQuantization]))
def test_training_learns_with_rounded_additions_and_deploys_what_it_learned_with(technique, digits, tmp_path):
    torch.manual_seed(0)
    network = CifarResNet(blocks=1, widths=(4, 8, 8), input_shape=(1, 28, 28))
    techniques = [technique()]
    module = BaselineModule(network, techniques)
    train(module, digits, epochs=2)
    keys = set(copy.deepcopy(module.network).state_dict())
    fresh = CifarResNet(blocks=1, widths=(4, 8, 8), input_shape=(1, 28, 28))
    technique().prepare(fresh)
    assert keys == set(fresh.state_dict())  # the same before the first step and after the last
    assert all(quantizer.seen for quantizer in quantizers(module.network, ActivationQuantizer))
    assert not any(quantizer.observing for quantizer in quantizers(module.network, ActivationQuantizer))
    pixels = digits.test.images[:200].float() / 255
    fake = answers(module.network.eval(), pixels)
    deployed = finalize(module.network, techniques)
    same = (answers(deployed, pixels).argmax(1) == fake.argmax(1)).float().mean()
    assert same > 0.97  # batch norms are folded: sums differ in their last bits, and round otherwise now and then
    export(deployed, tmp_path / "a.onnx", ImageClassification())
    assert optimized(tmp_path / "a.onnx")["QLinearAdd"] == 3


@pytest.mark.parametrize("estimator", [MovingAverage(), Percentile(), MeanSquaredError()])
def test_ranges_are_observed_in_float32_under_autocast(estimator):
    x = torch.randn(4, 3, 8, 8).to(torch.bfloat16)
    plain, cast = ActivationQuantizer(8, estimator), ActivationQuantizer(8, estimator)
    for quantizer in (plain, cast):
        quantizer.observing.fill_(True)
        quantizer.enabled.fill_(True)
    for _ in range(2):
        expected = plain(x.float())
        with torch.autocast("cpu", torch.bfloat16):
            rounded = cast(x)
    assert cast.low.dtype == cast.high.dtype == torch.float32
    assert torch.equal(plain.low, cast.low) and torch.equal(plain.high, cast.high)
    assert torch.equal(rounded, expected.to(rounded.dtype))


def test_operations_have_the_names_of_where_they_are():
    assert additions.fits(Own(), "layer1.0.add") and additions.fits(Own(), "pool")
    assert additions.fits(Inverted(), "mean") and not additions.fits(LeNet5(), "*")


@pytest.mark.parametrize("technique", [StaticQuantization, LearnedStepQuantization])
def test_a_first_layer_that_pads_reads_bytes_behind_its_normalization_too(technique):
    network = Own()
    technique(bits=2, activation_bits=2).prepare(network)
    assert type(network.conv1.input_quantizer) is ActivationQuantizer and network.conv1.input_quantizer.levels == 255
    assert network.layer1[0].conv2.input_quantizer.levels == 3
