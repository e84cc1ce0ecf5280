"""Figures that can be checked by hand."""

import gzip
import math

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from onnxruntime import InferenceSession, SessionOptions
from quickly import first_quickly
from test_quantization import quantized
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from lcomp.cli.network_summary import layer_rows
from lcomp.evaluation import measurement, size
from lcomp.evaluation.figures import FileSize, known
from lcomp.export.onnx_export import export
from lcomp.models import Bert, CifarResNet, LeNet5, SmallCNN, mobilenet_v2
from lcomp.runtimes import ONNXRuntime, integer_kernels
from lcomp.runtimes.onnxruntime import inference_session
from lcomp.tasks import ImageClassification, TextClassification
from lcomp.tasks.classification import accuracy_and_loss
from lcomp.tasks.split import Split, Splits
from lcomp.techniques.quantization import StaticQuantization


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    """Of an untrained student; not to be changed."""
    path, network = tmp_path_factory.mktemp("artifact") / "artifact.onnx", SmallCNN()
    for layer in (network.fc1, network.fc2):
        nn.init.normal_(layer.bias)  # the exporter drops a bias of zeros
    export(network, path, ImageClassification())
    return path


def asked_for_exact_kernels(options):
    try:
        return options.get_session_config_entry("session.x64quantprecision") == "1"
    except RuntimeError:  # there is no such entry
        return False


@pytest.mark.parametrize("saturate", [True, False])
def test_sessions_ask_for_exact_integer_kernels_where_the_others_saturate_on_one_thread(
    artifact, monkeypatch, saturate
):
    monkeypatch.setattr(integer_kernels, "saturate", lambda: saturate)
    options = inference_session(artifact).get_session_options()
    assert asked_for_exact_kernels(options) == saturate
    assert options.intra_op_num_threads == options.inter_op_num_threads == 1


@pytest.mark.parametrize("output", range(5))
def test_a_kernel_whose_sums_stop_at_16_bits_is_found(monkeypatch, output):
    assert integer_kernels.saturate.__wrapped__() == integer_kernels.saturate()

    class Saturating(InferenceSession):
        def run(self, names, inputs):
            found = super().run(names, inputs)
            found[output] = np.round(found[output] * (32767 / (2 * 255 * 127))).astype(found[output].dtype)
            return found

    monkeypatch.setattr(integer_kernels, "InferenceSession", Saturating)
    assert integer_kernels.saturate.__wrapped__()


def test_the_kernels_that_are_chosen_give_the_bits_of_the_exact_ones(trained, digits, tmp_path):
    made = quantized(StaticQuantization(8), trained, digits)
    export(made, tmp_path / "artifact.onnx", ImageClassification())
    options = SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")
    images = digits.validation.images[:250].float().numpy() / 255
    exact = InferenceSession(tmp_path / "artifact.onnx", options, providers=["CPUExecutionProvider"])
    [name] = [given.name for given in exact.get_inputs()]
    for batch in (images, images[:1]):
        [found], [wanted] = (
            one.run(None, {name: batch}) for one in (inference_session(tmp_path / "artifact.onnx"), exact)
        )
        assert np.array_equal(found, wanted)


def test_accuracy_and_loss_by_hand():
    logits = np.array([[0, math.log(3)], [0, 0]], np.float32)
    accuracy, loss = accuracy_and_loss(logits, np.array([1, 1]))
    assert accuracy == 0.5 and loss == pytest.approx((-math.log(0.75) - math.log(0.5)) / 2)


def test_large_logits_do_not_overflow():
    assert accuracy_and_loss(np.array([[1e30, -1e30]], np.float32), np.array([0])) == (1.0, 0.0)


def test_sizes_are_the_files(artifact):
    content = artifact.read_bytes()
    assert size.of_file(artifact, 7) == FileSize(
        file_bytes=len(content), gzip_bytes=len(gzip.compress(content, compresslevel=9, mtime=0)), packed_bytes=7
    )


