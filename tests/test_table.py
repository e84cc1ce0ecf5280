"""The sweep's table says what belongs together."""

import copy
import subprocess
import sys

from rich.console import Console

from lcomp.record.result import Result
from lcomp.report.table import ESSENTIAL, dataset_table, print_dataset_tables

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
    print_dataset_tables(results, "folder")
    return capsys.readouterr().out


def test_data_sets_never_share_a_table(capsys):
    seen = shown(capsys, result("seed=0"), result("seed=1", name="mnist5k", sha="b"), result("seed=2", sha="c"))
    assert seen.count("5 training") == 3
    assert seen.count("is a data set of its own: compare its figures with no other's") == 3


def test_each_baseline_stands_before_its_runs(capsys):
    other = result("seed=1")
    other.baseline["test_loss"] = 0.4
    seen = shown(capsys, result("seed=0"), other, result("seed=0", "a=b"))
    rows = [line.split()[1:3] for line in seen.splitlines() if line.startswith("│")]
    assert [row[0] for row in rows] == ["baseline", "seed=0", "seed=0", "baseline", "seed=1"] and rows[2][1] == "a=b"


def test_what_every_run_shares_is_said_once(capsys):
    seen = shown(capsys, result("kd=logit", "seed=0"), result("kd=logit", "seed=1"))
    assert seen.count("kd=logit") == 1 and "every run: kd=logit" in seen


def test_footnotes_where_a_reader_would_wonder(capsys):
    assert "zeros" not in shown(capsys, result())
    assert "zeros neither shorten a dense file" in shown(capsys, result(prune="scheduled"))
    assert "integers can be slower" in shown(capsys, result(quant="qat"))


def test_brackets_are_shown_as_they_are(capsys):
    seen = shown(capsys, result("prune.exclude=[conv1]"), result("prune.exclude=[fc1]"))
    assert "prune.exclude=[conv1]" in seen and "prune.exclude=[fc1]" in seen


def test_accuracies_under_perturbation_are_columns(capsys):
    one = result("seed=0")
    one.metrics["accuracy/rotation:5"], one.baseline["accuracy/rotation:5"] = 0.3, 0.4
    seen = shown(capsys, one)
    assert "test rotation:5 %" in seen and "30.00" in seen and "40.00" in seen


def test_a_narrow_terminal_gets_the_essential_columns_whole(capsys):
    made = dataset_table([result("kd.temperature=1")], [], narrow=True)
    assert [column.header for column in made.columns] == ["run", "val acc %", "test acc %", *ESSENTIAL]
    Console(width=80, markup=False).print(made)
    assert "kd.temperature=1" in capsys.readouterr().out


def test_a_past_sweep_is_shown_again(tmp_path):
    result("seed=0", "x=[a]").write(tmp_path / "0")
    command = [sys.executable, "-m", "lcomp.report", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and "seed=0 x=[a]" in done.stdout


def test_nothing_finished_is_no_table(capsys):
    assert shown(capsys, Result("failed")).strip() == "Records and artifacts: folder"
