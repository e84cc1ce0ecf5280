"""What the exported file holds, and what it does not."""

import onnx
import torch
from torch import nn

from lcomp.export.onnx_export import export, fold_normalization
from lcomp.models import LeNet5, SmallCNN
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
