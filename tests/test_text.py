"""Sentences: read, tokenized once, in batches of about one length; what a batch of them means; whole runs on them."""

import hashlib
import io
import json
import os
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pyarrow
import pytest
import sentences
import torch
from pyarrow import parquet
from sentences import GOOD, WORDS, drawn

from lcomp.config.composition import compose
from lcomp.data import SST2DataModule, TextFileDataModule, sst2, tokens
from lcomp.data.text import LengthBatches
from lcomp.errors import UserError
from lcomp.evaluation import measurement
from lcomp.evaluation.size import of_graph
from lcomp.export import export
from lcomp.models import Bert, LeNet5
from lcomp.record import predictions
from lcomp.report import exemplars
from lcomp.run import run
from lcomp.runtimes import ONNXRuntime
from lcomp.tasks import TextClassification
from lcomp.tasks.split import joined, part
from lcomp.training import preflight


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return sentences.data(tmp_path_factory.mktemp("text"))


def test_a_batch_is_as_long_as_its_longest_sentence_and_its_mask_ends_with_each(data):
    texts, labels = drawn(600)
    rows = torch.tensor([3, 0, 7])
    ids, mask, given = data.train[rows]
    assert ids.dtype == mask.dtype == torch.int64 and given.tolist() == labels[rows.numpy()].tolist()
    for row, (one, covered) in zip(rows.tolist(), zip(ids, mask, strict=True), strict=True):
        expected = [2, *(WORDS.index(word) for word in texts[row].split()), 3]  # within [CLS] and [SEP]
        assert one[: len(expected)].tolist() == expected and not one[len(expected) :].any()
        assert covered.tolist() == [1] * len(expected) + [0] * (ids.shape[1] - len(expected))
    assert ids.shape[1] == max(len(texts[row].split()) for row in rows.tolist()) + 2


def test_unknown_words_are_cut_into_pieces_and_long_sentences_end(tmp_path):
    tokenizer = tokens.load_tokenizer(str(sentences.vocabulary(tmp_path)), 8)
    found = tokens.tokenized({"a": ["Films FILMED zebra", "film " * 50]}, tokenizer, tmp_path)["a"]
    words = [WORDS[number] for number in found.ids]
    assert words[: found.lengths[0]] == ["[CLS]", "film", "##s", "[UNK]", "[UNK]", "[SEP]"]
    assert found.lengths.tolist()[1] == 8 and words[-1] == "[SEP]"


def test_an_epoch_has_each_sentence_once_in_batches_of_like_length_and_an_order_of_its_own():
    lengths = torch.from_numpy(np.random.default_rng(0).integers(3, 60, 2_000))
    batches = LengthBatches(lengths, 16, seed=1, count=2_000)
    first, again = list(batches), list(batches)
    assert all(map(torch.equal, first, again)) and len(first) == len(batches) == 125
    assert sorted(torch.cat(first).tolist()) == list(range(2_000))
    padded = sum(int(lengths[batch].max()) * len(batch) for batch in first)
    assert padded < 1.1 * int(lengths.sum())  # in order of the permutation it is 1.8 times as many
    means = np.array([float(lengths[batch].float().mean()) for batch in first])
    assert abs(np.corrcoef(means[:-1], means[1:])[0, 1]) < 0.3  # no curriculum: short and long ones come mixed
    batches.set_epoch(1)
    assert not all(map(torch.equal, first, list(batches)))
    many = LengthBatches(lengths[:10], 4, seed=1, count=25)
    assert torch.cat(list(many)).bincount().tolist().count(3) == 5 and len(list(many)) == len(many) == 7


