"""A short storm; benchmarks/kill_storm.py is the long one."""

import kill_storm
import pytest
from conftest import DIGITS, SHORT

SETTINGS = [*DIGITS, *SHORT, "trainer.max_epochs=1"]


@pytest.mark.slow
@pytest.mark.parametrize("what", ["grid", "search"])
def test_nothing_is_lost_in_a_storm(tmp_path, cache, what):
    kill_storm.storm(what, 7, 3, tmp_path, [*SETTINGS, f"baseline.cache={cache}"], (2, 6))
