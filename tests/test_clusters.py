"""The launchers of others: Ray on a cluster of its own, submitit here, Slurm up to the script it is given."""

import os
import re
import signal
import stat

import pytest
from test_interruption import NETWORK
from test_launcher import records, wait_for
from test_sweeps import kill_all, only_sweep

POINTS = ["-m", "quant=static", "quant.bits=4,8"]


@pytest.fixture
def cached(lcomp_in, tmp_path):
    """A call of lcomp whose baseline is trained already."""
    lcomp_in(tmp_path)()
    return lcomp_in(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [["launcher=ray", "launcher.ray.init.num_cpus=2"], ["launcher=submitit_local"]])
def test_a_grid_and_a_search_on_another_launcher(cached, tmp_path, launcher):
    for sweep in ([], ["sweeper=optuna", "n_trials=2", "n_jobs=2"]):
        done = cached(*POINTS, *launcher, *sweep, "reuse=false")
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("test accuracy") >= 2
    found = [record for record in records(tmp_path) if record["overrides"][:1] == ["quant=static"]]
    assert [record["status"] for record in found] == ["ok"] * 4
    shas = [record["artifact"]["sha256"] for record in sorted(found, key=lambda r: r["params"]["quant.bits"])]
    assert shas[0] == shas[1] != shas[2] == shas[3]
    assert all("latency_us_p50" in record["metrics"] for record in found)


@pytest.mark.slow
def test_a_ray_worker_that_ends_costs_its_run_alone(lcomp_in, tmp_path):
    (tmp_path / "faulty.py").write_text(NETWORK)
    (tmp_path / "fault").write_text("os._exit(3)")
    points = ["-m", "model._target_=faulty.Net", "+model.point=1,2", "baseline.cache=own", "reuse=false"]
    done = lcomp_in(tmp_path)(*points, "launcher=ray", "launcher.ray.init.num_cpus=2")
    first, second = records(tmp_path)
    assert done.returncode == 1 and "1 of 2 runs failed" in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert first["status"] == "failed" and second["status"] == "ok"
    assert first["error"].startswith("the worker ended in the middle of its task (WorkerCrashedError: The worker died")


def test_slurm_is_given_an_array_with_cpus_and_a_signal(lcomp_in, tmp_path, monkeypatch):
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, says in (("sbatch", "Submitted batch job 12"), ("srun", ""), ("sacct", ""), ("scancel", "")):
        (tools / name).write_text(f"#!/bin/sh\necho '{says}'\n")
        (tools / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    process = lcomp_in(tmp_path, wait=False)(*POINTS, "threads=2", "launcher=slurm", "launcher.partition=cpu")
    [script] = wait_for(lambda: [*tmp_path.glob("multirun/sweep-*/.submitit/**/*submission*.sh")])[:1]
    text = wait_for(script.read_text)
    process.send_signal(signal.SIGINT)
    kill_all(process)
    settings = dict(re.findall(r"#SBATCH --([a-z-]+)=(\S+)", text))
    assert settings["array"] == "0-1%2" and settings["cpus-per-task"] == "2" and settings["mem"] == "4GB"
    assert settings["signal"] == "USR2@120" and settings["time"] == "240" and settings["partition"] == "cpu"
    assert only_sweep(tmp_path).name in settings["output"]
