"""A task of a user's own, that of examples/own_task: angles of turned digits, learned by squared error."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from lcomp.config.composition import compose
from lcomp.config.run_config import metric_of_task
from lcomp.config.run_spec import parse
from lcomp.errors import UserError
from lcomp.tasks import ImageClassification, Metric
from lcomp.training import components

EXAMPLE = Path(__file__).parents[1] / "examples" / "own_task"
ASKED = ("task=angle", "data=turned_digits", "baseline.trainer.max_epochs=2", "trainer.max_epochs=2")


@pytest.fixture
def angles(tmp_path, monkeypatch):
    """The example in the present folder, its classes at hand."""
    shutil.copytree(EXAMPLE, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return lambda *overrides: compose([*ASKED, *overrides], tmp_path / "conf")


def records(folder):
    return [json.loads(path.read_text()) for path in sorted(folder.glob("multirun/*/**/result.json"))]


@pytest.mark.slow
def test_distillation_pruning_and_quantization_of_numbers(lcomp, tmp_path, angles):
    chosen = ("kd=squared_error", "prune.sparsity=0.5", "quant.bits=8", "logger=none", "measure.latency_runs=20")
    done = lcomp("--config-dir", "conf", *ASKED, *chosen)
    assert done.returncode == 0, done.stderr
    [record] = records(tmp_path)
    assert record["metric"] == {"name": "angle_error", "higher_is_better": False, "percent": False}
    metrics = record["metrics"]
    assert {"val_angle_error", "test_angle_error", "test_loss", "output_difference"} <= metrics.keys()
    assert not {"val_accuracy", "agreement"} & metrics.keys()
    assert metrics["sparsity"] == pytest.approx(0.5, abs=0.01) and metrics["file_bytes"] < 20_000
    assert 0 < metrics["test_angle_error"] < 22  # degrees; 22.5 is what an answer of 0 is wrong by
    assert f"test angle error {metrics['test_angle_error']:.4g}" in done.stdout

    folder = next(tmp_path.glob("multirun/run-*"))
    session = onnxruntime.InferenceSession(folder / "artifact.onnx", providers=["CPUExecutionProvider"])
    [given], [answered] = session.get_inputs(), session.get_outputs()
    assert (given.name, answered.name) == ("image", "angle")
    test = components.make_data(parse(angles())).parts["test"]
    images, angle = (tensor.numpy() for tensor in test.tensors)
    outputs = np.concatenate([session.run(None, {"image": images[n : n + 100]})[0] for n in range(0, len(images), 100)])
    assert 45 * np.abs(outputs - angle).mean() == pytest.approx(metrics["test_angle_error"], rel=1e-4)


@pytest.mark.slow
def test_sweeps_searches_and_the_report_speak_of_the_tasks_metric(lcomp, tmp_path, angles):
    quick = (*ASKED, "data.examples=400", "logger=none", "report=true", "measure.latency_runs=20", "launcher.workers=1")
    done = lcomp("--config-dir", "conf", "-m", *quick, "prune.sparsity=0.5,0.9")
    assert done.returncode == 0, done.stderr
    assert "val angle error" in done.stdout and "acc %" not in done.stdout
    [report] = tmp_path.glob("multirun/sweep-*/report.md")
    assert "validation angle error against" in report.read_text() and "accuracy" not in report.read_text()
    page = report.with_suffix(".html").read_text()
    assert '"words": "angle error"' in page.replace('":"', '": "')

    search = ("sweeper=optuna", "n_trials=3", "hydra.sweep.dir=multirun/search", "prune.sparsity=choice(0.3,0.5,0.95)")
    done = lcomp("--config-dir", "conf", "-m", *quick, *search)
    assert done.returncode == 0, done.stderr
    found = [json.loads(path.read_text()) for path in tmp_path.glob("multirun/search/*/result.json")]
    least = min(record["metrics"]["val_angle_error"] for record in found)
    assert "Best val_angle_error" in done.stdout and f"{least:.4g}" in done.stdout


def test_what_is_for_classes_is_refused_by_name_before_anything_trains(angles):
    with pytest.raises(
        UserError, match=r"Distillation: learns from logits of classes; task._target_=angles.AngleRegression"
    ):
        spec = parse(angles("kd=logit"))
        components.check_objective(spec, components.make_techniques(spec)[0])
    with pytest.raises(UserError, match=r"kd.ensemble=3: .*task._target_=angles.AngleRegression"):
        spec = parse(angles("kd=squared_error", "kd.ensemble=3"))
        components.check_objective(spec, components.make_techniques(spec)[0])
    spec = parse(compose(["kd=logit", "kd.ensemble=3"]))
    assert components.check_objective(spec, components.make_techniques(spec)[0]) is None


def test_the_metric_is_known_before_the_data_are_read(angles):
    assert metric_of_task(angles().task) == Metric("angle_error", higher_is_better=False, percent=False)
    assert metric_of_task(compose([]).task) == ImageClassification.metric
    with pytest.raises(UserError, match=r"task._target_=angles.SquaredError: not a Task"):
        metric_of_task({"_target_": "angles.SquaredError"})


def test_data_that_lack_what_a_task_asks_of_them_are_named(angles):
    cfg = angles("data._target_=angles.TurnedDigits")
    cfg.task._target_ = "lcomp.tasks.ImageClassification"
    with pytest.raises(
        UserError, match=r"data._target_=angles.TurnedDigits: give it an attribute num_classes, such as 10"
    ):
        components.make_data(parse(cfg))
