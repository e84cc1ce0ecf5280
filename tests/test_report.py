"""The paper's tables from records, and the statistics beneath them."""

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from records import experiment as write

from lcomp.config import run_config
from lcomp.record.result import Result
from lcomp.report import records, robustness, survey
from lcomp.report.paper import paper_tables, runs_by_experiment
from lcomp.report.rows import DIFFERENCES, TABLES
from lcomp.report.statistics import difference, mean_and_std
from lcomp.report.text_table import TextTable


def test_every_row_of_the_report_is_an_experiment():
    names = {path.stem for path in (run_config.folder() / "experiment").glob("*.yaml")}
    files = {name for name in names if not name.startswith(("cifar10_", "sst2_"))}  # of studies of their own
    rows = [
        row.name
        for rows in [*TABLES.values(), *(group.rows for group in (*survey.GROUPS, *robustness.GROUPS)), records.ROWS]
        for row in rows
    ]
    assert set(rows) == files
    assert {name for pair in DIFFERENCES for name in pair} <= set(rows)


def test_survey_holds_each_row_against_the_first_of_its_group(tmp_path):
    for seed in (0, 1):
        write(tmp_path, "survey_prune_constant", seed, 0.90)
        write(tmp_path, "survey_prune_taylor", seed, 0.95, stream_bytes=4_000)
    write(tmp_path, "survey_prune_random", 7, 0.80)
    [table] = survey.survey_tables(runs_by_experiment(tmp_path))
    title, constant, taylor, other = [dict(zip(table.headings, row, strict=True)) for row in table.rows]
    assert title["row"] == "95 % of the weights pruned:" and title["n"] == ""
    assert constant["verdict"] == "" and constant["n"] == "2" and constant["stream KB"] == ""
    assert (taylor["points"], taylor["verdict"], taylor["stream KB"]) == ("+5.00", "better", "4.00 ± 0.00")
    assert taylor["x test set"] == "1.00 ± 0.00" and taylor["training s"] == "30 ± 0"
    assert (other["row"], other["verdict"]) == ("random, cubic", "")  # no seed in common


def test_surveys_baseline_costs_its_own_training(tmp_path):
    write(tmp_path, "survey_baseline", 0, 0.9)
    [table] = survey.survey_tables(runs_by_experiment(tmp_path))
    assert dict(zip(table.headings, table.rows[1], strict=True))["training s"] == "75"


def test_records_show_the_worst_seed_and_the_largest_file(tmp_path):
    for seed, accuracy, size in ((0, 0.991, 1_100), (1, 0.993, 1_200)):
        write(tmp_path, "record_1kb", seed, accuracy, test_accuracy=accuracy, packed_bytes=size)
    [table] = records.record_tables(runs_by_experiment(tmp_path))
    [row] = [dict(zip(table.headings, row, strict=True)) for row in table.rows]
    assert (row["test acc %"], row["worst"]) == ("99.20 ± 0.14", "99.10")
    assert (row["packed bytes"], row["most"]) == ("1150 ± 71", "1200")


def test_rows_hold_the_papers_figures_beside_mean_spread_and_n(tmp_path):
    for seed, accuracy in enumerate((0.97, 0.98, 0.99)):
        write(tmp_path, "paper_kd_t1", seed, 0.97, test_accuracy=accuracy)
    [_, table] = [s for s in paper_tables(runs_by_experiment(tmp_path)) if s.title.startswith(("Table I:", "Table IV"))]
    [row] = table.rows
    assert row[:6] == ["distillation T = 1", "3", "97.69", "98.00 ± 1.00", "43.53", "43.21 ± 0.00"]
    assert row[-2:] == ["30 ± 0", ""]


@pytest.mark.parametrize(
    ("accuracies", "kilobytes", "verdict"),
    [
        ((0.96, 0.99), 43_535, ""),
        ((0.9700, 0.9701), 43_535, "accuracy"),
        ((0.9769,), 39_000, "bytes"),
        ((0.97, 0.9701), 48_000, "accuracy, bytes"),
    ],
)
def test_rows_far_from_the_papers_are_named(tmp_path, accuracies, kilobytes, verdict):
    for seed, accuracy in enumerate(accuracies):
        write(tmp_path, "paper_kd_t1", seed, 0.97, test_accuracy=accuracy, gzip_bytes=kilobytes)
    [table] = [s for s in paper_tables(runs_by_experiment(tmp_path)) if s.title.startswith("Table IV")]
    assert table.rows[0][-1] == verdict


def test_tables_beyond_the_papers_have_no_column_of_its_figures(tmp_path):
    write(tmp_path, "size_10_prune", 0, 0.97)
    write(tmp_path, "somebody's own", 0, 0.97)
    [_, table] = paper_tables(runs_by_experiment(tmp_path))
    assert table.title == "At 10 KB" and not any("paper" in heading for heading in table.headings)
    assert table.rows == [["10 KB: LeNet-5, pruned", "1", "97.00", "43.21", "0.123", "30"]]