def test_operations_and_memory_of_the_papers_student(artifact):
    counts = size.of_graph(artifact)
    assert counts.macs == 26 * 26 * 4 * 9 + 676 * 16 + 16 * 10
    largest = 4 * (26 * 26 * 4 + 26 * 26 * 4)  # ReLU's input and output live at once
    assert 11_042 * 4 + largest <= counts.memory_bytes <= 11_042 * 4 + largest + 100


def test_weights_count_integers_and_zeros(tmp_path):
    network = LeNet5()
    with torch.no_grad():
        network.fc1.weight[:60] = 0
        network.fc1.bias.fill_(1)
    seen = size.of_network(network, torch.rand(1, 1, 28, 28))
    export(network, tmp_path / "a.onnx", ImageClassification())
    assert seen.parameters == 44_426
    assert size.of_graph(tmp_path / "a.onnx").sparsity == pytest.approx(60 * 256 / 44_190)
    assert seen.nonzero_parameters == 44_190 - 60 * 256 + 120


def agreement(path, network):
    pixels = np.random.default_rng(0).random((300, 1, 28, 28), np.float32)
    split = Split({"pixels": pixels}, np.zeros(300, np.int64))
    session = ONNXRuntime().session(path)
    own, expected = (
        measurement.artifact_outputs(session, {"pixels": pixels}),
        measurement.predict_outputs(network, {"pixels": pixels}),
    )
    return measurement.quality(ImageClassification(), session, Splits(split, split), own, expected)


def test_a_wrong_artifact_is_noticed(artifact):
    torch.manual_seed(5)
    assert agreement(artifact, SmallCNN())["agreement"] < 0.9


def test_an_artifact_agrees_with_its_own_network(tmp_path):
    network = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    export(network, tmp_path / "a.onnx", ImageClassification())
    seen = agreement(tmp_path / "a.onnx", network)
    assert seen["agreement"] == 1 and seen["logit_difference"] < 1e-5


def test_latencies_are_measured_for_each_artifact(artifact):
    pixels = np.zeros((300, 1, 28, 28), np.float32)
    [one, other] = measurement.latencies([ONNXRuntime().session(artifact)] * 2, {"pixels": pixels}, 5)
    for seen in (one, other):
        assert 0 < seen.latency_us_p50 <= seen.latency_us_p90 and seen.test_set_seconds > 0


class Transposed(nn.Module):
    def __init__(self):
        super().__init__()
        self.down, self.up = nn.Conv2d(1, 8, 3, 2, 1), nn.ConvTranspose2d(8, 16, 3, 2, 1, 1, groups=2)

    def forward(self, x):
        return self.up(self.down(x).relu()).mean((2, 3))


class Recurrent(nn.Module):
    def __init__(self, kind, **settings):
        super().__init__()
        self.layer = getattr(nn, kind)(28, 16, batch_first=True, **settings)

    def forward(self, x):
        return self.layer(x.squeeze(1))[0][:, -1]


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(28, 4, 64, dropout=0.0, batch_first=True)

    def forward(self, x):
        return self.layer(x.squeeze(1)).mean(1)


class Summed(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(28, 10))

    def forward(self, x):
        return torch.einsum("bchw,wk->bk", x, self.weight)


NETWORKS = [
    (Transposed(), 14 * 14 * 8 * 9 + 14 * 14 * 8 * 8 * 9),  # of each input, the 16 / 2 filters of its group
    (Recurrent("LSTM"), 28 * 4 * 16 * (28 + 16)),
    (Recurrent("LSTM", bidirectional=True), 28 * 2 * 4 * 16 * (28 + 16)),
    (Recurrent("GRU", num_layers=2), 28 * 3 * 16 * (28 + 16 + 16 + 16)),
    (Recurrent("RNN"), 28 * 16 * (28 + 16)),
    (Encoder(), 28 * (3 * 28 * 28 + 28 * 28 + 2 * 28 * 28 + 2 * 28 * 64)),  # projections, products, two linear layers
    (Summed(), 28 * 10),
]


