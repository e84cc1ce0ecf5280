import sys

import onnx
import pytest
import torch

from lcomp.errors import UserError
from lcomp.export.onnx_export import export
from lcomp.models import (
    CifarResNet,
    ConvNet,
    LeNet5,
    SmallCNN,
    TimmNetwork,
    mobilenet_v2,
    mobilenet_v3_small,
    resnet18,
    resnet50,
    vgg16_bn,
)
from lcomp.models.blocks import Normalize, PooledReLU, normalization
from lcomp.tasks import ImageClassification
from lcomp.techniques import layer_graph


@pytest.mark.parametrize(("network", "parameters"), [(LeNet5, 44_426), (SmallCNN, 11_042)])
def test_parameters_are_the_papers(network, parameters):
    assert sum(p.numel() for p in network().parameters()) == parameters


@pytest.mark.parametrize("network", [LeNet5, SmallCNN])
def test_pixels_to_logits_with_glorot_weights_and_zero_biases(network):
    made = network(num_classes=7)
    assert made(torch.rand(3, 1, 28, 28)).shape == (3, 7)
    weight = made.fc1.weight
    bound = (6 / sum(weight.shape)) ** 0.5
    assert 0.98 * bound < weight.abs().max() <= bound
    assert not made.fc1.bias.any()


def test_pooling_before_the_relu_is_the_same_function_with_the_same_gradients():
    x = torch.randn(5, 3, 8, 8)
    x[0] = 0.7  # ties, as in the background of a digit
    outputs, gradients = [], []
    for function in (PooledReLU(), lambda x: torch.nn.functional.max_pool2d(x.relu(), 2)):
        leaf = x.clone().requires_grad_(True)
        outputs.append(function(leaf))
        outputs[-1].square().sum().backward()
        gradients.append(leaf.grad)
    assert torch.equal(*outputs) and torch.equal(*gradients)


DIGITS, COLOUR = (1, 28, 28), (3, 32, 32)


@pytest.mark.parametrize(("make", "parameters"), [(resnet18, 11_172_810), (mobilenet_v3_small, 1_527_818)])
def test_networks_of_torchvision_fold_the_normalization_of_digits(make, parameters):
    network = make().eval()
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert network(torch.rand(2, 1, 28, 28)).shape == (2, 10)
    [(convolution, normalize)] = layer_graph.foldable(network).items()
    assert convolution.rpartition(".")[0] == normalize.rpartition(".")[0]
    assert all(m.momentum == 0.1 for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d))


@pytest.mark.parametrize(
    ("make", "parameters"),
    [(resnet18, 11_173_962), (resnet50, 23_520_842), (mobilenet_v2, 2_236_682), (vgg16_bn, 14_728_266)],
)
def test_networks_of_torchvision_have_the_parameters_that_are_usual_for_small_images(make, parameters):
    network = make(input_shape=COLOUR, mean=[0.5, 0.4, 0.3], std=[0.2, 0.2, 0.3]).eval()
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert len(layer_graph.normalized_layers(network)) == 1
    assert network(torch.rand(2, *COLOUR)).shape == (2, 10)
    assert make(num_classes=7, input_shape=DIGITS).eval()(torch.rand(2, *DIGITS)).shape == (2, 7)


@pytest.mark.parametrize(
    ("shape", "stem", "rows"),
    [
        (DIGITS, None, [7, 4, 2, 1]),
        (COLOUR, None, [32, 16, 8, 4]),
        ((3, 96, 96), None, [96, 48, 24, 12]),
        ((3, 128, 128), None, [32, 16, 8, 4]),
        (COLOUR, "strided", [8, 4, 2, 1]),
        (COLOUR, "large", [8, 4, 2, 1]),
    ],
)
def test_the_stem_of_a_residual_network_goes_by_the_size_of_its_examples(shape, stem, rows):
    network, seen = resnet18(input_shape=shape, stem=stem).eval(), []
    for layer in (network.layer1, network.layer2, network.layer3, network.layer4):
        layer.register_forward_hook(lambda _module, _given, output: seen.append(output.shape[-1]))
    network(torch.zeros(1, *shape))
    assert seen == rows


def test_a_stem_that_there_is_not_is_refused():
    with pytest.raises(UserError, match=r"model.stem=big: allowed are strided, small, large"):
        resnet18(stem="big")


def test_a_network_of_timms_gets_channels_classes_and_settings():
    network = TimmNetwork("resnet10t", {"drop_rate": 0.25}, num_classes=7, input_shape=COLOUR).eval()
    assert network(torch.rand(2, *COLOUR)).shape == (2, 7) and network.network.drop_rate == 0.25
    assert TimmNetwork("resnet10t", input_shape=DIGITS)(torch.rand(2, *DIGITS)).shape == (2, 10)
    with pytest.raises(
        UserError, match=r"model.name=resnet19: give the name of a network of timm .*did you mean resnet"
    ):
        TimmNetwork("resnet19")
    with pytest.raises(UserError, match=r"model.name=None: give the name"):
        TimmNetwork()