def test_sentences_are_tokenized_once(tmp_path, monkeypatch):
    first = sentences.data(tmp_path)
    monkeypatch.setattr(tokens, "tokens_of", None)  # as if it were not there
    again = sentences.data(tmp_path)
    assert torch.equal(first.train.ids, again.train.ids) and first.sha256 == again.sha256
    with pytest.raises(TypeError):
        sentences.data(tmp_path, max_length=9)  # kept apart
    for kept in (tmp_path / "cache").iterdir():
        kept.write_bytes(kept.read_bytes()[:-100])
    with pytest.raises(TypeError):  # a damaged file is made anew
        sentences.data(tmp_path)


def test_splits_of_batches_of_several_lengths_are_whole_and_parts_of_them_short(data):
    split = measurement.split_of(data.test_dataloader(), data.task)
    ids, mask = split.inputs["input_ids"], split.inputs["attention_mask"]
    assert len(split) == 200 and ids.shape == mask.shape == (200, int(data.test.lengths.max()))
    assert mask.sum(1).tolist() == sorted(data.test.lengths.tolist())
    assert part(split.inputs, slice(3))["input_ids"].shape == (3, mask[2].sum())
    assert joined([np.ones((2, 3)), np.ones((1, 5))]).tolist() == [[1, 1, 1, 0, 0]] * 2 + [[1] * 5]
    other = {"pixels": np.ones((4, 1, 2, 2))}
    assert part(other, slice(1, 3))["pixels"].shape == (2, 1, 2, 2)


def test_latency_is_measured_at_stated_lengths(data):
    task = TextClassification(2, 30, max_length=128)
    split = measurement.split_of(data.test_dataloader(), data.task)
    timed = task.timed_inputs(split.inputs)
    assert {name: one["input_ids"].shape for name, one in timed.items()} == {
        "": (1, 64),
        "length_16": (1, 16),
        "length_128": (1, 128),
    }
    assert all(one["attention_mask"].all() for one in timed.values())
    assert data.task.timed_inputs(split.inputs)[""]["input_ids"].shape == (1, 16)  # sentences have 16 at most


def test_a_teacher_is_asked_once_for_each_sentence(data):
    def teacher(ids, mask):
        return torch.stack([ids.sum(1), mask.sum(1)], 1).float()

    assert data.carry_outputs(teacher)
    ids, mask, _labels, carried = next(iter(data.train_dataloader()))
    assert torch.equal(carried, teacher(ids, mask))
    data.train.extra = ()


def test_batches_carry_the_numbers_of_their_sentences(data):
    labels = data.carry_indices()
    for ids, mask, own, numbers in data.train_dataloader():
        assert torch.equal(labels[numbers], own) and torch.equal(data.train.lengths[numbers], mask.sum(1))
        assert torch.equal(data.train[numbers][0], ids)
    data.train.extra = ()


def test_the_artifact_takes_named_ids_of_any_number_and_length(data, tmp_path):
    torch.manual_seed(0)
    network = Bert(2, 16, 2, 32, **data.task.arguments).eval()
    export(network, tmp_path / "a.onnx", data.task)
    graph = onnx.load(tmp_path / "a.onnx").graph
    given = {value.name: [size.dim_param for size in value.type.tensor_type.shape.dim] for value in graph.input}
    assert given == {"input_ids": ["batch", "length"], "attention_mask": ["batch", "length"]}
    assert {value.type.tensor_type.elem_type for value in graph.input} == {onnx.TensorProto.INT64}
    split = measurement.split_of(data.test_dataloader(), data.task)
    session = ONNXRuntime().session(tmp_path / "a.onnx")
    expected = measurement.predict_outputs(network, split.inputs)
    assert np.abs(measurement.artifact_outputs(session, split.inputs) - expected).max() < 1e-5
    alone = np.concatenate([session(part(split.inputs, slice(row, row + 1))) for row in range(0, 200, 40)])
    assert np.abs(alone - expected[::40]).max() < 1e-5  # whatever stands beside a sentence, and behind it
    tokens_, width = 16, 16
    layer = tokens_ * width * (4 * width + 2 * 32) + 2 * tokens_ * tokens_ * width
    assert of_graph(tmp_path / "a.onnx").macs == 2 * layer + width * width + 2 * width