def test_differences_are_paired_and_decided_by_their_interval(tmp_path):
    for seed in (0, 1):
        write(tmp_path, "paper_quant_qat", seed, 0.95)
        write(tmp_path, "paper_quant_static", seed, 0.90)
        write(tmp_path, "paper_quant_dynamic", seed, 0.95)
    [table] = [s for s in paper_tables(runs_by_experiment(tmp_path)) if s.title == "Differences"]
    same, better = sorted(table.rows, key=lambda row: float(row[2]))
    assert same[2:] == ["+0.00", "+0.00 to +0.00", "undecided"] and same[1] == "2"
    assert better[2] == "+5.00" and better[4] == "better"


@settings(max_examples=20)
@given(st.integers(0, 1000))
def test_interval_holds_the_mean_and_turns_with_the_sign(seed):
    random = np.random.default_rng(seed)
    one, other = random.random((2, 3, 200)) < 0.9
    seen, turned = difference(list(one), list(other)), difference(list(other), list(one))
    assert seen.low <= seen.mean <= seen.high and turned.mean == pytest.approx(-seen.mean)
    assert seen.mean == pytest.approx(one.mean() - other.mean())


def test_interval_is_that_of_the_normal_approximation_where_that_is_good():
    random = np.random.default_rng(0)
    one, other = random.random(10_000) < 0.97, random.random(10_000) < 0.96
    seen, paired = difference([one], [other]), one.astype(float) - other
    assert seen.high - seen.low == pytest.approx(2 * 1.96 * paired.std() / 100, rel=0.1)


def test_spread():
    assert mean_and_std([1.0], 2) == "1.00" and mean_and_std([1.0, 3.0], 1) == "2.0 ± 1.4"


def test_forms_of_a_sheet():
    sheet = TextTable("T", ("row", "n"), [["a, b", "1"]], ["note"])
    assert sheet.text("csv") == 'T\nrow,n\n"a, b",1\n'
    assert sheet.text("markdown") == "**T**\n\n| row | n |\n|---|---:|\n| a, b | 1 |\n\nnote\n"
    assert all(part in sheet.text("terminal") for part in ("T", "row", "a, b", "note"))


def report(*arguments):
    return subprocess.run([sys.executable, "-m", "lcomp.report", *arguments], capture_output=True, text=True)


def test_command_prints_the_tables_and_refuses_what_it_cannot_print(tmp_path):
    done = report(str(tmp_path))
    assert done.returncode == 1 and "no record in it" in done.stderr
    write(tmp_path, "paper_quant_qat", 0, 0.9)
    (tmp_path / "broken").mkdir()
    Result("failed", name="paper_quant_qat").write(tmp_path / "broken")
    done = report(str(tmp_path), "--format", "markdown")
    assert done.returncode == 0 and "| quantization-aware training | 1 | 98.32 | 97.00 |" in done.stdout
    write(tmp_path, "paper_quant_static", 0, 0.9, data="mnist5k")
    done = report(str(tmp_path))
    assert done.returncode == 0 and "several data sets (mnist, mnist5k)" in done.stderr
    assert "Table III" not in done.stdout and done.stdout.count("54,000 training") == 2


def test_of_two_runs_with_one_name_and_seed_the_later_counts(tmp_path):
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    write(tmp_path / "a", "paper_kd_t1", 0, 0.5)
    write(tmp_path / "b", "paper_kd_t1", 0, 0.6, test_accuracy=0.6)
    [run] = runs_by_experiment(tmp_path)["paper_kd_t1"]
    assert run.result.metrics["test_accuracy"] == 0.6 and run.correct.mean() == 0.6
    assert json.loads((tmp_path / "a" / "paper_kd_t1-0-none" / "result.json").read_text())["seed"] == 0


def test_perturbed_training_stands_beside_clean_training_and_apart_from_the_papers_rows(tmp_path):
    key = "accuracy/rotation"
    write(tmp_path, "paper_kd_t1", 0, 0.9, **{key: 0.5})
    write(tmp_path, "paper_kd_t1", 0, 0.9, perturb="mixed", **{key: 0.7})
    write(tmp_path, "paper_kd_t1", 1, 0.9, perturb="mixed", **{key: 0.8})
    made = {sheet.title: sheet for sheet in paper_tables(runs_by_experiment(tmp_path))}
    assert made["Perturbed data: test accuracy %"].rows == [
        ["distillation T = 1", "clean", "1", "97.0", "50.0"],
        ["distillation T = 1", "mixed", "2", "97.0 ± 0.0", "75.0 ± 7.1"],
    ]
    assert [row[1] for row in made["Table IV: distillation"].rows] == ["1"]
