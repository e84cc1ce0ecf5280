"""Whole runs of the command on real digits."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from wandb_files import Mirrored

import lcomp
from lcomp.models import SmallCNN
from lcomp.record import predictions
from lcomp.training.weights_file import load_weights


def records(folder):
    return [json.loads(path.read_text()) for path in sorted(folder.glob("multirun/*/**/result.json"))]


@pytest.fixture(scope="module")
def sweep(lcomp_in, tmp_path_factory):
    """A sweep over two temperatures: (what was printed, its folder)."""
    folder = tmp_path_factory.mktemp("sweep")
    alone = "baseline.cache=own"  # no other test has trained its baseline
    shown = ["logger=wandb", "report=true"]
    done = lcomp_in(folder)(
        "-m", "kd.temperature=1,8", "data=mnist5k", "data.eval_perturbations=[rotation:5]", alone, *shown
    )
    assert done.returncode == 0, done.stderr
    return done, folder


def test_sweep_leaves_artifacts_and_records(sweep):
    _done, folder = sweep
    first, second = records(folder)
    assert first["status"] == second["status"] == "ok"
    assert first["baseline"]["test_accuracy"] == second["baseline"]["test_accuracy"] > 0.9
    assert first["artifact"]["sha256"] != second["artifact"]["sha256"]
    assert first["config_hash"] != second["config_hash"] and first["code_hash"] == second["code_hash"]
    assert first["metrics"]["parameters"] == 11_042 and first["metrics"]["file_bytes"] < 48_000
    assert first["metrics"]["macs"] == 26 * 26 * 4 * 9 + 676 * 16 + 160
    assert first["metrics"]["accuracy/rotation:5"] < first["metrics"]["test_accuracy"]
    assert first["baseline"]["accuracy/rotation:5"] < first["baseline"]["test_accuracy"]
    assert first["steps"] == 211 and first["dataset"]["name"] == "mnist5k"
    for record in (first, second):  # measured at the sweep's end, in a process that Hydra did not start
        assert record["metrics"].get("latency_ratio", 0) > 0 and record["baseline"].get("latency_us_p50", 0) > 0
    assert first["choices"]["kd"] == "logit" and first["params"]["kd.temperature"] == 1


def test_images_that_only_the_compressed_network_gets_wrong_are_kept(sweep, digits):
    _done, folder = sweep
    for place in folder.glob("multirun/sweep-*/[01]"):
        base = json.loads((place / "result.json").read_text())["baseline_artifact"]["path"]
        own, before = predictions.read_predictions(place), predictions.read_predictions((place / base).parent)
        lost = np.flatnonzero(before.correct & ~own.correct)[: predictions.LOST]
        assert len(lost) > predictions.MISTAKES and set(lost) <= set(own.mistakes)
        pixels = np.concatenate([images.numpy() for images, *_ in digits.test_dataloader()])
        assert np.allclose(own.pixels, 255 * pixels[own.mistakes], atol=0.51)


def test_sweep_prints_a_line_per_run_and_its_table(sweep):
    done, _folder = sweep
    assert done.stdout.count("[mnist5k]") == 2 and "kd.temperature=1,8 chooses kd=logit" in done.stderr
    assert "mnist5k: 3,500 training, 500 validation, 1,000 test examples" in done.stdout
    for row in ("baseline", "kd.temperature=1", "kd.temperature=8"):
        assert any(line.startswith(f"│ {row} ") for line in done.stdout.splitlines())
    assert done.stderr.count("training the baseline once") == 1


def test_sweep_is_mirrored_run_by_run_and_ends_with_its_report(sweep):
    done, folder = sweep
    [place] = folder.glob("multirun/sweep-*")
    relative = place.relative_to(folder)
    assert done.stdout.splitlines()[-1] == f"Report: {relative}/report.html"
    assert f"wandb sync {relative}/*/wandb/offline-run-*" in done.stdout
    for number, record in enumerate(records(folder)):
        seen = Mirrored(place / str(number))
        curve = record["epochs"]["val_accuracy"]
        assert [row["val_accuracy"] for row in seen.history if "val_accuracy" in row] == curve and len(curve) == 1
        assert {name: seen.summary[name] for name in record["metrics"]} == record["metrics"]
        assert seen.config["kd"]["temperature"] == record["params"]["kd.temperature"] and seen.exit_code == 0
    [base] = place.glob("baseline-*")
    assert Mirrored(base).summary["test_accuracy"] == records(folder)[0]["baseline"]["test_accuracy"]
    assert "kd.temperature=8" in (place / "report.html").read_text()


def test_artifact_is_one_file_with_metadata_for_any_batch_size(sweep, digits):
    _, folder = sweep
    path = next(iter(sorted(folder.glob("multirun/sweep-*/0/artifact.onnx"))))
    record = records(folder)[0]
    assert path.stat().st_size == record["metrics"]["file_bytes"]
    packed = path.with_suffix(".lcomp")
    assert packed.stat().st_size == record["metrics"]["packed_bytes"] < 0.9 * record["metrics"]["gzip_bytes"]
    assert record["baseline"]["packed_bytes"] > record["metrics"]["packed_bytes"]
    metadata = {p.key: p.value for p in onnx.load(path).metadata_props}
    assert metadata == {"classes": "10", "config_hash": record["config_hash"], "lcomp_version": "0.1.0"}
    network = load_weights(path.parent / "checkpoint.ckpt", SmallCNN())
    pixels = digits.test.images[:77].float().div(255)
    seen = onnxruntime.InferenceSession(path).run(None, {"pixels": pixels.numpy()})[0]
    np.testing.assert_allclose(seen, network(pixels).detach().numpy(), atol=1e-4)
    np.testing.assert_allclose(lcomp.load(packed)(pixels).detach().numpy(), seen, atol=1e-4)
    assert {p.name for p in path.parent.iterdir()} == {
        "artifact.onnx", "artifact.lcomp", "checkpoint.ckpt", "predictions.npz", "result.json", "lcomp.log", ".hydra",
        "wandb",
    }  # fmt: skip


@pytest.mark.slow
def test_a_later_run_reads_the_cached_baseline_and_gives_the_same_artifact_serial_and_parallel(
    sweep, lcomp_in, tmp_path_factory
):
    _, folder = sweep
    elsewhere = [tmp_path_factory.mktemp("parallel"), tmp_path_factory.mktemp("again")]
    same = ["-m", "kd.temperature=8,1", "data=mnist5k", f"baseline.cache={folder / 'own'}"]
    parallel = lcomp_in(elsewhere[0], wait=False)(*same, "launcher.workers=2")
    serial = lcomp_in(elsewhere[1])(*same, "launcher=serial")  # at the same time
    _, said = parallel.communicate(timeout=400)
    assert parallel.returncode == serial.returncode == 0, said + serial.stderr
    assert "training the baseline once" not in said + serial.stderr

    def artifacts(place):
        return {r["params"]["kd.temperature"]: r["artifact"]["sha256"] for r in records(place)}

    assert artifacts(folder) == artifacts(elsewhere[0]) == artifacts(elsewhere[1])


@pytest.mark.slow
def test_a_fresh_and_a_cached_baseline_lead_to_the_same_artifacts(lcomp_in, tmp_path_factory):
    fresh, cached = tmp_path_factory.mktemp("fresh"), tmp_path_factory.mktemp("cached")
    sweep = ["-m", "quant=static,qat", "prune.sparsity=0.5", "launcher=serial"]
    for done in (lcomp_in(fresh)(*sweep, "baseline.cache=own"), lcomp_in(cached)(*sweep)):
        assert done.returncode == 0, done.stderr
    one, other = ([r["artifact"]["sha256"] for r in records(place)] for place in (fresh, cached))
    assert one == other and len(set(one)) == 2


@pytest.mark.slow
def test_teacher_by_path(sweep, lcomp, tmp_path):
    _, folder = sweep
    wrong = next(iter(folder.glob("multirun/sweep-*/0/checkpoint.ckpt")))
    done = lcomp("-m", f"kd.teacher={wrong}", "model=small_cnn,lenet5", "launcher=serial")
    good, bad = records(tmp_path)
    assert good["status"] == "ok" and good["steps"] == 43
    assert bad["status"] == "failed" and "not the weights of this LeNet5" in bad["error"] and done.returncode == 1


@pytest.mark.slow
def test_a_run_whose_configuration_cannot_be_resolved_is_a_failed_run(lcomp, tmp_path):
    done = lcomp("-m", "name=${oc.env:NO_SUCH_A},${oc.env:NO_SUCH_B}")
    assert done.returncode == 1 and [r["status"] for r in records(tmp_path)] == ["failed"] * 2
    assert "2 of 2 runs failed:" in done.stderr and "NO_SUCH_B" in done.stderr and "Traceback" not in done.stderr


def test_a_failed_run_does_not_stop_a_sweep_and_is_listed_at_its_end(lcomp, tmp_path):
    done = lcomp("-m", "prune.sparsity=80,0.5", "trainer.max_epochs=1", "launcher=serial")
    assert done.returncode == 1
    failed, finished = records(tmp_path)
    assert failed["status"] == "failed" and "0.8?" in failed["error"] and failed["steps"] == 0
    assert finished["status"] == "ok" and finished["metrics"]["sparsity"] == pytest.approx(0.5, abs=1e-5)
    assert "1 of 2 runs failed:" in done.stderr
    assert "prune.sparsity=80: a share of the weights, from 0 to below 1; 0.8?" in done.stderr.splitlines()[-1]
    assert "sparsity: zeros neither shorten a dense file" in done.stdout


def test_a_mistaken_value_ends_a_run_before_anything_is_trained(lcomp, tmp_path):
    done = lcomp("kd.temperature=-1")
    assert done.returncode == 1
    [record] = records(tmp_path)
    assert record["status"] == "failed" and record["error"].startswith("kd.temperature=-1: must be above 0")
    assert "training the baseline" not in done.stderr and "Traceback" not in done.stderr


def test_post_training_quantization_trains_nothing_and_keeps_integers(lcomp, tmp_path):
    done = lcomp("-m", "quant=static,dynamic", "launcher=serial")
    assert done.returncode == 0, done.stderr
    for record in records(tmp_path):
        assert record["steps"] == 0 and record["metrics"]["file_bytes"] < 60_000
        assert record["metrics"]["test_accuracy"] >= record["baseline"]["test_accuracy"] - 0.01
        assert record["metrics"]["agreement"] >= 0.999 and record["metrics"]["logit_difference"] < 1
    assert "integers can be slower" in done.stdout


@pytest.mark.slow
def test_an_ensemble_of_baselines_is_drawn_from_seeds_in_a_row_and_cached(lcomp, tmp_path):
    done = lcomp("kd.ensemble=2", "seed=5", "baseline.cache=own")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("training the baseline once") == 2
    first, second = (torch.load(path, weights_only=True) for path in tmp_path.glob("own/*/weights.pt"))
    assert not torch.equal(first["fc1.weight"], second["fc1.weight"])
    [record] = records(tmp_path)
    assert record["params"]["kd.ensemble"] == 2 and record["steps"] == 43
    again = lcomp("kd.ensemble=2", "seed=5", "baseline.cache=own")
    assert "training the baseline" not in again.stderr
    assert len({r["artifact"]["sha256"] for r in records(tmp_path)}) == 1


@pytest.mark.slow
def test_a_baseline_can_learn_from_perturbed_images_and_its_student_from_clean_ones(lcomp, tmp_path):
    plain, perturbed = ["baseline.cache=own"], ["baseline.cache=own", "baseline.perturb={rotation:{severity:2}}"]
    for settings in (plain, perturbed):
        done = lcomp("kd.alpha=1.0", *settings)
        assert done.returncode == 0 and done.stderr.count("training the baseline once") == 1
    one, other = records(tmp_path)
    assert one["baseline"]["test_loss"] != other["baseline"]["test_loss"]
    assert one["artifact"]["sha256"] != other["artifact"]["sha256"] and one["config_hash"] != other["config_hash"]
    for figure in ("test_loss", "val_accuracy"):  # on the labels alone the student's data decide
        assert one["metrics"][figure] == other["metrics"][figure]
