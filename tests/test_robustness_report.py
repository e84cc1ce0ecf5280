"""The table of the study of robustness, of records whose figures can be checked by hand."""

import pytest
from records import experiment as write

from lcomp.record.result import FILE_NAME, perturbation_figures, read_result
from lcomp.record.summary_line import summary_line
from lcomp.report import robustness, wandb_report
from lcomp.report.page import all_tables
from lcomp.report.paper import runs_by_experiment
from lcomp.report.runs import load_runs


def corrupted(fog, zigzag, **more):
    return {"accuracy/mnist_c/fog": fog, "accuracy/mnist_c/zigzag": zigzag, "accuracy/mnist_c/fog:1": 0.1, **more}


@pytest.fixture
def folder(tmp_path):
    """The plain baseline and a pruned network over three seeds, an augmented one that has a seed of its own."""
    for seed in range(3):
        write(tmp_path, "robustness_baseline", seed, 0.9, gzip_bytes=160_000, mce=1.0, ece=0.01, **corrupted(0.6, 0.9))
        pruned = corrupted(0.4, 0.7, test_accuracy=0.95, gzip_bytes=40_000, ece=0.02, mce=9.0)  # its own baseline's
        write(tmp_path, "robustness_prune_95", seed, 0.8 if seed else 0.85, differing=0.03, **pruned)
        baseline_of(tmp_path / f"robustness_prune_95-{seed}-none", f"robustness_baseline-{seed}-none")
    more = corrupted(0.8, 0.95, attribution_correlation=0.7 / 0.9)
    for seed in (2, 7):
        write(tmp_path, "robustness_augmix_qat_4", seed, 0.95, gzip_bytes=32_000, **more)
    return tmp_path


def baseline_of(place, other):
    result = read_result(place / FILE_NAME)
    result.baseline_artifact = {"path": f"../{other}/artifact.onnx"}
    result.write(place)


def rows(tables):
    """The cells of both tables by their headings."""
    both = [[dict(zip(table.headings, row, strict=True)) for row in table.rows] for table in tables]
    return [one | other for one, other in zip(*both, strict=True)]


def test_rows_are_held_against_the_plain_baseline_of_their_seed(folder):
    clean, plain, pruned, augmented, quantized = rows(robustness.robustness_tables(runs_by_experiment(folder)))
    assert clean["row"] == "trained on clean examples:" and augmented["row"] == "trained with AugMix:"
    assert plain["mCE"] == plain["relative mCE"] == "1.00 ± 0.00" and plain["% of plain"] == "100.0 ± 0.0"
    assert plain["worst corruption"] == "fog 60.0" and plain["breaks most"] == ""
    assert (pruned["row"], pruned["n"], pruned["test acc %"]) == ("95 % pruned", "3", "95.00 ± 0.00")
    assert pruned["mCE"] == "2.25 ± 0.00"  # (0.6 / 0.4 + 0.3 / 0.1) / 2
    assert pruned["relative mCE"] == f"{((0.55 / 0.37) + (0.25 / 0.07)) / 2:.2f} ± 0.00"
    assert pruned["% of plain"] == "25.0 ± 0.0" and pruned["gzip KB"] == "40.00 ± 0.00"
    assert pruned["worst corruption"] == "fog 40.0" and pruned["breaks most"] == "zigzag 3.00x"
    assert (pruned["ECE %"], pruned["differing %"]) == ("2.00 ± 0.00", "3.00 ± 0.00")
    assert pruned["lost"] == "100" and pruned["attributions"] == ""  # two of three seeds lose those from 80 to 90 %
    assert quantized["mCE"] == "0.50" and quantized["n"] == "2"  # the plain baseline has no seed 7
    assert quantized["attributions"] == "0.78 ± 0.00" and quantized["lost"] == ""


def test_rows_without_the_plain_baseline_say_only_what_is_their_own(tmp_path):
    write(tmp_path, "robustness_binary", 0, 0.9, **corrupted(0.5, 0.6))
    _, row = rows([sheet for sheet in all_tables([tmp_path]) if sheet.title.startswith("Robustness")])
    assert row["mCE"] == row["% of plain"] == row["breaks most"] == "" and row["worst corruption"] == "fog 50.0"


def test_nothing_run_is_no_table(tmp_path):
    write(tmp_path, "paper_kd_t1", 0, 0.9)
    assert robustness.robustness_tables(runs_by_experiment(tmp_path)) == []


def test_fifteen_corruptions_are_one_figure_in_a_line(folder):
    result = read_result(folder / "robustness_prune_95-0-none" / FILE_NAME)
    result.metrics |= {"accuracy/rotation": 0.5, "class_drop/3": 0.1, "latency_us_p50": 1.0, "latency_ratio": 1.0}
    assert perturbation_figures(result.metrics, result.chosen_by) == ["accuracy/rotation"]
    said = summary_line(result)
    assert "rotation 50.00%" in said and said.endswith("mean corruption error 9.00x the baseline's")
    assert "fog" not in said and "class_drop" not in said


def test_w_and_b_s_report_has_a_front_of_corruption_errors(folder):
    def panels(runs):
        written = wandb_report.spec(runs, [], "a title", "team", "lcomp")
        grids = [block["metadata"] for block in written["spec"]["blocks"] if block["type"] == "panel-grid"]
        titles = [p["config"].get("chartTitle") for g in grids for p in g["panelBankSectionConfig"]["panels"]]
        return [str(title) for title in titles], str(grids)

    titles, everything = panels(load_runs([folder]))
    assert any("corruption error against size" in title for title in titles) and "relative_mce" in everything
    titles, everything = panels([run for run in load_runs([folder]) if "augmix" in str(run.folder)])
    assert not any("corruption" in title for title in titles) and "relative_mce" not in everything