@pytest.mark.parametrize(("network", "macs"), first_quickly(NETWORKS), ids=lambda value: type(value).__name__)
def test_operations_agree_by_hand_from_the_graph_and_from_the_network(network, macs, tmp_path):
    export(network, tmp_path / "a.onnx", ImageClassification())
    seen = layer_rows(network, (1, 28, 28))  # torch's own counter, on kernels that it can see into
    assert size.of_graph(tmp_path / "a.onnx").macs == sum(row.macs for row in seen) == macs
    assert sum(row.parameters for row in seen) == sum(p.numel() for p in network.parameters())


WHOLE = {
    "lenet5": (LeNet5, (1, 28, 28)),
    "resnet20": (CifarResNet, (3, 32, 32)),
    "mobilenet_v2": (mobilenet_v2, (3, 32, 32)),
}


@pytest.mark.parametrize("name", WHOLE)
def test_operations_of_whole_networks_are_those_of_torch_s_counter(name, tmp_path):
    make, shape = WHOLE[name]
    network = make(num_classes=10, input_shape=shape).eval()
    export(network, tmp_path / "a.onnx", ImageClassification(10, shape))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, *shape))
    assert 2 * size.of_graph(tmp_path / "a.onnx").macs == counter.get_total_flops() > 0


def test_operations_of_an_encoder_are_those_of_torch_s_counter(tmp_path):
    task = TextClassification(2, 50, max_length=12)
    network = Bert(2, 16, 2, 32, **task.arguments).eval()
    export(network, tmp_path / "a.onnx", task)
    ids = torch.ones(1, task.length, dtype=torch.long)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        network(ids, ids)
    assert 2 * size.of_graph(tmp_path / "a.onnx").macs == counter.get_total_flops() > 0


def test_operations_that_cannot_be_told_are_left_out(artifact, tmp_path, caplog):
    model = onnx.load(artifact)
    given, gave = model.graph.node[0].input[0], model.graph.node[0].output[0]
    model.graph.node[0].output[0] = "before"
    inside = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["before"], ["inner"])], "branch", [], [onnx.ValueInfoProto(name="inner")]
    )
    condition = onnx.helper.make_node("Constant", [], ["yes"], value=numpy_helper.from_array(np.array(True)))
    chosen = onnx.helper.make_node("If", ["yes"], [gave], then_branch=inside, else_branch=inside)
    for place, node in enumerate((condition, chosen)):
        model.graph.node.insert(1 + place, node)
    onnx.save(model, tmp_path / "a.onnx")
    counts = size.of_graph(tmp_path / "a.onnx")
    assert given and counts.macs is None and "macs" not in known(counts) and counts.memory_bytes > 0
    assert "no macs: those of If are not counted" in caplog.text


def test_attention_has_a_row():
    by_kind = {row.kind: row for row in layer_rows(Encoder(), (1, 28, 28))}
    attention = by_kind["MultiheadAttention"]
    assert attention.output == (28, 28) and attention.parameters == 3 * 28 * 28 + 3 * 28
    assert attention.macs == 28 * (4 * 28 * 28 + 2 * 28 * 28)


def test_a_split_that_is_too_large_for_memory_is_read_from_the_disk(digits, monkeypatch):
    whole = measurement.split_of(digits.test_dataloader(), digits.task)
    assert not isinstance(whole.pixels, np.memmap)
    batches = [
        (images, labels) for images, labels in zip(*map(torch.from_numpy, (whole.pixels, whole.labels)), strict=True)
    ]
    for most in (0, 300 * 784 * 4):
        monkeypatch.setattr(measurement, "LARGE", most)
        loader = torch.utils.data.DataLoader(batches, 130)
        found = measurement.split_of(loader, digits.task)
        assert isinstance(found.pixels, np.memmap) and found.pixels.shape == (1000, 1, 28, 28)
        assert (found.pixels == whole.pixels).all() and (found.labels == whole.labels).all()
        assert torch.equal(torch.from_numpy(found.pixels[3:5]), torch.from_numpy(whole.pixels[3:5]))
