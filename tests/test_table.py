"""The sweep's table says what belongs together."""

import copy

from lcomp.report.table import show
from lcomp.result import Result

METRICS = {
    "val_accuracy": 0.9, "test_accuracy": 0.8, "test_loss": 0.5, "parameters": 10, "sparsity": 0.0, "file_bytes": 1000,
    "gzip_bytes": 500, "latency_us_p50": 10.0, "latency_ratio": 1.0,
}  # fmt: skip


def result(*overrides, name="mnist", sha="a", **choices):
    data = {"name": name, "sha256": sha, "train": 5, "val": 2, "test": 1}
    return Result(
        "ok",
        overrides=list(overrides),
        dataset=data,
        metrics=copy.copy(METRICS),
        baseline=copy.copy(METRICS),
        choices=choices,
    )


def shown(capsys, *results):
    show(results, "folder")
    return capsys.readouterr().out


def test_data_sets_never_share_a_table(capsys):
    seen = shown(capsys, result("seed=0"), result("seed=1", name="mnist5k", sha="b"), result("seed=2", sha="c"))
    assert seen.count("5 training") == 3
    assert seen.count("is a data set of its own: compare its figures with no other's") == 3


def test_each_baseline_stands_before_its_runs(capsys):
    other = result("seed=1")
    other.baseline["test_loss"] = 0.4
    rows = [line.split()[1] for line in shown(capsys, result("seed=0"), other).splitlines() if line.startswith("│")]
    assert rows == ["baseline", "seed=0", "baseline", "seed=1"]


def test_what_every_run_shares_is_said_once(capsys):
    seen = shown(capsys, result("kd=logit", "seed=0"), result("kd=logit", "seed=1"))
    assert seen.count("kd=logit") == 1 and "every run: kd=logit" in seen


def test_footnotes_where_a_reader_would_wonder(capsys):
    assert "zeros" not in shown(capsys, result())
    assert "zeros neither shorten a dense file" in shown(capsys, result(prune="scheduled"))
    assert "integers can be slower" in shown(capsys, result(quant="qat"))


def test_nothing_finished_is_no_table(capsys):
    assert shown(capsys, Result("failed")).strip() == "Records and artifacts: folder"
