"""A short storm; benchmarks/kill_storm.py is the long one."""

import kill_storm
import pytest

SETTINGS = ["trainer.max_epochs=1", "baseline.trainer.max_epochs=1", "data=mnist5k", "measure.latency_runs=20"]


@pytest.mark.parametrize("what", ["grid", "search"])
def test_nothing_is_lost_in_a_storm(tmp_path, cache, what):
    kill_storm.storm(what, 7, 3, tmp_path, [*SETTINGS, f"baseline.cache={cache}"], (3, 9))
