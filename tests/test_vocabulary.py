"""Rows of an embedding that no training sentence looks up are gone; whatever is not known is read as their mean."""

import numpy as np
import onnx
import pytest
import sentences
import torch
from quickly import first_quickly
from torch import nn

import lcomp
from lcomp.config.composition import compose
from lcomp.errors import UserError
from lcomp.export import export
from lcomp.models import Bert, LeNet5
from lcomp.packed import pack
from lcomp.run import run
from lcomp.runtimes import ONNXRuntime
from lcomp.techniques.pruning import VocabularyPruning
from lcomp.techniques.pruning.vocabulary import Renumbered, has_own, rows_of
from lcomp.techniques.quantization import StaticQuantization, WeightSharing

UNUSED = [sentences.WORDS.index(word) for word in ("[UNK]", "[MASK]", "##s", "un")]  # in no drawn sentence


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return sentences.data(tmp_path_factory.mktemp("vocabulary"))


def network(data, pool="first"):
    torch.manual_seed(0)
    return Bert(2, 16, 2, 32, pool=pool, **data.task.arguments).eval()


def given(data):
    return [data.task.inputs(batch) for batch in data.train_dataloader()]


@torch.no_grad()
def test_only_rows_that_are_looked_up_are_left_and_the_others_mean(data):
    whole, made = network(data), network(data)
    ids, mask, _ = next(iter(data.test_dataloader()))
    made = VocabularyPruning().finalize(made, given(data))
    table = made.embeddings.words
    used = [number for number in range(len(sentences.WORDS)) if number not in UNUSED]
    assert isinstance(table, Renumbered) and table.table.weight.shape == (len(used) + 1, 16)
    assert torch.equal(made(ids, mask), whole(ids, mask))
    before = whole.embeddings.words.weight
    assert torch.equal(table(torch.tensor(used)), before[used])
    assert torch.allclose(table(torch.tensor(UNUSED)), before[UNUSED].mean(0).expand(4, 16), atol=1e-7)
    assert isinstance(made.embeddings.positions, nn.Embedding)  # read by what is no input


@pytest.mark.parametrize(
    "quantization",
    first_quickly([lambda: StaticQuantization(bits=4), None, StaticQuantization, lambda: WeightSharing(bits=3)]),
    ids=["4 bits", "float", "8 bits", "shared"],
)
@torch.no_grad()
def test_artifact_and_packed_file_take_the_tokens_that_there_were(data, quantization, tmp_path):
    made, techniques = network(data, "mean"), [VocabularyPruning(), *([quantization()] if quantization else [])]
    for technique in techniques:
        technique.check(made, given(data)[0])
        technique.prepare(made)
    for technique in techniques:
        made = technique.finalize(made, given(data))
    export(made.eval(), tmp_path / "a.onnx", data.task)
    ids = torch.arange(len(sentences.WORDS))[None]  # unknown ones too; more than training ever saw
    mask = torch.ones_like(ids)
    ids, mask = ids[:, :16], mask[:, :16]
    session = ONNXRuntime().session(tmp_path / "a.onnx")
    expected = made(ids, mask)
    own = session({"input_ids": ids.numpy(), "attention_mask": mask.numpy()})
    assert np.abs(own - expected.numpy()).max() < 1e-5
    sizes = [tensor.dims for tensor in onnx.load(tmp_path / "a.onnx").graph.initializer]
    assert [20, 16] in sizes and [23, 16] not in sizes
    pack(tmp_path / "a.onnx", tmp_path / "a.lcomp")
    assert torch.allclose(lcomp.load(tmp_path / "a.lcomp")(ids, mask), expected, atol=1e-5)


def test_rows_are_told_by_which_tokens_have_their_own():
    own = torch.tensor([True, False, True, False, False, True])
    assert rows_of(own).tolist() == [0, 1, 2, 1, 1, 3]
    assert has_own(rows_of(own)).tolist() == own.tolist()
    assert rows_of(torch.ones(3, dtype=torch.bool)).tolist() == [0, 1, 2]
    many = Renumbered(nn.Embedding(1, 1), torch.tensor([2**15]))
    assert many.rows.dtype == torch.int32 and Renumbered(many.table, many.rows - 1).rows.dtype == torch.int16


def test_networks_that_look_up_nothing_are_refused(data):
    with pytest.raises(UserError, match=r"prune=vocabulary: LeNet5 has no embedding that reads the numbers"):
        VocabularyPruning().check(LeNet5(), torch.zeros(1, 1, 28, 28))
    tied = network(data)
    tied.other = nn.Linear(16, len(sentences.WORDS))
    tied.other.weight = tied.embeddings.words.weight
    with pytest.raises(UserError, match="with a weight of its own"):
        VocabularyPruning().check(tied, given(data)[0])


@pytest.mark.slow
def test_a_run_removes_layers_or_words_and_measures_what_is_left(tmp_path):
    small = ["model=bert_tiny", "model.width=32", "model.feed_forward=64", "task.further_lengths=[]", "progress=false"]
    short = ["logger=none", "measure.latency_runs=2", f"baseline.cache={tmp_path / 'cache'}"]
    rates = ["trainer.max_epochs=1", "baseline.trainer.max_epochs=2", "baseline.trainer.learning_rate=0.003"]
    common = [*sentences.files(tmp_path), *small, *short, *rates]
    words = [*common, "prune=vocabulary", "quant=static"]
    result = run(compose(words), tmp_path / "words", words)
    assert result.status == "ok", result.error
    assert result.metrics["test_accuracy"] > 0.9 and result.metrics["agreement"] == 1.0
    assert result.metrics["parameters"] == result.baseline["parameters"] - 3 * 32  # four rows less, one more
    assert result.steps == 0 and result.metrics["packed_bytes"] < result.baseline["packed_bytes"] / 2
    layers = [*common, "prune=layers", "prune.layers=[layers.0]", "kd=minilm"]
    result = run(compose(layers), tmp_path / "layers", layers)
    assert result.status == "ok", result.error
    assert result.metrics["test_accuracy"] > 0.9 and result.metrics["agreement"] == 1.0
    layer = 4 * 32 * 33 + 2 * 32 * 64 + 32 + 64 + 4 * 32
    assert result.metrics["parameters"] == result.baseline["parameters"] - layer
    assert "objective/attention_relations" in result.epochs
