"""Encoders of transformers: ours give the logits of its own, and any of them is exported. Its own extra installs it."""

import numpy as np
import pytest
import sentences
import torch
from test_encoders import IDS, MASK, SIZES, TASK, outputs_in_runtime

pytest.importorskip("transformers", reason="transformers is not installed: pip install 'lcomp[transformers]'")
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from lcomp.errors import UserError
from lcomp.export import export
from lcomp.models import Bert, TransformersNetwork
from lcomp.techniques.distillation import AttentionMaps
from lcomp.techniques.distillation.encoders import encoder_layers
from lcomp.techniques.distillation.weighted import Setting
from lcomp.techniques.pruning import channels


def of_transformers(folder, kind=BertForSequenceClassification, config=BertConfig, **settings):
    """One with drawn weights, and its folder."""
    torch.manual_seed(0)
    given = {"vocab_size": len(sentences.WORDS), "num_labels": 2, "initializer_range": 0.3, **SIZES, **settings}
    network = kind(config(**given)).eval()
    network.save_pretrained(folder)
    return network


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
def test_heads_of_transformers_go_too(tmp_path):
    of_transformers(tmp_path)
    network = TransformersNetwork(str(tmp_path)).eval()
    groups, _ = channels.find_groups(network, (IDS, MASK))
    assert [group.size for group in groups if any("attention" in name for name in group.layers)] == [2, 2]


def test_encoders_of_transformers_are_read_by_the_names_of_their_layers(tmp_path):
    config = DistilBertConfig(vocab_size=30, dim=16, n_layers=2, n_heads=2, hidden_dim=32, max_position_embeddings=16)
    theirs = DistilBertForSequenceClassification(config).eval()
    layers = encoder_layers(theirs, "x")
    assert [layer.name for layer in layers] == ["distilbert.transformer.layer.0", "distilbert.transformer.layer.1"]
    assert layers[1].projections[2] == "distilbert.transformer.layer.1.attention.v_lin"
    with pytest.raises(UserError, match=r"the teacher's layers of attention have no nn.Softmax"):
        AttentionMaps().prepare(Bert(2, 16, 2, 32, **TASK.arguments), theirs, Setting(example=(IDS[:2], MASK[:2])))
