"""Runs with robustness=mnist_c: what stands in their records, what it is made of, what it depends on."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from torch import nn
from training import compose

from lcomp.config.run_spec import parse
from lcomp.data import corrupted_images
from lcomp.data.mnist_c import CORRUPTIONS, PUBLISHED
from lcomp.errors import UserError
from lcomp.evaluation import corruptions, measurement
from lcomp.evaluation.mnist_c import MNISTC
from lcomp.preparation import Parts, describe
from lcomp.record import predictions
from lcomp.record.result import Result
from lcomp.run import run
from lcomp.runtimes import ONNXRuntime
from lcomp.tasks import ImageClassification
from lcomp.tasks.split import Split, Splits
from lcomp.training import components

ASKED = ["robustness=mnist_c", "robustness.attributions=20"]
OVER = [f"accuracy/mnist_c/{name}" for name in CORRUPTIONS]
NEW = {
    *OVER,
    *(f"val_{name}" for name in OVER),
    *(f"class_drop/{digit}" for digit in range(10)),
    *("mce", "relative_mce", "val_mce", "ece", "differing", "pies", "attribution_correlation"),
}
EXACT = ("val_accuracy", "test_accuracy", "test_loss", "agreement", "parameters", "sparsity", "file_bytes", "macs")


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """Carries out a run in a folder of a sweep of its own, with a cache of baselines for all of them."""
    root = tmp_path_factory.mktemp("multirun")

    def carry_out(name, *overrides):
        cfg, choices = compose(f"baseline.cache={root / '.cache'}", *overrides)
        folder = root / name / "0"
        return run(cfg, folder, list(overrides), choices, timed=False, equals=root), folder

    return carry_out


@pytest.fixture(scope="module")
def first(sweep):
    result, folder = sweep("first", "quant=static", "quant.bits=3", *ASKED)
    assert result.status == "ok", result.error
    return result, folder


def test_every_figure_stands_in_the_record_and_in_the_baselines(first):
    result, _ = first
    assert not NEW - result.metrics.keys() and not NEW - result.baseline.keys()
    assert result.choices["robustness"] == "mnist_c"
    assert result.params["robustness.attributions"] == 20 and result.params["robustness.severities"] == []
    own = {"mce": 1, "relative_mce": 1, "val_mce": 1, "differing": 0, "pies": 0, "attribution_correlation": 1}
    assert {name: result.baseline[name] for name in own} == pytest.approx(own)
    assert all(result.baseline[f"class_drop/{digit}"] == 0 for digit in range(10))


def test_they_are_of_the_artifacts_own_answers(first):
    result, folder = first
    own, base = result.metrics, result.baseline
    errors = {split: [(1 - own[split + n], 1 - base[split + n]) for n in OVER] for split in ("", "val_")}
    assert own["mce"] == pytest.approx(np.mean([one / other for one, other in errors[""]]))
    assert own["val_mce"] == pytest.approx(np.mean([one / other for one, other in errors["val_"]]))
    clean, reference = 1 - own["test_accuracy"], 1 - base["test_accuracy"]
    rises = [(one - clean) / (other - reference) for one, other in errors[""] if other > reference]
    assert own["relative_mce"] == pytest.approx(np.mean(rises))
    theirs = (folder / result.baseline_artifact["path"]).parent
    kept = [predictions.read_predictions(place) for place in (folder, theirs)]
    (predicted, expected), labels = (one.predictions for one in kept), kept[0].labels
    assert own["differing"] == (predicted != expected).mean() > 0
    assert own["pies"] == ((expected == labels) & (predicted != labels)).mean() > 0
    fall = (expected[labels == 3] == 3).mean() - (predicted[labels == 3] == 3).mean()
    assert own["class_drop/3"] == pytest.approx(fall)
    assert 0 < own["attribution_correlation"] < 1 and 0 < own["ece"] < 1


def test_corruption_costs_accuracy_as_a_fresh_draw_of_it_does(first, digits):
    result, folder = first
    pixels = measurement.split_of(digits.test_dataloader(), digits.task).pixels
    changed = corrupted_images.corrupted(corrupted_images.hashed_images(pixels), "stripe", PUBLISHED["stripe"])
    logits = measurement.artifact_outputs(
        ONNXRuntime().session(folder / "artifact.onnx"), {"pixels": changed.astype(np.float32) / 255}
    )
    seen = (logits.argmax(1) == digits.test.labels.numpy()).mean()
    assert result.metrics["accuracy/mnist_c/stripe"] == seen < result.metrics["test_accuracy"]


@pytest.mark.slow
def test_a_sweep_measures_the_baseline_once_and_a_run_without_measures_none_of_it(first, sweep, monkeypatch):
    asked, accuracies = [], MNISTC.accuracies
    monkeypatch.setattr(MNISTC, "accuracies", lambda *a: asked.append(a) or accuracies(*a))
    result, _ = sweep("second", "quant=dynamic", *ASKED)
    assert result.status == "ok" and len(asked) == 1 and result.baseline == first[0].baseline
    plain, _ = sweep("plain", "quant=static", "quant.bits=3")
    assert plain.status == "ok" and len(asked) == 1 and plain.choices["robustness"] == "none"
    assert plain.metrics.keys() == first[0].metrics.keys() - NEW == plain.baseline.keys()
    assert not [name for name in plain.params if name.startswith("robustness")]
    assert {k: plain.metrics[k] for k in EXACT} == {k: first[0].metrics[k] for k in EXACT}
    # The same baseline's weights, another experiment: so its record was not taken for an equal one.
    assert plain.baseline_artifact["sha256"] == first[0].baseline_artifact["sha256"]
    assert plain.config_hash != first[0].config_hash and plain.reused is None


def test_an_equal_run_is_taken_with_its_figures_and_one_of_another_setting_is_not(first, sweep, monkeypatch):
    again, _ = sweep("again", "quant=static", "quant.bits=3", *ASKED)
    assert again.reused and again.metrics == first[0].metrics
    monkeypatch.delattr(components, "make_baseline")  # so that a run which takes nothing fails at once
    other, _ = sweep("other", "quant=static", "quant.bits=3", "robustness=mnist_c", "robustness.attributions=10")
    assert other.reused is None and "make_baseline" in other.error


@pytest.fixture
def few(monkeypatch):
    """Two quick corruptions of MNIST-C."""
    names = ("impulse_noise", "rotate")
    chosen = {name: CORRUPTIONS[name] for name in names}
    monkeypatch.setattr(MNISTC, "corruptions", replace(corrupted_images.MNIST_C, functions=chosen))
    return names


@pytest.fixture
def splits(digits):
    """10,000 test images, as many as the published files have, and a few for validation."""
    loaders = digits.test_dataloader(), digits.val_dataloader()
    test, validation = (measurement.split_of(loader, digits.task) for loader in loaders)
    many = Split({"pixels": np.tile(test.pixels, (10, 1, 1, 1))}, np.tile(test.labels, 10))
    return Splits(Split({"pixels": validation.pixels[:50]}, validation.labels[:50]), many)


@pytest.mark.slow
def test_files_with_the_same_images_give_the_same_figures(first, few, splits, tmp_path):
    session = ONNXRuntime().session(first[1] / "artifact.onnx")
    for name in few:
        images = corrupted_images.published(corrupted_images.hashed_images(splits.test.pixels), name)
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "test_images.npy", np.moveaxis(images, 1, 3))
        np.save(tmp_path / name / "test_labels.npy", splits.test.labels)
    from_files = MNISTC(files=tmp_path)
    figures = MNISTC().accuracies(session, splits)
    assert from_files.accuracies(session, splits) == figures

    spec = parse(compose("robustness=mnist_c")[0])
    asked = SimpleNamespace(task=ImageClassification(), mnist_c_root=tmp_path)
    made = corruptions.make_robustness(spec.robustness, asked)
    assert made.setting == from_files.setting != MNISTC().setting
    np.save(tmp_path / "rotate" / "test_images.npy", np.load(tmp_path / "impulse_noise" / "test_images.npy"))
    other = MNISTC(files=tmp_path)
    assert other.setting != from_files.setting
    found = other.accuracies(session, splits)["accuracy/mnist_c/rotate"]
    assert found == figures["accuracy/mnist_c/impulse_noise"] != figures["accuracy/mnist_c/rotate"]


def test_severities_are_measured_each_and_mce_is_over_them(first, few, digits):
    asked = MNISTC(severities=[1, 4], attributions=0)
    both = measurement.splits_of(digits)
    session = ONNXRuntime().session(first[1] / "artifact.onnx")
    figures = asked.accuracies(session, both)
    expected = {f"accuracy/mnist_c/{name}{mark}" for name in few for mark in ("", ":1", ":4")}
    assert figures.keys() == expected | {f"val_accuracy/mnist_c/{name}" for name in few}
    assert figures["accuracy/mnist_c/impulse_noise"] == figures["accuracy/mnist_c/impulse_noise:4"]  # the published one
    assert figures["accuracy/mnist_c/rotate:1"] > figures["accuracy/mnist_c/rotate:4"]
    base = {name: 0.5 for name in figures} | {"test_accuracy": 0.75}
    own = base | {f"accuracy/mnist_c/{name}:4": 0.0 for name in few}
    one = dict(figures=own, logits=np.eye(10, dtype=np.float32), attributions=None)
    measured = corruptions.Measured(**one), corruptions.Measured(**one | {"figures": base})
    test = Split({"pixels": both.test.pixels[:10]}, np.arange(10))
    found = asked.compared_to_baseline(*measured, test)
    assert found["mce"] == 1.5 and found["relative_mce"] == 2 and found["val_mce"] == 1
    assert "attribution_correlation" not in found


def test_corrupted_images_are_bytes_drawn_once_for_each_split(digits):
    pixels = digits.test.images[:1].float().div(255).repeat(corrupted_images.BATCH + 1, 1, 1, 1).numpy()
    once = corrupted_images.published(corrupted_images.hashed_images(pixels), "impulse_noise")
    assert corrupted_images.published(corrupted_images.hashed_images(pixels.copy()), "impulse_noise") is once
    assert once.dtype == np.uint8 and once.shape == pixels.shape
    assert (once[0] != once[-1]).any()  # one image, in two batches: each has a draw of its own
    again = corrupted_images.corrupted(
        corrupted_images.hashed_images(pixels), "impulse_noise", PUBLISHED["impulse_noise"]
    )
    assert (once == again).all()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"severities": [0]}, r"robustness.severities=\[0\]: must be some of"),
        ({"severities": [1, 1]}, "each once"),
        ({"severities": [True]}, "must be some of"),
        ({"attributions": -1}, "robustness.attributions=-1: must be a number of test images, 0 or more"),
        ({"severities": [1], "files": "somewhere"}, "data.mnist_c_root have one severity each"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_by_name(given, said):
    with pytest.raises(UserError, match=said):
        MNISTC(**given)


def test_images_of_other_shapes_are_measured_where_the_corruptions_can_be_drawn():
    MNISTC().check((3, 32, 24))
    with pytest.raises(UserError, match=r"robustness=mnist_c: .* shape \(784,\) .*robustness=none"):
        MNISTC().check((784,))


def test_missing_files_are_refused_before_the_run(tmp_path):
    settings = parse(compose("robustness=mnist_c")[0]).robustness
    with pytest.raises(UserError, match="shot_noise"):
        corruptions.make_robustness(settings, SimpleNamespace(task=ImageClassification(), mnist_c_root=tmp_path))


def test_a_data_module_of_the_users_own_needs_no_folder_of_files():
    settings = parse(compose("robustness=mnist_c")[0]).robustness
    made = corruptions.make_robustness(settings, SimpleNamespace(task=ImageClassification(), mnist_c_root=None))
    assert made.files is None
    assert corruptions.make_robustness(parse(compose()[0]).robustness, SimpleNamespace()) is None


def test_the_files_content_is_part_of_the_experiment(digits):
    hashes = []
    for content in (None, "a", "b"):
        result = Result()
        asked = SimpleNamespace(content=content)
        parts = Parts(None, [], digits, nn.Identity(), asked, ONNXRuntime())
        describe(parse(compose("robustness=mnist_c")[0]), parts, result, stacked=False)
        hashes.append(result.config_hash)
    assert len(set(hashes)) == 3


def test_looked_at_images_are_spread_over_the_split():
    test = Split({"pixels": np.zeros((1000, 1, 2, 2), np.float32)}, np.arange(1000))
    assert MNISTC(attributions=10).looked_at(test)[1].tolist() == [0, *range(111, 1000, 111)]
    assert len(MNISTC(attributions=5000).looked_at(test)[1]) == 1000
