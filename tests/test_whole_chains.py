"""Whole runs, on short epochs of real digits, of what begins or learns from another network than the baseline."""

import copy
import json

import hydra
import pytest
import torch

from lcomp import run
from lcomp.config import run_config
from lcomp.config.run_spec import parse
from lcomp.run import run as carry_out
from lcomp.training import components


def compose(tmp_path, *overrides):
    with hydra.initialize_config_dir(str(run_config.folder().resolve()), version_base="1.3"):
        short = ["data=mnist5k", "data.epoch_examples=5120", "trainer.max_epochs=1", "baseline.trainer.max_epochs=1"]
        quiet = ["measure.latency_runs=1", "progress=false", "logger=none", f"baseline.cache={tmp_path}/cache"]
        return hydra.compose("config", [*short, *quiet, *overrides])


@pytest.mark.slow
def test_an_assistant_is_trained_once_and_its_seconds_are_recorded(tmp_path):
    cfg = compose(tmp_path, "kd=teacher_assistant", "kd.assistants=[lenet5_10kb]")
    first, again = (carry_out(cfg, tmp_path / name, []) for name in ("first", "again"))
    assert first.status == again.status == "ok", first.error
    assert len(list((tmp_path / "cache").glob("*/entry.json"))) == 2  # the baseline and its assistant
    assert 0 < first.seconds["assistants"] == again.seconds["assistants"]
    assert first.artifact["sha256"] == again.artifact["sha256"]
    other = carry_out(compose(tmp_path, "kd=logit"), tmp_path / "logit", [])
    assert "assistants" not in other.seconds and other.artifact["sha256"] != first.artifact["sha256"]
    assert json.loads((tmp_path / "first" / "result.json").read_text())["seconds"]["assistants"] > 0


@pytest.mark.slow
@pytest.mark.parametrize(("choice", "fresh"), [("lottery_ticket", True), ("scheduled", False)])
def test_a_lottery_ticket_starts_from_the_weights_that_the_seed_draws(tmp_path, monkeypatch, choice, fresh):
    begun = []
    fit = run.fit

    def noting(module, *given, **settings):
        begun.append(copy.deepcopy(module.network.state_dict()))
        return fit(module, *given, **settings)

    monkeypatch.setattr(run, "fit", noting)
    cfg = compose(tmp_path, f"prune={choice}", "seed=3")
    assert carry_out(cfg, tmp_path / "run", []).status == "ok"
    drawn = components.make_network(parse(cfg).model, components.make_data(parse(cfg)), 3).state_dict()
    assert all(torch.equal(begun[0][key], drawn[key]) for key in drawn) == fresh
