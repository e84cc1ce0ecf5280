"""The studies on CIFAR-10: their experiments, and the tables of records whose figures can be checked by hand."""

from pathlib import Path

import pytest
from records import experiment as write

from lcomp.config import run_config
from lcomp.config.composition import compose
from lcomp.config.run_spec import parse
from lcomp.report import cifar10
from lcomp.report.cifar10 import cifar10_tables
from lcomp.report.page import all_tables
from lcomp.report.paper import runs_by_experiment

NAMES = sorted(path.stem for path in (run_config.folder() / "experiment").glob("cifar10_*.yaml"))
OWN = [name for name in NAMES if not name.startswith(("cifar10_baseline_", cifar10.DISTILLED))]
OF_STUDIES = [name for name in OWN if not name.startswith("cifar10_record_")]
PAGE = (Path(__file__).parents[1] / "docs/cifar10.md").read_text()


def test_every_row_is_an_experiment_and_stands_on_the_page():
    assert {row.name for row in cifar10.ROWS} == set(OWN)
    assert all(row.published in PAGE for row in cifar10.ROWS)


@pytest.mark.parametrize("name", OF_STUDIES)
def test_studies_start_from_one_file_and_take_thirty_epochs(name):
    spec = parse(compose([f"experiment={name}", "trainer.max_epochs=2"]))
    whole = parse(compose([f"experiment={name}"]))
    assert (spec.trainer.max_epochs, whole.trainer.max_epochs) == (2, 30)
    assert spec.config["baseline"] == parse(compose(["experiment=cifar10_resnet20"])).config["baseline"]
    assert spec.config["task"]["label_smoothing"] == 0 and set(spec.config["perturb"]) == {"crop", "flip"}
    depth = {3: 20, 9: 56}[spec.config["model"]["blocks"]]
    head = (run_config.folder() / "experiment" / f"{name}.yaml").read_text()
    assert f"baseline.weights=resnet{depth}-" in head
    assert bool(spec.config["robustness"]) == (depth == 20)  # of studies 1 and 4


def row_of(table, label):
    [found] = [dict(zip(table.headings, row, strict=True)) for row in table.rows if row[0] == label]
    return found


def test_rows_stand_beside_what_was_published_and_what_they_started_from(tmp_path):
    for seed, accuracy in enumerate((0.92, 0.93)):
        more = {"packed_bytes": 51_000 + 1000 * seed, "nonzero_parameters": 200_000, "macs": 50.0}
        write(tmp_path, "cifar10_lsq_2", seed, 0.9, "cifar10", test_accuracy=accuracy, **more)
    write(tmp_path, "cifar10_size_20_kd", 0, 0.9, "cifar10")
    write(tmp_path, "cifar10_kd_dkd", 0, 0.9, "cifar10")
    machine, low, distilled, sizes = all_tables([tmp_path])
    assert machine.title == "This machine" and ["processor", "a processor"] in machine.rows
    row = row_of(low, "2 bits, learned steps")
    assert (row["n"], row["published acc %"], row["test acc %"]) == ("2", "APoT 90.96 (-2.00)", "92.50 ± 0.71")
    assert row["points"] == "-4.50 ± 0.71"  # the baseline's 97 %
    assert (row["packed bytes"], row["weights left"]) == ("51500 ± 707", "200000 ± 0")
    assert row["hours"] == "0.0 ± 0.0" and row["MACs"] == ""  # the baseline's are not in its record
    assert low.notes[-1].startswith("Not run: ResNet-20, the public file;") and "2 bits" not in low.notes[-1]
    assert [row[0] for row in distilled.rows] == ["dkd"] and len(distilled.notes) == 1
    assert [row[0] for row in sizes.rows] == ["20 KB:", "narrower, distilled"]
    assert "250 KB: pruned;" in sizes.notes[-1]


def test_corruptions_are_held_against_the_own_baseline(tmp_path):
    seen = {"accuracy/cifar10_c/fog": 0.6, "accuracy/cifar10_c/contrast": 0.8, "accuracy/cifar10_c/fog:1": 0.1}
    write(tmp_path, "cifar10_lsq_4", 0, 0.9, "cifar10", mce=1.25, relative_mce=1.5, **seen)
    write(tmp_path, "cifar10_prune_2x", 0, 0.9, "cifar10")
    *_, table = cifar10_tables(runs_by_experiment(tmp_path))
    assert table.title.startswith("Robustness") and len(table.rows) == 2  # and the line above
    row = row_of(table, "4 bits, learned steps")
    assert (row["corrupted acc %"], row["mCE"], row["relative mCE"]) == ("70.00", "1.25", "1.50")
    assert row["worst corruption"] == "fog 60.0" and row["breaks most"] == ""  # its baseline has none


def test_studies_stand_beside_the_papers_tables_of_another_data_set(tmp_path):
    write(tmp_path, "paper_kd_t1", 0, 0.9)
    write(tmp_path, "cifar10_lsq_2", 0, 0.9, "cifar10")
    titles = [table.title for table in all_tables([tmp_path])]
    assert titles[0] == "Table I: this machine" and titles[-1].startswith("Low bits")


def test_nothing_run_is_no_table(tmp_path):
    write(tmp_path, "cifar10_baseline_resnet8", 0, 0.9, "cifar10")
    assert all_tables([tmp_path]) == []
