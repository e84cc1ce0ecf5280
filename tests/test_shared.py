"""Shared weights: the clusters of a living library, the paper's gradient, a byte for each weight in the file."""

import copy

import numpy as np
import pytest
import torch
from onnx_graphs import initializers, integer_weights, logits, operators
from sklearn.cluster import KMeans
from torch import nn
from training import Watch, train

from lcomp.errors import UserError
from lcomp.evaluation import measurement, size
from lcomp.evaluation.figures import known
from lcomp.export.onnx_export import export
from lcomp.models import LeNet5, SmallCNN
from lcomp.modules import BaselineModule
from lcomp.tasks import ImageClassification
from lcomp.techniques.parametrizations import original_weight, parametrization
from lcomp.techniques.pruning import Pruning
from lcomp.techniques.quantization import WeightSharing
from lcomp.techniques.quantization.shared import Codebook, k_means
from lcomp.techniques.technique import layers


@pytest.mark.filterwarnings("ignore:__array_wrap__ must accept context:DeprecationWarning")
@pytest.mark.parametrize("k", [1, 3, 15])
def test_clusters_are_those_of_scikit_learn_from_the_same_start(k):
    x = torch.randn(2_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    start = np.linspace(x.min(), x.max(), k).reshape(-1, 1)
    oracle = KMeans(k, init=start, n_init=1, max_iter=300, tol=0, algorithm="lloyd").fit(x.numpy().reshape(-1, 1))
    assert np.allclose(k_means(x, k).numpy(), oracle.cluster_centers_.ravel(), atol=1e-9)


def test_a_centre_without_members_stays():
    x = torch.tensor([0.0, 0.1, 1.0], dtype=torch.float64)
    assert torch.allclose(k_means(x, 5), torch.tensor([0.05, 0.25, 0.5, 0.75, 1.0], dtype=torch.float64))


def test_every_weight_takes_the_nearest_value_and_zeros_stay_zero():
    weight = torch.randn(20, 30, generator=torch.Generator().manual_seed(0))
    weight[::2, ::3] = 0
    codebook = Codebook(weight, 3)
    codebook.fit(weight)
    seen = codebook(weight)
    distance = (weight.unsqueeze(-1) - codebook.values).abs()
    nonzero = weight != 0
    assert torch.equal((seen == 0), ~nonzero) and len(seen.unique()) == 8
    assert torch.allclose((seen - weight).abs()[nonzero], distance.amin(-1)[nonzero], atol=1e-6)


def test_a_value_s_gradient_is_the_sum_over_its_weights():
    weight = nn.Parameter(torch.tensor([[1.0, 1.1, 0.0], [-2.0, 1.2, 5.0]]))
    codebook = Codebook(weight.detach(), 2)  # values near -2, 1.1, 5
    codebook.fit(weight.detach())
    upstream = torch.tensor([[1.0, 10.0, 100.0], [1000.0, 10_000.0, 100_000.0]])
    (codebook(weight) * upstream).sum().backward()
    assert codebook.values.tolist() == pytest.approx([-2.0, 1.1, 5.0])
    assert codebook.values.grad.tolist() == [1000.0, 10_011.0, 100_000.0]
    assert weight.grad is None


def test_weights_are_shared_at_begin_then_only_values_learn(digits):
    def look(module):
        layer = module.network.fc1
        codebook = parametrization(layer, Codebook)
        return (
            bool(codebook.enabled),
            codebook.values.sum().item(),
            original_weight(layer).sum().item(),
            codebook.indices.sum(),
        )

    watch = Watch(look)
    module = BaselineModule(SmallCNN(), [Pruning(0.5, interval=2), WeightSharing(3, begin=0.5)])
    train(module, digits, callbacks=[watch])
    enabled, values, weights, indices = zip(*watch.seen, strict=True)
    assert list(enabled) == [False] * 10 + [True] * 10
    assert len(set(values[10:])) == 10 and set(values[:10]) == {0.0}
    assert len(set(weights[:10])) == 10 and len(set(weights[10:])) == 1 and len({int(i) for i in indices[10:]}) == 1
    network = module.finalize()
    zeros = sum(int((layer.weight == 0).sum()) for layer in (network.conv, network.fc1, network.fc2))
    assert zeros >= 0.5 * 11_012 - 1  # the masks went on after weights were shared, and their zeros are zero


def test_a_file_holds_a_byte_for_each_weight_and_answers_as_the_network(trained, digits, tmp_path):
    network = copy.deepcopy(trained)
    with torch.no_grad():
        network.fc1.weight[:60] = 0
    technique = WeightSharing(8, begin=1, bits_of={"fc*": 4})
    technique.prepare(network)
    assert not technique.trains
    network, path = technique.finalize(network).eval(), tmp_path / "a.onnx"
    export(network, path, ImageClassification())
    found = integer_weights(path)
    assert sorted(w.size for w in found) == sorted(layer.weight.numel() for _, layer in layers(LeNet5()))
    assert all(w.dtype == np.uint8 for w in found) and operators(path)["Gather"] == 5
    assert {w.size: w.max() for w in found}[840] == 15
    floats = sum(a.size for a in initializers(path).values() if a.dtype == np.float32)
    assert floats <= 236 + 2 * 256 + 3 * 16 + 4
    pixels = digits.test.images.float().numpy() / 255
    own, expected = logits(path, pixels), measurement.predict_outputs(network, {"pixels": pixels})
    assert np.abs(own - expected).max() < 1e-3
    assert (own.argmax(1) == measurement.predict_outputs(trained, {"pixels": pixels}).argmax(1)).mean() > 0.5


def test_figures_count_indices_as_weights(trained, tmp_path):
    figures = {}
    for name, technique in (("float", None), ("shared", WeightSharing(8, begin=1))):
        network = copy.deepcopy(trained)
        with torch.no_grad():
            network.fc1.weight[:60] = 0
        if technique:
            technique.prepare(network)
            network = technique.finalize(network).eval()
        export(network, tmp_path / "a.onnx", ImageClassification())
        figures[name] = known(size.of_network(network, torch.rand(1, 1, 28, 28))) | known(
            size.of_graph(tmp_path / "a.onnx")
        )
    for metric in ("parameters", "nonzero_parameters", "sparsity", "macs"):
        assert figures["shared"][metric] == figures["float"][metric]
    saved = figures["float"]["memory_bytes"] - figures["shared"]["memory_bytes"]
    assert 44_190 * 3 - 5 * 256 * 4 - 100 <= saved <= 44_190 * 3


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"bits": 9}, r"quant\.bits=9: the width of an index in whole bits, 1 to 8"),
        ({"bits_of": {"fc1": 0}}, r"quant\.bits_of\.fc1=0"),
        ({"begin": 1.5}, r"quant\.begin=1\.5"),
        ({"exclude": ["fc9"]}, r"quant\.exclude: 'fc9' matches no layer"),
    ],
)
def test_what_cannot_be_is_refused_by_name(settings, words):
    with pytest.raises(UserError, match=words):
        WeightSharing(**settings).prepare(LeNet5())
