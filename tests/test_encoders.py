"""Encoders of sentences: their weights are transformers', their files give their logits."""

import numpy as np
import onnxruntime
import pytest
import sentences
import torch
from transformers import BertConfig, BertForSequenceClassification, RobertaConfig, RobertaForSequenceClassification

from lcomp.config.composition import compose
from lcomp.config.instantiation import build
from lcomp.config.pretrained import pretrained_folder
from lcomp.errors import UserError
from lcomp.export import export
from lcomp.models import Bert, TransformersNetwork
from lcomp.tasks import TextClassification

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
TASK = TextClassification(2, len(sentences.WORDS), max_length=12)
IDS = torch.randint(5, len(sentences.WORDS), (4, 9), generator=torch.Generator().manual_seed(0))
MASK = (torch.arange(9) < torch.tensor([[9], [4], [1], [7]])).long()


def of_transformers(folder, kind=BertForSequenceClassification, config=BertConfig, **settings):
    """One with drawn weights, and its folder."""
    torch.manual_seed(0)
    given = {"vocab_size": len(sentences.WORDS), "num_labels": 2, "initializer_range": 0.3, **SIZES, **settings}
    network = kind(config(**given)).eval()
    network.save_pretrained(folder)
    return network


def outputs_in_runtime(path, ids, mask):
    session = onnxruntime.InferenceSession(path)
    return session.run(None, {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})[0]


@torch.no_grad()
def test_weights_of_transformers_give_its_logits_whatever_is_masked(tmp_path):
    theirs = of_transformers(tmp_path)
    ours = Bert(2, 16, 2, 32, weights=str(tmp_path), **TASK.arguments).eval()
    expected = theirs(input_ids=IDS, attention_mask=MASK).logits
    assert torch.allclose(ours(IDS, MASK), expected, atol=1e-5)
    assert torch.allclose(ours(IDS * MASK, MASK), expected, atol=1e-5) and expected.std() > 0.1
    assert ours.embeddings.positions.weight.shape == (12, 16)  # of 512
    fewer = Bert(1, 16, 2, 32, weights=str(tmp_path), **TASK.arguments)  # the first layers alone
    assert torch.equal(fewer.layers[0].expand.weight, theirs.bert.encoder.layer[0].intermediate.dense.weight)


@torch.no_grad()
def test_the_mean_of_the_tokens_that_are_there_may_be_read(tmp_path):
    of_transformers(tmp_path)
    network = Bert(2, 16, 2, 32, pool="mean", weights=str(tmp_path), **TASK.arguments).eval()
    whole = network(IDS, MASK)
    assert torch.allclose(whole[1:2], network(IDS[1:2, :4], MASK[1:2, :4]), atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"width": 32}, r"embeddings.words.weight is \(23, 16\), and \(23, 32\) here"),
        ({"layers": 3}, "has no layers.2.attention.query.weight; it is of another kind, or has fewer layers"),
        ({"weights": "no_such_thing"}, r"model.weights=no_such_thing: no folder with config.json.*pip install"),
    ],
)
def test_weights_that_do_not_fit_are_refused(settings, words, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    of_transformers(tmp_path)
    sizes = {"layers": 2, "width": 16, "heads": 2, "feed_forward": 32, "weights": str(tmp_path)}
    with pytest.raises(UserError, match=words):
        Bert(**sizes | settings, **TASK.arguments)


def test_a_package_that_carries_an_encoder_is_found_by_its_name(tmp_path, monkeypatch):
    (tmp_path / "carrier" / "inner").mkdir(parents=True)
    (tmp_path / "carrier" / "__init__.py").write_text("raise SystemError('not to be imported')")
    (tmp_path / "carrier" / "inner" / "config.json").write_text("{}")
    monkeypatch.syspath_prepend(tmp_path)
    assert pretrained_folder("carrier", "model.weights") == tmp_path / "carrier" / "inner"


@torch.no_grad()
@pytest.mark.parametrize(
    ("kind", "config"),
    [(BertForSequenceClassification, BertConfig), (RobertaForSequenceClassification, RobertaConfig)],
)
def test_any_encoder_of_transformers_is_exported_for_any_number_and_length(kind, config, tmp_path):
    theirs = of_transformers(tmp_path, kind, config, max_position_embeddings=20)
    ours = TransformersNetwork(str(tmp_path), **{k: v for k, v in TASK.arguments.items() if k != "max_length"}).eval()
    expected = theirs(input_ids=IDS, attention_mask=MASK).logits
    assert torch.allclose(ours(IDS, MASK), expected, atol=1e-6)
    export(ours, tmp_path / "a.onnx", TASK)
    for rows in (slice(None), slice(1, 2)):
        seen = outputs_in_runtime(tmp_path / "a.onnx", IDS[rows], MASK[rows])
        assert np.allclose(seen, expected[rows], atol=1e-5)
    with pytest.raises(UserError, match=r"knows 23 tokens, and data.tokenizer gives 24"):
        TransformersNetwork(str(tmp_path), vocab_size=24)


def test_a_folder_without_an_encoder_is_named(tmp_path):
    with pytest.raises(UserError, match=r"model.path: name the folder of an encoder"):
        TransformersNetwork()
    with pytest.raises(UserError, match=rf"model.path={tmp_path}: no encoder there"):
        TransformersNetwork(str(tmp_path))


@torch.no_grad()
@pytest.mark.parametrize("name", ["bert_tiny", pytest.param("bert_mini", marks=pytest.mark.slow)])
def test_a_network_of_the_configuration_gives_its_artifacts_logits(name, tmp_path):
    torch.manual_seed(0)
    network = build(compose([f"model={name}"]).model, "model", **TASK.arguments).eval()
    export(network, tmp_path / "a.onnx", TASK)
    assert np.allclose(outputs_in_runtime(tmp_path / "a.onnx", IDS, MASK), network(IDS, MASK), atol=1e-5)
    whole = build(compose([f"model={name}"]).model, "model", num_classes=2, vocab_size=30_522, max_length=128)
    assert sum(p.numel() for p in whole.parameters()) == {"bert_tiny": 4_336_770, "bert_mini": 11_072_258}[name]
