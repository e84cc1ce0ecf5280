"""Figures that can be checked by hand."""

import gzip
import math

import numpy as np
import pytest
import torch
from torch import nn

from lcomp import measure, size
from lcomp.export import export
from lcomp.models import LeNet5, SmallCNN
from lcomp.runtimes import ONNXRuntime
from lcomp.runtimes.onnxruntime import inference_session


@pytest.fixture
def artifact(tmp_path):
    path, network = tmp_path / "artifact.onnx", SmallCNN()
    for layer in (network.fc1, network.fc2):
        nn.init.normal_(layer.bias)  # the exporter drops a bias of zeros
    export(network, path, (1, 28, 28), 10)
    return path


def test_sessions_ask_for_exact_integer_kernels_on_one_thread(artifact):
    options = inference_session(artifact).get_session_options()
    assert options.get_session_config_entry("session.x64quantprecision") == "1"
    assert options.intra_op_num_threads == options.inter_op_num_threads == 1


def test_accuracy_and_loss_by_hand():
    logits = np.array([[0, math.log(3)], [0, 0]], np.float32)
    accuracy, loss = measure.accuracy_and_loss(logits, np.array([1, 1]))
    assert accuracy == 0.5 and loss == pytest.approx((-math.log(0.75) - math.log(0.5)) / 2)


def test_large_logits_do_not_overflow():
    assert measure.accuracy_and_loss(np.array([[1e30, -1e30]], np.float32), np.array([0])) == (1.0, 0.0)


def test_sizes_are_the_files(artifact):
    content = artifact.read_bytes()
    assert size.of_file(artifact) == {
        "file_bytes": len(content),
        "gzip_bytes": len(gzip.compress(content, compresslevel=9, mtime=0)),
    }


def test_operations_and_memory_of_the_papers_student(artifact):
    counts = size.of_graph(artifact)
    assert counts["macs"] == 26 * 26 * 4 * 9 + 676 * 16 + 16 * 10
    largest = 4 * (26 * 26 * 4 + 26 * 26 * 4)  # ReLU's input and output live at once
    assert 11_042 * 4 + largest <= counts["memory_bytes"] <= 11_042 * 4 + largest + 100


def test_weights_count_integers_and_zeros(tmp_path):
    network = LeNet5()
    with torch.no_grad():
        network.fc1.weight[:60] = 0
        network.fc1.bias.fill_(1)
    seen = size.of_network(network, torch.rand(1, 1, 28, 28))
    export(network, tmp_path / "a.onnx", (1, 28, 28), 10)
    assert seen["parameters"] == 44_426
    assert size.of_graph(tmp_path / "a.onnx")["sparsity"] == pytest.approx(60 * 256 / 44_190)
    assert seen["nonzero_parameters"] == 44_190 - 60 * 256 + 120


def agreement(path, network):
    pixels = np.random.default_rng(0).random((300, 1, 28, 28), np.float32)
    split = measure.Split(pixels, np.zeros(300, np.int64))
    session = ONNXRuntime().session(path)
    own, expected = measure.logits(session, pixels), measure.answers(network, pixels)
    return measure.quality(session, measure.Splits(split, split), own, expected)


def test_a_wrong_artifact_is_noticed(artifact):
    torch.manual_seed(5)
    assert agreement(artifact, SmallCNN())["agreement"] < 0.9


def test_an_artifact_agrees_with_its_own_network(tmp_path):
    network = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    export(network, tmp_path / "a.onnx", (1, 28, 28), 10)
    seen = agreement(tmp_path / "a.onnx", network)
    assert seen["agreement"] == 1 and seen["logit_difference"] < 1e-5


def test_latencies_are_measured_for_each_artifact(artifact):
    pixels = np.zeros((300, 1, 28, 28), np.float32)
    [one, other] = measure.latencies([ONNXRuntime().session(artifact)] * 2, pixels, 5)
    for seen in (one, other):
        assert 0 < seen["latency_us_p50"] <= seen["latency_us_p90"] and seen["test_set_seconds"] > 0
