"""Where runs write and read: whatever Hydra is told of folders and environments, all stages of a run mean one place."""

import json
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf
from test_launcher import records

from lcomp.cli.task import write_note
from lcomp.config import identity, run_config
from lcomp.config.composition import compose
from lcomp.config.run_spec import parse
from lcomp.errors import UserError
from lcomp.evaluation import comparison
from lcomp.record.result import FILE_NAME, Result

QUICK = ["-m", "kd.temperature=1,3", "data=mnist", "data.epoch_examples=500", "data.download=false", "launcher=serial"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "told",
    [
        ["hydra.output_subdir=cfg", "hydra.job.chdir=true", "data.root=here"],
        ["hydra.output_subdir=null", "+hydra.job.env_set.LCOMP_DATA=here"],
    ],
    ids=lambda told: told[0],
)
def test_wherever_hydra_writes_data_baseline_and_latencies_are_the_same(lcomp, tmp_path, mnist_root, told):
    (tmp_path / "here").symlink_to(mnist_root.resolve())
    done = lcomp(*QUICK, *told, "baseline.cache=kept")
    assert done.returncode == 0, done.stderr
    found = records(tmp_path)
    assert [(one["status"], one["dataset"]["name"]) for one in found] == [("ok", "mnist")] * 2
    assert all("latency_ratio" in one["metrics"] for one in found)
    assert len(list(tmp_path.glob("kept/*/entry.json"))) == 1 and len(list(tmp_path.rglob("entry.json"))) == 1
    [note] = tmp_path.glob("multirun/sweep-*/0/.hydra/config.yaml")
    noted = yaml.safe_load(note.read_text())
    assert (noted["data"]["root"], noted["baseline"]["cache"]) == (f"{tmp_path}/here", f"{tmp_path}/kept")
    assert ("hydra.job.chdir=true: runs stay in" in done.stderr) == ("hydra.job.chdir=true" in told)


@pytest.mark.parametrize("written", [".hydra", "cfg", "../beside", ".", None])
def test_no_secret_stands_where_hydra_wrote_and_the_note_is_there(tmp_path, written):
    cfg = OmegaConf.create({"data": {"password": "sesame1", "root": "${oc.env:HOME}"}})
    folder = tmp_path / "run"
    folder.mkdir()
    if written is not None:
        (folder / written).mkdir(exist_ok=True)
        for name in ("config", "hydra", "overrides"):
            (folder / written / f"{name}.yaml").write_text("data:\n  password: sesame1\n  root: ${oc.env:HOME}\n")
    write_note(cfg, ["+data.password=sesame1"], folder, written)
    assert not [path for path in tmp_path.rglob("*.yaml") if "sesame1" in path.read_text()]
    noted = yaml.safe_load((folder / ".hydra" / "config.yaml").read_text())
    assert noted == {"data": {"password": "***", "root": "${oc.env:HOME}"}}
    assert yaml.safe_load((folder / ".hydra" / "overrides.yaml").read_text()) == ["+data.password=***"]


def test_paths_are_those_of_the_folder_and_environment_that_began(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LCOMP_DATA", "mine")
    cfg = compose(["data.mnist_c_root=s3://bucket/x"])
    settled = run_config.with_absolute_paths(cfg)
    assert cfg.data.root == "mine" and cfg.baseline.cache == "multirun/.cache/baselines"
    monkeypatch.setenv("LCOMP_DATA", "other")
    monkeypatch.chdir("/")
    assert settled.data.root == f"{tmp_path}/mine" and settled.data.mnist_c_root == "s3://bucket/x"
    assert Path(settled.baseline.cache) == tmp_path / "multirun/.cache/baselines"
    assert identity.config_hash(run_config.resolved_dict(settled), "d") == identity.config_hash(
        run_config.resolved_dict(cfg), "d"
    )


def test_latencies_are_never_of_other_data(tmp_path):
    record = Result(
        "ok",
        dataset={"name": "mnist", "sha256": "another", "train": 1, "val": 1, "test": 1},
        metrics={"val_accuracy": 0.5},
    )
    record.write(tmp_path)
    with pytest.raises(UserError, match=r"measured on another data set than this command's \(mnist\)"):
        comparison.complete_latencies(parse(compose(["data=mnist5k"])), tmp_path)
    assert json.loads((tmp_path / FILE_NAME).read_text())["metrics"] == {"val_accuracy": 0.5}
