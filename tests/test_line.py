"""The line of a finished run: what chooses stands first, each figure beside that of the run's own baseline."""

import pytest
from records import metrics

from lcomp.record.result import Result
from lcomp.record.summary_line import summary_line


def test_validation_stands_before_test_and_each_figure_beside_its_own_baseline_s():
    own = metrics(0.9, 40_000, latency_us_p50=28.1, latency_ratio=1.97, **{"accuracy/rotation": 0.5}, mce=1.3)
    said = summary_line(Result("ok", overrides=["quant=qat"], metrics=own, baseline=metrics(0.95, 165_000)))
    assert said.startswith(
        "quant=qat: validation accuracy 89.00% (baseline 94.00%), test accuracy 90.00% (95.00%), 43.0 KB"
    )
    assert "28.1 us an example (1.97x the baseline's 14.3)" in said
    assert "test accuracy under rotation 50.00%" in said and "test mean corruption error 1.30x the baseline's" in said


@pytest.mark.parametrize("status", ["failed", "nan", "pruned"])
def test_a_run_without_figures_says_why(status):
    assert summary_line(Result(status, "why", overrides=["x=1"])) == f"x=1: {status}: why"
