"""A single run goes on in its folder; killed at any moment, it comes to the artifact of one that nothing stopped."""

import json
import multiprocessing
import os
import random
import shutil
import signal
import time
from pathlib import Path

import forked
import pytest

from lcomp.cli import resuming, shorthand
from lcomp.errors import UserError
from lcomp.record.files import sha256
from lcomp.record.result import FILE_NAME, Result

COMMAND = ["kd=logit", "kd.temperature=3", "prune=scheduled", "seed=1"]


@pytest.fixture
def run_folder(tmp_path, monkeypatch):
    """A folder under multirun as a run that was killed leaves it."""
    monkeypatch.chdir(tmp_path)

    def make(name="run-1", overrides=COMMAND, flags=(), result=None):
        folder = Path("multirun") / name
        (folder / ".hydra").mkdir(parents=True)
        (folder / ".hydra" / "overrides.yaml").write_text("".join(f"- {json.dumps(one)}\n" for one in overrides))
        sources = [{"path": path, "schema": "file", "provider": "command-line"} for path in flags]
        written = {"hydra": {"runtime": {"config_sources": sources}, "job": {"config_name": "config"}}}
        (folder / ".hydra" / "hydra.yaml").write_text(json.dumps(written))
        if result is not None:
            result.write(folder)
        return folder

    return make


def test_the_newest_run_goes_on_with_its_own_command(run_folder):
    old, new = run_folder("run-2", ["seed=7"]), run_folder("run-1", result=Result("failed", error="KeyboardInterrupt"))
    os.utime(old / ".hydra" / "overrides.yaml", (1, 1))
    arguments, notices = shorthand.expand(["resume=last"])
    assert arguments == [*COMMAND, f"hydra.run.dir={new}"] and notices == [f"goes on in {new}"]
    arguments, _ = shorthand.expand([f"resume={old}"])
    assert arguments == ["seed=7", f"hydra.run.dir={old}"]


def test_the_same_command_in_any_order_and_form_goes_on(run_folder):
    folder = run_folder()
    for typed in (["seed=1", "kd.temperature=3.0", "prune=scheduled"], [*COMMAND, "hydra.verbose=true"]):
        arguments, _ = shorthand.expand([*typed, "resume=last"])
        assert arguments[-1] == f"hydra.run.dir={folder}" and "kd=logit" in arguments


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["seed=2"], "it had kd.temperature=3, kd=logit, prune=scheduled, seed=1, and the command has seed=2"),
        ([*COMMAND, "quant=qat"], "it had nothing, and the command has quant=qat"),
    ],
)
def test_another_command_is_refused_with_the_difference(run_folder, typed, said):
    folder = run_folder()
    with pytest.raises(UserError) as caught:
        shorthand.expand([*typed, "resume=last"])
    assert said in str(caught.value) and f"python -m lcomp {' '.join(COMMAND)} resume={folder}" in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "flags"),
    [
        (["model._target_=mine.Net"], ()),
        (["+model.width=3"], ()),
        (["~prune"], ()),
        (["name=${oc.env:HOME}"], ()),
        (["logger.token=***"], ()),
        (["hydra.searchpath=[file:///tmp]"], ()),
        (["model=mine"], ["/somewhere/conf"]),
    ],
)
def test_what_names_code_is_typed_and_not_taken_from_a_folder(run_folder, overrides, flags):
    folder = run_folder(overrides=overrides, flags=flags)
    with pytest.raises(UserError, match="its command is not taken from its folder; type it: python -m lcomp") as caught:
        shorthand.expand(["resume=last"])
    said = str(caught.value)
    assert f"resume={folder}" in said and all(f"--config-dir {flag}" in said for flag in flags)


@pytest.mark.parametrize("status", ["ok", "pruned", "nan"])
def test_a_run_that_has_ended_is_not_run_again(run_folder, status):
    run_folder(result=Result("failed", error="boom"))
    shorthand.expand(["resume=last"])
    Result(status).write(run_folder("run-2"))
    with pytest.raises(UserError, match=rf"that run has ended \({status}\)"):
        shorthand.expand(["resume=multirun/run-2"])


def test_a_sweep_is_no_run(run_folder):
    with pytest.raises(UserError, match=r"no run under multirun; .* add -m to go on with a sweep"):
        resuming.find_run("last")
    with pytest.raises(UserError, match="resume=nothere: no run there"):
        resuming.find_run("nothere")
    point = run_folder("sweep-1/0")
    (point.parent / "sweep.json").write_text("{}")
    for folder in (point, point.parent):
        with pytest.raises(UserError, match="belongs to a sweep; add -m, as in resume=multirun/sweep-1 -m"):
            shorthand.expand([f"resume={folder}"])


def test_a_list_of_another_kind_is_no_command(run_folder):
    folder = run_folder()
    for written in ("seed: 1", "&a [*a]", "- [", "!!python/object/apply:os.system [true]"):
        (folder / ".hydra" / "overrides.yaml").write_text(written)
        with pytest.raises(UserError):
            shorthand.expand(["resume=last"])


