"""What the exported file holds, and what it does not."""

import numpy as np
import onnx
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx_graphs import initializers
from torch import nn

from lcomp.export.onnx_export import export, fold_normalization
from lcomp.models import CifarResNet, LeNet5, SmallCNN
from lcomp.models.blocks import Normalize, Subtract
from lcomp.tasks import ImageClassification


def test_file_holds_the_graph_and_nothing_of_the_exporters(tmp_path):
    export(SmallCNN(), tmp_path / "a.onnx", ImageClassification(), "hash")
    model = onnx.load(tmp_path / "a.onnx")
    assert not model.graph.value_info and not model.graph.metadata_props and not model.doc_string
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)
    assert {p.key: p.value for p in model.metadata_props}.keys() == {"classes", "config_hash", "lcomp_version"}
    assert [p.name for p in tmp_path.iterdir()] == ["a.onnx"]


def test_the_same_network_gives_the_same_bytes(tmp_path):
    network = SmallCNN()
    for name in ("a", "b"):
        export(network, tmp_path / name, ImageClassification())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_an_artifact_has_each_relu_behind_its_convolution(tmp_path):
    export(LeNet5(), tmp_path / "a.onnx", ImageClassification())  # where runtimes fuse it; torch pools first
    order = [node.op_type for node in onnx.load(tmp_path / "a.onnx").graph.node]
    assert order[:6] == ["Conv", "Relu", "MaxPool"] * 2


def test_folding_the_normalization_changes_no_logit():
    torch.manual_seed(0)
    network, pixels = LeNet5(), torch.rand(5, 1, 28, 28)
    expected = network(pixels)
    folded = fold_normalization(network)
    assert isinstance(folded.normalize, nn.Identity)
    assert torch.allclose(folded(pixels), expected, atol=1e-4)


@settings(deadline=None, max_examples=60)
@given(
    channels=st.sampled_from([1, 3, 4]),
    by_channel=st.sampled_from([(False, False), (True, True), (True, False), (False, True)]),
    centred=st.booleans(),
    geometry=st.fixed_dictionaries(
        {
            "kernel_size": st.integers(1, 3),
            "stride": st.integers(1, 3),
            "dilation": st.integers(1, 2),
            "padding": st.sampled_from([0, 1, 2, (0, 1), "valid"]),
            "bias": st.booleans(),
        }
    ),
)
def test_whatever_the_first_convolution_the_folded_network_is_the_same_function(
    channels, by_channel, centred, geometry
):
    random = torch.Generator().manual_seed(0)
    mean, std = ((torch.rand(channels, generator=random) + 0.2).tolist() for _ in range(2))
    one_mean, one_std = (
        values if several else values[0] for several, values in zip(by_channel, (mean, std), strict=True)
    )
    normalize = Normalize([0.0] * channels if centred else one_mean, one_std)
    network = nn.Sequential(normalize, nn.Conv2d(channels, 4, **geometry)).double()
    x = torch.rand(2, channels, 9, 8, generator=random, dtype=torch.float64)
    expected = network(x)
    folded = fold_normalization(network)
    assert torch.allclose(folded(x), expected, atol=1e-12, rtol=1e-12)
    pads = geometry["padding"] not in (0, "valid") and not centred
    assert type(folded[0]) is (Subtract if pads else nn.Identity)


def test_a_grouped_convolution_behind_numbers_of_channels_is_left_as_it_is():
    network = nn.Sequential(Normalize([0.1, 0.2], [0.3, 0.4]), nn.Conv2d(2, 4, 3, groups=2))
    weight = network[1].weight.clone()
    folded = fold_normalization(network)
    assert type(folded[0]) is Normalize and torch.equal(folded[1].weight, weight)


def test_a_residual_network_subtracts_the_mean_and_divides_nothing(tmp_path):
    export(CifarResNet(1, widths=(4, 6, 8)), tmp_path / "a.onnx", ImageClassification(10, (3, 32, 32)))
    operators = [node.op_type for node in onnx.load(tmp_path / "a.onnx").graph.node]
    assert operators[:2] == ["Sub", "Conv"] and "Div" not in operators and "BatchNormalization" not in operators
    assert operators.count("Pad") == operators.count("MaxPool") == 2 and operators.count("Add") == 3


def test_pruned_weights_are_zeros_of_one_sign_behind_a_batch_norm(tmp_path):
    conv, norm = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)
    with torch.no_grad():
        conv.weight[:, :, 0] = 0
        norm.weight.copy_(torch.tensor([1.0, -1.0, 2.0, -2.0]))
    network = nn.Sequential(conv, norm, nn.Flatten(), nn.Linear(4 * 26 * 26, 10)).eval()
    export(network, tmp_path / "a.onnx", ImageClassification())
    weight = initializers(tmp_path / "a.onnx")["0.weight"]
    assert (weight[1] * conv.weight[1].detach().numpy() < 0).any()  # the sign of the others did change
    assert (weight[:, :, 0] == 0).all() and not np.signbit(weight[:, :, 0]).any()
