"""What 0.1.0 left stays readable: its records, its studies, its packed files, the classes that it names."""

import json
import logging.config
import shutil
from pathlib import Path

import hydra.utils
import numpy as np
import onnxruntime
import pytest
import torch
from omegaconf import OmegaConf
from wandb_files import Mirrored

import lcomp
from lcomp.cli.sweep_callback import SweepCallback
from lcomp.config import identity, renamed, run_config
from lcomp.config.composition import compose, config_loader
from lcomp.config.instantiation import build, find
from lcomp.config.renamed import FIRST, RENAMED, current, original, renewed
from lcomp.config.run_spec import parse
from lcomp.evaluation.comparison import make_runtime
from lcomp.evaluation.mnist_c import MNISTC
from lcomp.record.files import Damaged, with_checksum
from lcomp.record.limits import Refused
from lcomp.record.log import NameData
from lcomp.record.result import UnknownVersion, read_result, read_verified
from lcomp.report.__main__ import main as report
from lcomp.sweeps import broken_files, configuration_files
from lcomp.tracking.loggers import make_tracker
from lcomp.tracking.sweep_completion import complete
from lcomp.tracking.wandb_logger import WandbLogger
from lcomp.training import components

OLD = Path(__file__).parent / "old_sweeps"
RUNS = ("sweep/0", "sweep/1", "search/0", "search/1", "search/2")
TARGETS = (OLD / "targets.txt").read_text().split()  # every one of conf/


def configuration(run):
    """What a run of 0.1.0 was composed to."""
    return OmegaConf.load(OLD / run / ".hydra" / "config.yaml")


@pytest.fixture
def swept(tmp_path):
    """A copy, for what writes into it."""
    return Path(shutil.copytree(OLD, tmp_path / "old"))


def test_its_records_are_read():
    one, other = read_result(OLD / "sweep/0/result.json"), read_result(OLD / "sweep/1/result.json")
    assert one.techniques == "logit+scheduled" and other.techniques == "logit+scheduled+qat"
    assert other.metrics["test_accuracy"] == 0.226 and other.metrics["file_bytes"] == 13915
    assert other.params["prune.criterion"] == "magnitude" and other.params["quant.grid"] == "Uniform"
    assert all(read_result(OLD / run / "result.json").status == "ok" for run in RUNS)


def test_its_sweep_and_its_search_are_reported(swept, capsys):
    assert report([str(swept / "sweep")]) == 0
    page = (swept / "sweep/report.html").read_text()
    rows = (swept / "sweep/results.csv").read_text().splitlines()
    assert len(rows) == 3 and "0.226" in rows[2] and "canny_edges" in page
    assert report([str(swept / "search"), "--format", "csv"]) == 0
    assert report([str(swept / "search")]) == 0
    assert "kd.temperature" in (swept / "search/report.html").read_text() and "Report: " in capsys.readouterr().out


@pytest.mark.parametrize("number", "01")
def test_its_packed_files_give_the_logits_that_they_gave(number):
    with np.load(OLD / "logits.npz") as arrays:
        images, expected = torch.from_numpy(arrays["images"]) / 255, arrays[f"logits{number}"]
    with torch.no_grad():
        seen = lcomp.load(OLD / f"sweep/{number}/artifact.lcomp")(images).numpy()
    np.testing.assert_allclose(seen, expected, rtol=1e-5, atol=1e-5)  # to the bit on one kind of processor
    if number == "1":
        session = onnxruntime.InferenceSession(OLD / "sweep/1/artifact.onnx")
        [run] = session.run(None, {session.get_inputs()[0].name: images.numpy()})
        assert (run.argmax(1) == expected.argmax(1)).all()


@pytest.mark.parametrize("target", TARGETS)
def test_each_of_its_classes_is_found(target):
    assert callable(find(target, "_target_"))


@pytest.mark.parametrize("run", RUNS)
def test_what_its_configurations_name_is_built(run, tmp_path):
    cfg = configuration(run)
    network = build(cfg.model, "model", num_classes=10, input_shape=[1, 28, 28])
    assert tuple(network(torch.zeros(2, 1, 28, 28)).shape) == (2, 10)
    objective, techniques = components.make_techniques(parse(cfg))
    assert (objective is None) == (not cfg.kd) and len(techniques) == bool(cfg.prune) + bool(cfg.quant)
    assert make_runtime(parse(cfg).runtime).versions()
    logger = make_tracker(run_config.resolved_dict(cfg), tmp_path)
    if run.startswith("sweep"):
        assert isinstance(build(cfg.robustness, "robustness"), MNISTC)
        assert isinstance(logger, WandbLogger) and logger.mode == "disabled"


def test_what_others_look_up_by_its_names_is_found():
    master = OmegaConf.load(OLD / "sweep/multirun.yaml").hydra
    assert isinstance(hydra.utils.instantiate(master.callbacks.ending), SweepCallback)
    name = OmegaConf.to_container(master.job_logging, resolve=False)["filters"]["data"]["()"]
    assert logging.config.BaseConfigurator({}).resolve(name) is NameData and "lcomp.log." in name
    with pytest.raises(AttributeError, match="module 'lcomp' has no attribute 'ender'"):
        lcomp.ender.Ending  # noqa: B018