def test_more_heads_do_not_fit_and_images_are_no_sentences():
    with pytest.raises(UserError, match=r"model.width=16, model.heads=3"):
        Bert(2, 16, 3, vocab_size=9)
    with pytest.raises(UserError, match=r"it reads sentences; choose data of them, such as data=sst2"):
        Bert()
    with pytest.raises(UserError, match=r"takes \(x\); TextClassification gives \(input_ids, attention_mask\)"):
        preflight.check_arguments(LeNet5(), "model", TextClassification())


def test_the_data_choose_the_task_unless_another_is_named():
    assert compose(["data=sst2"]).task._target_ == "lcomp.tasks.TextClassification"
    assert compose(["data=sst2", "task=image_classification"]).task._target_ == "lcomp.tasks.ImageClassification"
    assert compose(["data=sst2", "kd=logit"]).kd.student == "same"
    assert compose(["kd=logit"]).kd.student == "small_cnn"


ROWS = [("a, b film", "bad"), ('it is "good"', "good"), ("no", "bad")]


def written(path, kind):
    if kind == "csv":
        quoted = [f'"{text.replace(chr(34), chr(34) * 2)}",{label}' for text, label in ROWS]
        path.write_text("\n".join(["words,class", *quoted]))
    elif kind == "tsv":
        path.write_text("\n".join(["class\twords", *(f"{label}\t{text}" for text, label in ROWS)]))
    elif kind == "parquet":
        columns = dict(zip(("words", "class"), map(list, zip(*ROWS, strict=True)), strict=True))
        parquet.write_table(pyarrow.table(columns), path)
    else:
        path.write_text("\n".join(json.dumps({"words": text, "class": label}) for text, label in ROWS))
    return path


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_files_of_a_users_own_are_read_by_the_names_of_their_columns(kind, tmp_path, monkeypatch):
    path, seen = written(tmp_path / f"a.{kind}", kind), {}
    monkeypatch.setattr("lcomp.data.text.tokenized", lambda given, *rest: seen.update(given) or stub(given))
    settings = {"tokenizer": str(sentences.vocabulary(tmp_path)), "text": "words", "label": "class"}
    made = TextFileDataModule(path, path, path, **settings)
    assert list(seen["train"]) == [text for text, _ in ROWS] and made.classes == ["bad", "good"]
    assert made.test.labels.tolist() == [0, 1, 0]


def stub(given):
    return {split: tokens.Tokens(np.zeros(3 * len(t), np.int32), np.full(len(t), 3)) for split, t in given.items()}


