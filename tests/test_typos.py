"""Slips of the hand: each kind is what it says, as often as its severity; artifacts are measured on them."""

from types import SimpleNamespace

import numpy as np
import pytest
import sentences
import torch

from lcomp.config.composition import compose
from lcomp.config.run_spec import parse
from lcomp.data.typos import NEIGHBOURS, TYPOS, case, drop, keyboard, swap, with_typos
from lcomp.errors import UserError
from lcomp.evaluation import corruptions, measurement
from lcomp.evaluation.typos import Typos
from lcomp.export import export
from lcomp.models import Bert
from lcomp.runtimes import ONNXRuntime
from lcomp.tasks import ImageClassification

TEXT = "A deeply moving film , and n't it 4get ! " * 40
WORDS = [word for word in TEXT.split() if sum(letter.isalpha() for letter in word) > 1]


def test_each_slip_is_what_its_name_says():
    assert swap("film", 0, 0) == "iflm" and swap("film", 0.99, 0) == "fiml" and swap("it", 0.5, 0) == "ti"
    assert drop("film", 0, 0) == "ilm" and drop("film", 0.99, 0) == "fil"
    assert case("Film", 0, 0) == "fILM"
    assert NEIGHBOURS["g"] == "tyfhvb" and NEIGHBOURS["q"] == "wa" and NEIGHBOURS["p"] == "ol"
    assert keyboard("go", 0, 0) == "to" and keyboard("Go", 0, 0.99) == "Bo" and keyboard("éa", 0, 0) == "éa"
    assert {keyboard("go", 0.5, choice / 10) for choice in range(10)} == {"gi", "gp", "gk", "gl"}
    assert all(key in NEIGHBOURS[other] for key, around in NEIGHBOURS.items() for other in around)


@pytest.mark.parametrize("kind", TYPOS)
def test_so_many_of_ten_words_have_one_slip_and_more_keep_those_of_fewer(kind):
    before = set()
    for severity in range(1, 6):
        changed = with_typos(TEXT, kind, severity, 7).split(" ")
        assert len(changed) == len(TEXT.split(" "))
        hit = {place for place, pair in enumerate(zip(changed, TEXT.split(" "), strict=True)) if len(set(pair)) > 1}
        kept = {TEXT.split(" ")[place] for place in hit}
        assert kept <= set(WORDS) and {"A", ",", "!"}.isdisjoint(kept)
        assert abs(len(hit) / len(WORDS) - severity / 10) < 0.1 and before <= hit
        before = hit
    assert with_typos(TEXT, kind, 3, 7) == with_typos(TEXT, kind, 3, 7) != with_typos(TEXT, kind, 3, 8)


def test_other_kinds_and_severities_are_refused():
    for kind, severity in (("fog", 1), ("swap", 0), ("swap", 6)):
        with pytest.raises(UserError, match="robustness=typos"):
            with_typos(TEXT, kind, severity, 0)
    with pytest.raises(UserError, match=r"robustness.severities=\[6\]"):
        Typos([6])
    settings = parse(compose(["robustness=typos"])).robustness
    images = SimpleNamespace(task=ImageClassification(), mnist_c_root=None)
    with pytest.raises(
        UserError, match=r"robustness=typos: changes the letters of sentences; SimpleNamespace has none"
    ):
        corruptions.make_robustness(settings, images)
    with pytest.raises(UserError, match=r"robustness=mnist_c: corrupts images of classes; Sentences has others"):
        made = parse(compose(["robustness=mnist_c"])).robustness
        corruptions.make_robustness(made, SimpleNamespace(task=type("Sentences", (), {})(), mnist_c_root=None))


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Data, a network that counts words of praise, and its artifact."""
    folder = tmp_path_factory.mktemp("typos")
    data = sentences.data(folder)
    torch.manual_seed(0)
    network = Bert(1, 16, 2, 32, pool="mean", **data.task.arguments).eval()
    export(network, folder / "a.onnx", data.task)
    return data, network, ONNXRuntime().session(folder / "a.onnx")


def test_an_artifact_is_measured_on_each_kind_and_severity(measured):
    data, network, session = measured
    made = corruptions.make_robustness(
        parse(compose(["robustness=typos", "robustness.severities=[1,5]"])).robustness, data
    )
    splits = measurement.splits_of(data)
    figures = made.accuracies(session, splits, data)
    kinds = {f"{split}accuracy/typos/{kind}" for split in ("", "val_") for kind in TYPOS}
    assert figures.keys() == kinds | {f"accuracy/typos/{kind}:{severity}" for kind in TYPOS for severity in (1, 5)}
    texts, labels = sentences.drawn(200, 2)
    tokens = [data.tokenizer.encode(with_typos(text, "drop", 5, row)).ids for row, text in enumerate(texts)]
    with torch.no_grad():
        told = [int(network(torch.tensor([one]), torch.ones(1, len(one))).argmax()) for one in tokens]
    assert figures["accuracy/typos/drop:5"] == pytest.approx(np.mean(np.array(told) == labels))
    clean = data.task.figures(measurement.artifact_outputs(session, splits.test.inputs), splits.test.labels, "test")
    assert figures["accuracy/typos/case:5"] == clean["test_accuracy"]  # the vocabulary knows no capitals
    one = made.measured(figures | clean, session, network, splits.test)
    compared = made.compared_to_baseline(one, one, splits.test)
    assert (
        compared["mce"] == pytest.approx(1.0) and compared["differing"] == 0 and compared["val_mce"] == pytest.approx(1)
    )
    assert "attribution_correlation" not in compared and {"ece", "class_drop/0", "class_drop/1"} <= compared.keys()