def test_where_timm_is_not_installed_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match=r"model=timm: needs a package: pip install 'lcomp\[timm\]'"):
        TimmNetwork("resnet10t")


@pytest.mark.parametrize(
    ("settings", "parameters"),
    [({}, 2_906), ({"head": "linear"}, 2_906 + 8 * 160), ({"channels": [4], "pools": [], "kernel": 5}, 100 + 8 + 50)],
)
def test_a_net_of_convolutions_has_the_layers_that_it_is_asked_for(settings, parameters, tmp_path):
    network = ConvNet(**settings).eval()
    assert sum(p.numel() for p in network.parameters()) == parameters  # 36 of them scale batch norms
    assert network(torch.rand(2, 1, 28, 28)).shape == (2, 10)
    assert ConvNet(num_classes=7, input_shape=(3, 32, 32), **settings).eval()(torch.rand(2, 3, 32, 32)).shape == (2, 7)
    export(network, tmp_path / "a.onnx", ImageClassification())
    operators = [node.op_type for node in onnx.load(tmp_path / "a.onnx").graph.node]
    assert "BatchNormalization" not in operators and "Sub" not in operators  # both are folded


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"head": "max"}, "model.head=max"),
        ({"channels": [], "pools": []}, r"model.channels=\[\], model.kernel=3: whole numbers from 1 up"),
        ({"channels": [8, 0]}, r"model.channels=\[8, 0\], model.kernel=3: whole numbers from 1 up"),
        ({"kernel": 0}, r"model.channels=\[8, 12, 16\], model.kernel=0: whole numbers from 1 up"),
        ({"pools": [4]}, r"model.pools=\[4\]: convolutions are counted from 1 to 3"),
        ({"pools": [1, 2, 3], "kernel": 5}, "nothing is left of inputs of shape"),
    ],
)
def test_a_net_of_convolutions_that_cannot_be_is_refused(settings, said):
    with pytest.raises(UserError, match=said):
        ConvNet(**settings)


@pytest.mark.parametrize(("blocks", "parameters"), [(3, 269_722), (5, 464_154), (9, 853_018)])
def test_residual_networks_have_the_parameters_of_the_public_checkpoints(blocks, parameters):
    network = CifarResNet(blocks).eval()
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert network(torch.rand(2, 3, 32, 32)).shape == (2, 10)


def test_resnet_8_has_the_parameters_of_mlperf_tiny():
    network = CifarResNet(1, shortcut="conv", bias=True)
    counts = {name: t.numel() for name, t in network.state_dict().items() if not name.startswith("normalize")}
    assert sum(n for name, n in counts.items() if "num_batches" not in name) == 78_666  # Keras counts statistics too
    assert sum(p.numel() for p in network.parameters()) == 78_186


def test_a_shortcut_without_weights_slices_and_pads():
    shortcut = CifarResNet(1, widths=(2, 5, 6)).layer2[0].shortcut
    x = torch.randn(2, 2, 5, 4)
    expected = torch.zeros(2, 5, 3, 2)
    expected[:, 1:3] = x[:, :, ::2, ::2]
    assert torch.equal(shortcut(x), expected)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"blocks": 0}, "model.blocks=0: residual blocks"),
        ({"widths": (16, 32)}, r"model.widths=\[16, 32\]: channels of the three stacks"),
        ({"widths": (16, 8, 64)}, "never fewer than before where model.shortcut=pad"),
        ({"shortcut": "none"}, "model.shortcut=none"),
        ({"mean": [0.5, 0.5]}, r"model.mean=\[0.5, 0.5\]: give a number, or one for each of the 3 channels"),
        ({"std": [0.2, 0.0, 0.2]}, "model.std=.*above 0"),
    ],
)
def test_a_residual_network_that_cannot_be_is_refused(settings, said):
    with pytest.raises(UserError, match=said):
        CifarResNet(**{"blocks": 1} | settings)


def test_each_channel_has_its_own_normalization_and_grey_the_average_of_colours():
    x = torch.rand(2, 3, 4, 4)
    y = normalization((3, 4, 4), [0.1, 0.2, 0.4], (0.5, 0.25, 0.125))(x)
    assert torch.equal(y[:, 2], (x[:, 2] - 0.4) / 0.125) and torch.equal(y[:, 0], (x[:, 0] - 0.1) / 0.5)
    grey = normalization((1, 4, 4), [0.1, 0.2, 0.6], 0.5)
    assert grey.mean.shape == () and grey.mean == torch.tensor(0.3) and grey.std == 0.5
    assert all(
        torch.equal(a, b)
        for a, b in zip(normalization((1, 4, 4), [0.1307], [0.3081]).buffers(), Normalize().buffers(), strict=True)
    )