def test_a_class_counts_as_the_same_by_both_of_its_names():
    expected = json.loads((OLD / "config_hashes.json").read_text())
    for run in RUNS:
        written = OmegaConf.to_container(configuration(run), resolve=True)
        assert identity.config_hash(written, "") == expected[run]  # as 0.1.0 itself hashed it
        assert identity.config_hash(renewed(written), "") == expected[run]
    assert renewed(written) == renewed(original(renewed(written))) and original(written) == written
    assert len(FIRST) == len(RENAMED) and all(
        first in TARGETS and current(now) == now for first, now in RENAMED.items()
    )


def test_a_former_name_in_a_user_s_file_is_told_once(caplog):
    cfg = configuration("sweep/0")
    renamed.tell.cache_clear()
    with caplog.at_level("WARNING"):
        parse(cfg)
        parse(cfg)
    said = "_target_=lcomp.mnist_c.MNISTC: deprecated, write lcomp.evaluation.mnist_c.MNISTC; files that have it go on"
    assert sum(said in message for message in caplog.messages) == 1
    caplog.clear()
    parse(compose(["robustness=mnist_c"]))
    assert not caplog.messages


def test_a_module_that_was_split_is_found_by_its_old_name_and_its_class_hashes_as_before():
    moved, named = ({"_target_": f"lcomp.data.{place}MNISTDataModule"} for place in ("datamodule.", ""))
    assert renewed(moved) == named and original(moved) == original(named) == named
    assert find(moved["_target_"], "data") is find(named["_target_"], "data")


def test_a_users_own_file_may_go_on_naming_them(tmp_path):
    (tmp_path / "robustness").mkdir()
    (tmp_path / "robustness/mine.yaml").write_text(
        "_target_: lcomp.mnist_c.MNISTC\nseverities: []\nattributions: 100\n"
    )
    now, own = compose(["robustness=mnist_c"]), compose(["robustness=mine"], tmp_path)
    stated = compose(["robustness=mnist_c", "robustness._target_=lcomp.mnist_c.MNISTC", "robustness.attributions=7"])
    assert [build(cfg.robustness, "robustness").attributions for cfg in (now, own, stated)] == [100, 100, 7]
    assert run_config.technique_params(parse(own).config) == run_config.technique_params(parse(now).config)
    same = compose(["robustness=mnist_c", "robustness._target_=lcomp.mnist_c.MNISTC"])
    hashes = [identity.config_hash(run_config.resolved_dict(cfg), "") for cfg in (now, own, same, stated)]
    assert hashes[0] == hashes[1] == hashes[2] != hashes[3]


def test_a_file_that_names_a_class_anew_is_the_same_file():
    file = config_loader().repository.load_config("robustness/mnist_c")
    noted = json.loads((OLD / "sweep/sweep.json").read_text())["files"]
    assert configuration_files.content_digest(file) == noted["robustness/mnist_c"]


def test_a_sweep_shows_its_runs_in_wandb_by_the_old_name(swept):
    logger = {"_target_": "lcomp.mirror.Mirror", "mode": "offline"}
    complete(swept / "sweep", logger)
    assert Mirrored(swept / "sweep/1").summary["test_accuracy"] == 0.226


@pytest.fixture(params=[3, 99, 0, -1])
def other(request, swept):
    """(a record of another version, that version); it has a key that nothing here knows, and its own checksum."""
    path = swept / "sweep/1/result.json"
    path.write_bytes(with_checksum(json.loads(path.read_text()) | {"schema_version": request.param, "later": {}}))
    return path, request.param


def test_a_record_of_another_version_is_refused_in_one_line(other):
    path, version = other
    advice = "read it with the lcomp that wrote it, or a newer one"
    said = f"{path}: schema_version={version}: this lcomp reads 1 and 2; {advice}"
    with pytest.raises(UnknownVersion) as refused:
        read_result(path)
    assert str(refused.value) == said
    with pytest.raises(Damaged, match=f"schema_version={version}: this lcomp reads 1 and 2"):
        read_verified(path)


def test_a_report_leaves_it_out_and_says_so(other, caplog, capsys):
    path, version = other
    assert report([str(path.parents[1]), "--format", "csv"]) == 0
    assert f"{path}: schema_version={version}: this lcomp reads 1 and 2" in caplog.text and "left out" in caplog.text
    printed = capsys.readouterr().out
    assert "quant=none" in printed and "quant=qat" not in printed


def test_who_resumes_is_told_and_it_stays_where_it_is(other):
    path, _ = other
    with pytest.raises(UnknownVersion, match="this lcomp reads 1 and 2"):
        broken_files.set_aside_records(path.parents[1])
    assert path.is_file() and not list(path.parent.glob("*.broken-*"))


@pytest.mark.parametrize("version", ["2", None, 1.5, True, []])
def test_a_version_that_is_no_number_is_a_fault_like_any_other(swept, version):
    path = swept / "sweep/1/result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": version}))
    with pytest.raises(Refused, match=r"schema_version=.* must be a whole number"):
        read_result(path)


def test_a_record_without_a_version_is_of_the_first(swept):
    path = swept / "sweep/1/result.json"
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "schema_version"}))
    assert read_result(path).schema_version == 1