def test_what_has_no_file_is_drawn_from_the_training_file(tmp_path):
    sentences.files(tmp_path)
    settings = {"tokenizer": str(sentences.vocabulary(tmp_path)), "cache": tmp_path / "cache"}
    made = TextFileDataModule(tmp_path / "train.jsonl", held_out=0.2, **settings)
    assert [len(one) for one in (made.train, made.validation, made.test)] == [384, 120, 96]
    other = TextFileDataModule(tmp_path / "train.jsonl", held_out=0.2, seed=1, **settings)
    assert not torch.equal(made.test.lengths, other.test.lengths) and made.sha256 != other.sha256


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ('{"text": "a"}', r"sentence 1 has no 'label'; it has text; data.label names the column"),
        ('{"texts": "a", "label": 1}', r"has no 'text'; it has texts, label; did you mean texts"),
        ('{"text": "a", "label": 1.5}', r"label is 1.5; a label is a whole number or a text"),
        ('{"text": "a", "label": 1}', r"label has one value alone, \[1\]"),
        ("[1, 2]", "each line must be an object"),
        ("{", "cannot be read"),
        ("", "has no sentence"),
    ],
)
def test_what_cannot_be_read_of_a_file_is_named(lines, words, tmp_path):
    (tmp_path / "a.jsonl").write_text(lines)
    with pytest.raises(UserError, match=words):
        TextFileDataModule(tmp_path / "a.jsonl", tokenizer=str(sentences.vocabulary(tmp_path)))
    with pytest.raises(UserError, match=r"ends with '.xml'; sentences are read from .csv"):
        TextFileDataModule(tmp_path / "a.xml")


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A folder with an SST-2 of generated sentences, taken for the published one."""
    folder = tmp_path / "published"
    (folder / "SST-2").mkdir(parents=True)
    for split, (heading, form) in {
        "train": ("sentence\tlabel", "{0} \t{1}"),
        "dev": ("label\tcontent", "{1}\t{0}"),
        "test": ("label\tcontent", "{1}\t{0}"),
    }.items():
        texts, labels = drawn(4_000 if split == "train" else 40, len(split))
        rows = [form.format(text, label) for text, label in zip(texts, labels, strict=True)]
        (folder / "SST-2" / f"{split}.tsv").write_text("\r\n".join([heading, *rows]) + "\r\n")
        content = "\n".join(f"{label}\t{text}" for text, label in zip(texts, labels, strict=True))
        digest = hashlib.sha256(content.encode()).hexdigest()
        monkeypatch.setitem(sst2.CONTENT, split, (len(texts), "another form of it", digest))
    return folder


def test_sst2_is_the_published_one_or_refused(published, tmp_path):
    settings = {"tokenizer": str(sentences.vocabulary(tmp_path)), "cache": tmp_path / "cache"}
    data = SST2DataModule(published, **settings)
    assert [len(one) for one in (data.train, data.validation, data.test)] == [1_000, 3_000, 40]
    assert {name: len(loader.dataset) for name, loader in data.further_dataloaders().items()} == {"dev": 40}
    path = published / "SST-2" / "test.tsv"
    path.write_text(path.read_text().replace(GOOD[0], "fine", 1))
    with pytest.raises(UserError, match=r"test.tsv: 40 sentences with SHA-256 .*restore it"):
        SST2DataModule(published, **settings)
    path.unlink()
    with pytest.raises(UserError, match=r"test.tsv cannot be read .*a heading, then a label"):
        SST2DataModule(published, **settings)


def test_without_sst2_and_download_it_is_said_what_to_do(tmp_path, monkeypatch):
    def unreachable(*_):
        raise RuntimeError("no network")

    monkeypatch.setattr("torchvision.datasets.utils.download_url", unreachable)
    for allowed, why in ((True, "no network"), (False, "data.download=false")):
        with pytest.raises(UserError, match=rf"data=sst2: .*has no SST-2.*{why}.*LCOMP_DATA.*GLUE's, test has"):
            SST2DataModule(tmp_path, download=allowed)
    assert {path.name for path in tmp_path.iterdir()} <= {".download.lock"}


def test_a_download_of_sst2_lands_whole_where_the_next_run_looks(published, tmp_path, monkeypatch):
    def download(url, folder, filename, md5):
        if url == sst2.GLUE[0]:
            with zipfile.ZipFile(Path(folder) / filename, "w") as archive:
                for name in ("train", "dev"):
                    archive.write(published / "SST-2" / f"{name}.tsv", f"SST-2/{name}.tsv")
                archive.writestr("SST-2/test.tsv", "index\tsentence\n0\twithout labels\n")
        else:
            rows = (line.split("\t") for line in (published / "SST-2" / "test.tsv").read_text().splitlines()[1:])
            lines = [json.dumps({"text": text, "label": int(label)}) for label, text in rows]
            (Path(folder) / filename).write_text("\n".join(lines) + "\n")

    monkeypatch.setattr("torchvision.datasets.utils.download_url", download)
    settings = {"tokenizer": str(sentences.vocabulary(tmp_path)), "cache": tmp_path / "cache"}
    target = tmp_path / "elsewhere"
    data = SST2DataModule(target, **settings)
    assert data.sha256 == SST2DataModule(published, **settings).sha256
    assert {path.name for path in target.iterdir()} == {".download.lock", "SST-2"}
    assert SST2DataModule(target, download=False, **settings).sha256 == data.sha256


def test_what_is_downloaded_as_the_labelled_split_is_what_is_measured():
    """The published JSON lines, made of the sentences here, have the sum that a download is held to."""
    folder = Path(os.environ.get("LCOMP_DATA", "data")) / "SST-2"
    if not folder.is_dir():
        pytest.skip(f"SST-2 is not under {folder}; set LCOMP_DATA to test with it")
    texts, labels = sst2.read_part(folder, "test")
    said = ("negative", "positive")
    lines = [
        json.dumps({"text": text, "label": int(label), "label_text": said[label]})
        for text, label in zip(texts, labels, strict=True)
    ]
    assert hashlib.md5(("\n".join(lines) + "\n").encode()).hexdigest() == sst2.LABELLED[1]


def test_a_run_on_sentences_leaves_its_figures(tmp_path):
    small = ["model=bert_tiny", "model.width=32", "model.feed_forward=64", "task.further_lengths=[8]"]
    short = ["logger=none", "measure.latency_runs=2", f"baseline.cache={tmp_path / 'cache'}", "kd=logit"]
    rates = ["trainer.max_epochs=1", "baseline.trainer.max_epochs=2", "baseline.trainer.learning_rate=0.003"]
    chosen = ["prune=constant", "prune.sparsity=0.5", "quant=static", "progress=false"]
    overrides = [*sentences.files(tmp_path), *small, *short, *rates, *chosen]
    result = run(compose(overrides), tmp_path / "run", overrides)
    assert result.status == "ok", result.error
    assert result.metrics["test_accuracy"] > 0.9 < result.baseline["test_accuracy"]
    assert result.metrics["agreement"] == 1.0 and result.metrics["logit_difference"] < 1e-3
    assert 0.5 <= result.metrics["sparsity"] < 0.6 and result.metrics["file_bytes"] < result.baseline["file_bytes"]
    assert {"latency_us_p50", "latency_us_p50/length_8", "latency_ratio/length_8"} <= result.metrics.keys()
    kinds = [node.op_type for node in onnx.load(tmp_path / "run" / "artifact.onnx").graph.node]
    assert kinds.count("QuantizeLinear") >= 7


def test_mistakes_are_kept_as_texts_and_shown_where_compression_makes_them(data, tmp_path):
    split = measurement.split_of(data.test_dataloader(), data.task)
    right, turned = (np.eye(2, dtype=np.float32)[split.labels ^ one] for one in (0, np.arange(200) % 3 == 0))
    base = data.task.predictions(right, split, None)
    assert not len(base.mistakes) and "texts" not in np.load(io.BytesIO(base.packed())).files
    found = data.task.predictions(turned, split, base)
    assert found.mistakes.tolist() == [*range(0, 200, 3)]
    texts, order = drawn(200, 2)[0], data.test.lengths.argsort(stable=True)
    assert list(found.shown) == [texts[order[index]].replace(" ##s", "s") for index in found.mistakes]
    (tmp_path / predictions.FILE).write_bytes(found.packed())
    kept = predictions.read_predictions(tmp_path)
    assert kept.shown == found.shown and kept.is_consistent
    group = SimpleNamespace(pairs=lambda: [(kept, base)])
    counts, lost = exemplars.find_exemplars([group])
    assert counts == [67] and [one.shown for one in lost] == list(found.shown)
    assert exemplars.exemplar_entry(lost[0], "text", 0)["text"] == found.shown[0]
    long = predictions.predictions_of_texts(turned[:1], split.labels[:1], lambda _: "é" * 300)
    assert long.shown == ["é" * (predictions.LONGEST // 2)]
