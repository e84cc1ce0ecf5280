"""Encoders of sentences: their artifacts give their logits, whatever compresses them."""

import numpy as np
import onnx
import onnxruntime
import pytest
import sentences
import torch
from onnx import numpy_helper
from torch import nn

from lcomp.config.composition import compose
from lcomp.config.instantiation import build
from lcomp.config.pretrained import pretrained_folder
from lcomp.evaluation.size import of_graph
from lcomp.export import export
from lcomp.models import Bert
from lcomp.tasks import TextClassification
from lcomp.techniques import additions
from lcomp.techniques.pruning import FilterPruning, LowRank, Pruning
from lcomp.techniques.pruning.factors import Factors
from lcomp.techniques.quantization import MixedPrecision, StaticQuantization
from lcomp.techniques.technique import layers

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
TASK = TextClassification(2, len(sentences.WORDS), max_length=12)
IDS = torch.randint(5, len(sentences.WORDS), (4, 9), generator=torch.Generator().manual_seed(0))
MASK = (torch.arange(9) < torch.tensor([[9], [4], [1], [7]])).long()


def outputs_in_runtime(path, ids, mask):
    session = onnxruntime.InferenceSession(path)
    return session.run(None, {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})[0]


def test_a_package_that_carries_an_encoder_is_found_by_its_name(tmp_path, monkeypatch):
    (tmp_path / "carrier" / "inner").mkdir(parents=True)
    (tmp_path / "carrier" / "__init__.py").write_text("raise SystemError('not to be imported')")
    (tmp_path / "carrier" / "inner" / "config.json").write_text("{}")
    monkeypatch.syspath_prepend(tmp_path)
    assert pretrained_folder("carrier", "model.weights") == tmp_path / "carrier" / "inner"


@torch.no_grad()
@pytest.mark.parametrize("name", ["bert_tiny", pytest.param("bert_mini", marks=pytest.mark.slow)])
def test_a_network_of_the_configuration_gives_its_artifacts_logits(name, tmp_path):
    torch.manual_seed(0)
    network = build(compose([f"model={name}"]).model, "model", **TASK.arguments).eval()
    export(network, tmp_path / "a.onnx", TASK)
    assert np.allclose(outputs_in_runtime(tmp_path / "a.onnx", IDS, MASK), network(IDS, MASK), atol=1e-5)
    whole = build(compose([f"model={name}"]).model, "model", num_classes=2, vocab_size=30_522, max_length=128)
    assert sum(p.numel() for p in whole.parameters()) == {"bert_tiny": 4_336_770, "bert_mini": 11_072_258}[name]


def small(seed=0):
    torch.manual_seed(seed)
    network = Bert(2, 16, 2, 32, **TASK.arguments)
    for parameter in network.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=0.3)
    return network.eval()


def constants(path):
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}


@pytest.mark.slow
@torch.no_grad()
def test_zeros_of_embeddings_are_pruned_and_counted(tmp_path):
    network, technique = small(), Pruning(0.5, end=0.5, scope="layer")
    technique.check(network, {"input_ids": IDS, "attention_mask": MASK})
    technique.prepare(network)
    technique.prune(0.5)
    network = technique.finalize(network)
    export(network, tmp_path / "a.onnx", TASK)
    assert int((network.embeddings.words.weight == 0).sum()) == 23 * 16 // 2
    assert of_graph(tmp_path / "a.onnx").sparsity == pytest.approx(0.5, abs=0.01)
    rounding = StaticQuantization(8, calibration_images=4)
    rounding.prepare(network)
    network = rounding.finalize(network, [{"input_ids": IDS, "attention_mask": MASK}]).eval()
    export(network, tmp_path / "b.onnx", TASK)  # where rows have scales
    weights = [one.coded.integers for one in network.modules() if hasattr(one, "coded")]
    zeros, count = (sum(int(of(one)) for one in weights) for of in (lambda w: (w == 0).sum(), torch.numel))
    assert of_graph(tmp_path / "b.onnx").sparsity == zeros / count


@torch.no_grad()
def test_low_ranks_leave_what_looks_rows_up(caplog, tmp_path):
    network, technique, example = small(), LowRank(energy=0.6), {"input_ids": IDS, "attention_mask": MASK}
    technique.check(network, example)
    technique.prepare(network)
    network = technique.finalize(network).eval()
    factored = {name for name, module in network.named_modules() if isinstance(module, Factors)}
    linear = {name for name, layer in layers(small()) if isinstance(layer, nn.Linear)}
    assert factored and factored <= linear
    assert "prune leaves embeddings.words as it is: it looks rows up" in caplog.messages
    export(network, tmp_path / "a.onnx", TASK)
    assert np.allclose(outputs_in_runtime(tmp_path / "a.onnx", IDS, MASK), network(IDS, MASK), atol=1e-5)