VICTIM = '''
"""A network with dropout, data that a loader shuffles, and a process that kills itself in the middle of a call."""
import os, pathlib, signal
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from lcomp.data import MNISTDataModule

fault = pathlib.Path("fault")
if fault.exists():
    name, left = fault.read_text().split()
    fault.unlink()
    calls, original = [int(left)], getattr(os, name)
    def strike(*arguments, **settings):
        calls[0] -= "checkpoints" in str(arguments) or name == "fsync"
        if not calls[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **settings)
    setattr(os, name, strike)


class Net(nn.Module):
    def __init__(self, num_classes=10):
        super().__init__()
        self.conv, self.drop, self.out = nn.Conv2d(1, 4, 3, 2), nn.Dropout(0.3), nn.Linear(676, num_classes)

    def forward(self, x):
        return self.out(self.drop(self.conv(x).relu().flatten(1)))


class Data:
    num_classes, input_shape = 10, (1, 28, 28)

    def __init__(self):
        own = MNISTDataModule(dataset="mnist5k")
        splits = own.train, own.validation
        self.splits = [TensorDataset(one.images[:1280].float() / 255, one.labels[:1280]) for one in splits]
        self.generator = torch.Generator().manual_seed(3)

    prepare_data = setup = lambda self, stage=None: None

    def train_dataloader(self):
        return DataLoader(self.splits[0], 64, shuffle=True, generator=self.generator)

    def val_dataloader(self):
        return DataLoader(self.splits[1], 500)

    test_dataloader = val_dataloader
'''
RUN = [
    "data._target_=victim.Data", "model._target_=victim.Net", "kd=teacher_assistant", "kd.student=fresh",
    "kd.assistants=[small_cnn]", "prune=scheduled", "prune.sparsity=0.5", "quant=qat", "trainer.max_epochs=8",
    "baseline.trainer.max_epochs=3",
    "trainer.checkpoint_minutes=1e-6", "baseline.trainer.checkpoint_minutes=1e-6", "logger=none", "report=false",
    "measure.latency_runs=20", "threads=1",
]  # fmt: skip


FAULTS = ["fsync 1", "replace 2", "unlink 3", "fsync 4", "replace 1", "unlink 1"]  # which call it does not outlive


class Runs:
    """Processes of the command in a folder of their own."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()
        (folder / "victim.py").write_text(VICTIM)

    def begin(self, *arguments, fault=None):
        if fault:
            (self.folder / "fault").write_text(fault)
        self.out, self.err = self.folder / "out", self.folder / "err"
        environment = {k: v for k, v in os.environ.items() if k != "LCOMP_DATA"}
        target = (self.folder, [*RUN, "baseline.cache=cache", *arguments], environment, self.out, self.err)
        process = multiprocessing.get_context("forkserver").Process(target=forked.carry_out, args=target)
        process.start()
        return process

    def checkpoints(self, below="."):
        """Names, under a folder of the cache's or of the runs'."""
        return {path.name for path in self.folder.glob(f"{below}/**/checkpoints/*.ckpt")}

    def wait_for_another(self, process, below="."):
        before = self.checkpoints(below)
        while process.is_alive() and self.checkpoints(below) <= before:
            time.sleep(0.002)


def artifact(folder):
    [record] = [json.loads(path.read_text()) for path in folder.glob(f"multirun/*/{FILE_NAME}")]
    assert record["status"] == "ok", record["error"]
    [path] = folder.glob("multirun/*/artifact.onnx")
    curves = {name: values for name, values in record["epochs"].items() if name != "seconds"}
    baselines = sorted(sha256(path) for path in folder.glob("cache/*/artifact.onnx"))
    return sha256(path), curves, record["steps"], baselines


@pytest.mark.slow
def test_twenty_kills_at_any_moment_change_nothing(tmp_path):
    forked.start()
    calm, storm = Runs(tmp_path / "calm"), Runs(tmp_path / "storm")
    process = calm.begin()
    process.join(forked.SECONDS)
    assert process.exitcode == 0, calm.err.read_text()
    chance = random.Random(0)
    for number in range(20):
        below = "cache" if number < 10 else "multirun"
        fault = FAULTS[number // 3] if number % 3 == 2 else None
        process = storm.begin(*(["resume=last"] if number else []), fault=fault)
        if fault is None:
            storm.wait_for_another(process, below)
            time.sleep(chance.uniform(0, 0.15))
            os.kill(process.pid, signal.SIGKILL)
        process.join(forked.SECONDS)
        assert process.exitcode == -signal.SIGKILL, (number, fault, storm.err.read_text())
    process = storm.begin("resume=last")
    process.join(forked.SECONDS)
    assert process.exitcode == 0, storm.err.read_text()
    [log] = storm.folder.glob("multirun/*/lcomp.log")
    assert log.read_text().count("goes on from a checkpoint") >= 10
    assert artifact(storm.folder) == artifact(calm.folder)
    assert not storm.checkpoints()


@pytest.mark.slow
def test_a_point_of_a_sweep_goes_on_in_another_folder(tmp_path):
    forked.start()
    runs, sweep = Runs(tmp_path / "runs"), ["-m", "launcher=serial", "seed=0"]
    process = runs.begin(*sweep)
    runs.wait_for_another(process, "multirun")
    os.kill(process.pid, signal.SIGKILL)
    process.join(60)
    process = runs.begin(*sweep, "resume=last")
    process.join(forked.SECONDS)
    assert process.exitcode == 0, runs.err.read_text()
    killed, done = (json.loads(path.read_text()) for path in sorted(runs.folder.glob(f"multirun/*/*/{FILE_NAME}")))
    assert killed["status"] == "failed" and done["status"] == "ok"
    [log] = runs.folder.glob("multirun/*/1/lcomp.log")
    assert "goes on from a checkpoint" in log.read_text() and not runs.checkpoints()
    shutil.rmtree(runs.folder / "multirun")
    process = runs.begin("seed=0")
    process.join(forked.SECONDS)
    assert done["artifact"]["sha256"] == artifact(runs.folder)[0]