def test_looking_up_costs_no_operations_and_a_linear_layer_those_of_every_token():
    network, technique = small(), MixedPrecision(None, [2, 8], activation_bits=4, cost="bit_operations")
    technique.check(network, {"input_ids": IDS, "attention_mask": MASK})
    for name, layer in layers(network):
        tokens = 0 if isinstance(layer, nn.Embedding) else IDS.shape[1]
        if "layers." in name or not tokens:
            assert technique.per_bit(name, layer) == layer.weight.numel() * tokens * 4


def test_an_embedding_that_changes_its_rows_is_left_as_it_is(caplog):
    network = nn.Sequential(nn.Embedding(9, 4, max_norm=0.1), nn.Flatten(), nn.Linear(8, 2))
    StaticQuantization(8).prepare(network)
    assert "quant leaves 0 as it is: it does not compute as an Embedding does" in caplog.messages


@torch.no_grad()
def test_an_embedding_and_the_layer_that_shares_its_weight_are_rounded_alike():
    network = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 9, bias=False))
    network[1].weight = network[0].weight
    technique, ids = StaticQuantization(8, activation_bits=None), torch.arange(9)[None]
    technique.check(network, ids)
    technique.prepare(network)
    rounded = technique.finalize(network, [ids])
    assert rounded[0].coded is rounded[1].coded
    assert torch.allclose(rounded(ids), rounded[0].weight[ids] @ rounded[0].weight.T)


@torch.no_grad()
def test_heads_and_neurons_go_from_the_network_and_its_file(tmp_path):
    network, example = small(), {"input_ids": IDS, "attention_mask": MASK}
    technique = FilterPruning(0.5, end=0.5, scope="layer")
    technique.check(network, example)
    technique.prepare(network)
    technique.find_groups(network, example)
    assert sorted((group.size, *group.layers) for group in technique.groups)[:2] == [
        (2, *(f"layers.{number}.attention.{name}" for name in ("value", "key", "query"))) for number in range(2)
    ]
    technique.prune(0.5)
    zeroed = network(IDS, MASK)
    cut = technique.finalize(network).eval()
    for layer in cut.layers:
        assert [len(one.weight) for one in (layer.attention.query, layer.attention.key, layer.attention.value)] == [
            8
        ] * 3
        assert layer.attention.output.weight.shape == (16, 8)
        assert layer.expand.weight.shape == (16, 16) and layer.reduce.weight.shape == (16, 16)
    assert torch.allclose(cut(IDS, MASK), zeroed, atol=1e-5)
    export(cut, tmp_path / "a.onnx", TASK)
    assert np.allclose(outputs_in_runtime(tmp_path / "a.onnx", IDS, MASK), zeroed, atol=1e-5)
    export(small(), tmp_path / "whole.onnx", TASK)
    inner, whole = (of_graph(tmp_path / f"{name}.onnx").macs for name in ("a", "whole"))
    pooler = 16 * 16 + 2 * 16  # half of its neurons goes too
    assert (inner - pooler / 2) * 2 == whole - pooler


@torch.no_grad()
def test_products_of_sequences_are_of_integers_and_sums_that_a_norm_reads_of_floats(tmp_path):
    network, technique = small(), StaticQuantization(8, calibration_images=4)
    assert additions.plan(network, {name for name, _ in layers(network)}) == additions.Plan([], {}, {})
    technique.prepare(network)
    export(technique.finalize(network, [(IDS, MASK)]).eval(), tmp_path / "a.onnx", TASK)
    nodes = onnx.load(tmp_path / "a.onnx").graph.node
    decoded = {node.output[0] for node in nodes if node.op_type == "DequantizeLinear"}
    assert not [node for node in nodes if node.op_type == "Transpose" and node.input[0] in decoded]
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "run.onnx")
    onnxruntime.InferenceSession(tmp_path / "a.onnx", options, providers=["CPUExecutionProvider"])
    kinds = [node.op_type for node in onnx.load(tmp_path / "run.onnx").graph.node]
    assert kinds.count("MatMulIntegerToFloat") == 12  # four of attention and two behind it, in each of two layers
