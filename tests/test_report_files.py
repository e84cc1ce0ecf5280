"""The report's command: Markdown, CSV, W&B's description, and what it refuses."""

import csv
import json
import socket
import sys

import pytest
from records import record

from lcomp.errors import UserError
from lcomp.record.escaping import markdown
from lcomp.report import __main__ as command
from lcomp.report import wandb_report
from lcomp.report.runs import load_runs, run_label, seed_groups


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "sweep"
    for number, (bits, seed) in enumerate([(4, 0), (4, 1), (8, 0), (8, 1)]):
        asked = ("quant=qat", f"quant.bits={bits}", f"seed={seed}")
        record(
            place / str(number),
            *asked,
            choices={"quant": "qat"},
            params={"quant.bits": bits},
            seed=seed,
            accuracy=0.8 + bits / 100,
            epochs={"val_accuracy": [0.5]},
        )
    (place).mkdir(exist_ok=True)
    (place / "sweep.json").write_text("{}")
    record(place / "4", "kd=logit", "x=<b>|", status="failed", error="a | b", choices={"kd": "logit"})
    return place


def call(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["report", *map(str, arguments)])
    return command.main()


def test_the_command_writes_its_files_and_names_the_page(folder, monkeypatch, capsys):
    assert call(monkeypatch, folder) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"Report: {folder / 'report.html'}"
    assert {path.name for path in folder.iterdir() if path.is_file()} == {
        "report.html",
        "report.md",
        "results.csv",
        "results.parquet",
        "sweep.json",
    }


def test_csv_has_every_run_and_figure(folder, monkeypatch):
    call(monkeypatch, folder)
    rows = list(csv.DictReader((folder / "results.csv").read_text().splitlines()))
    assert len(rows) == 5 and rows[2]["params.quant.bits"] == "8" and float(rows[2]["metrics.test_accuracy"]) == 0.88
    assert rows[4]["status"] == "failed" and rows[4]["command"] == "python -m lcomp kd=logit 'x=<b>|'"


def test_csv_has_what_chooses_before_the_other_figures_whichever_run_comes_first(folder, monkeypatch):
    record(folder.parent / "another" / "0", "x=1", status="failed", error="why")
    call(monkeypatch, folder.parent / "another", folder, "--out", folder.parent / "both")
    header = (folder.parent / "both" / "results.csv").read_text().splitlines()[0].split(",")
    figures = [name for name in header if name.startswith("metrics.")]
    assert figures[:2] == ["metrics.val_accuracy", "metrics.test_accuracy"]
    assert header.index("command") > header.index("seconds.total") > header.index(figures[-1])


def test_each_data_set_has_pictures_and_a_table_of_its_own(folder, monkeypatch):
    for number in range(5, 7):
        made = record(folder / str(number), "data=mnist", f"x={number}", accuracy=0.97)
        made.dataset |= {"name": "mnist", "sha256": "d" * 64}
        made.write(folder / str(number))
    call(monkeypatch, folder)
    text = (folder / "report.md").read_text()
    assert "validation accuracy against size gzip'd, KB on mnist5k](report/front-size.png)" in text
    assert "validation accuracy against size gzip'd, KB on mnist](report/front-size-1.png)" in text
    assert text.count("best on validation first, on mnist") == 2


def test_w_and_b_s_fronts_are_of_validation_and_of_ratios(folder):
    written = wandb_report.spec(load_runs([folder]), [], "a title", "team", "lcomp")
    grids = [block["metadata"] for block in written["spec"]["blocks"] if block["type"] == "panel-grid"]
    panels = [panel["config"] for grid in grids for panel in grid["panelBankSectionConfig"]["panels"]]
    size, latency = [panel for panel in panels if panel.get("yAxis")]
    assert (size["xAxis"], size["yAxis"]) == ("summary:gzip_bytes", "summary:val_accuracy")
    assert (latency["xAxis"], latency["yAxis"]) == ("summary:latency_ratio", "summary:val_accuracy")


def test_markdown_groups_seeds_and_escapes(folder, monkeypatch):
    call(monkeypatch, folder)
    text = (folder / "report.md").read_text()
    assert (
        "| quant=qat quant.bits=8 | 2 | 87.00 ± 0.00 | 88.00 ± 0.00 | 40.00 ± 0.00 | 20.5 ± 0.0 | 0.60 ± 0.00 | -7.00 ("
        in text.replace("\\", "")
    )
    assert "| kd=logit x=&lt;b&gt;\\| | failed | a \\| b |" in text
    for picture in ("front-size.png", "front-latency.png", "effects.png"):
        assert f"(report/{picture})" in text and (folder / "report" / picture).read_bytes()[1:4] == b"PNG"


def test_cells():
    assert markdown("a|b<c>*_`[x]") == "a\\|b&lt;c&gt;\\*\\_\\`\\[x\\]"


def test_several_sweeps_lie_in_one_report(folder, monkeypatch, capsys):
    record(folder.parent / "other" / "0", "kd=logit", "kd.temperature=9", choices={"kd": "logit"})
    assert call(monkeypatch, folder, folder.parent / "other", "--out", folder.parent / "both") == 0
    assert "kd.temperature=9" in (folder.parent / "both" / "report.html").read_text()
    assert "quant.bits=4" in (folder.parent / "both" / "report.html").read_text()


def test_a_form_is_printed_and_nothing_written(folder, monkeypatch, capsys):
    assert call(monkeypatch, folder, "--format", "csv") == 0
    assert not (folder / "report.html").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "no record in it"),
        (["FOLDER", "--wandb", "me"], "write entity/project"),
        (["FOLDER", "--wandb", "me/it/x"], "write entity/project"),
        (["FOLDER", "--wandb", "me/it"], "never mirrored"),
    ],
)
def test_what_is_refused(folder, monkeypatch, capsys, arguments, said):
    assert call(monkeypatch, *[folder if a == "FOLDER" else a for a in arguments]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert said in line


def offline_run(folder, number, synced):
    place = folder / str(number) / "wandb" / "offline-run-1-abc"
    place.mkdir(parents=True)
    (place / "run-abc.wandb").touch()
    if synced:
        (place / "run-abc.wandb.synced").touch()


def test_runs_that_are_not_synced_are_refused_with_the_command(folder):
    for number in range(5):
        offline_run(folder, number, synced=number != 2)
    with pytest.raises(
        UserError, match=r"1 of 5 runs are not synced; first: wandb sync .*sweep/\*/wandb/offline-run-\*"
    ):
        wandb_report.check_synced(load_runs([folder]))
    (folder / "2/wandb/offline-run-1-abc/run-abc.wandb.synced").touch()
    wandb_report.check_synced(load_runs([folder]))


def test_the_description_is_made_without_a_server(folder, monkeypatch, tmp_path):
    def refuse(*_):
        raise AssertionError("a socket was asked for")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert call(monkeypatch, folder, "--wandb", "team/lcomp", "--wandb-spec", tmp_path / "spec.json") == 0
    written = json.loads((tmp_path / "spec.json").read_text())
    assert (written["entityName"], written["projectName"]) == ("team", "lcomp")
    grids = [block["metadata"] for block in written["spec"]["blocks"] if block["type"] == "panel-grid"]
    panels = [panel for grid in grids for panel in grid["panelBankSectionConfig"]["panels"]]
    kinds = [panel["viewType"] for panel in panels]
    assert kinds.count("Scatter Plot") == 2 and {
        "Parallel Coordinates Plot",
        "Run Comparer",
        "Run History Line Plot",
    } <= set(kinds)
    [parallel] = [panel for panel in panels if panel["viewType"] == "Parallel Coordinates Plot"]
    figures = ["summary:gzip_bytes", "summary:val_accuracy"]
    axes = [column["accessor"] for column in parallel["config"]["columns"]]
    assert axes == ["config:prune.value.sparsity", "config:quant.value.bits", "config:kd.value.temperature", *figures]
    for grid in grids:
        [runset] = grid["runSets"]
        assert runset["project"] == {"entityName": "team", "name": "lcomp"}
        assert "sweep" in json.dumps(runset["filters"])


def test_seeds_are_grouped_and_labels_hold_what_differs(folder):
    runs = load_runs([folder])
    assert [run.label for run in runs][:2] == ["quant=qat quant.bits=4 seed=0", "quant=qat quant.bits=4 seed=1"]
    assert [len(group.runs) for group in seed_groups(runs)] == [2, 2]
    assert run_label(runs[0].result, runs[0].result.overrides) == "qat"


def test_a_seed_counts_once_and_foreign_files_not_at_all(folder, caplog):
    record(folder.parent / "again" / "0", "quant=qat", "quant.bits=4", "seed=0", choices={"quant": "qat"}, accuracy=0.5)
    (folder.parent / "again" / "1").mkdir()
    (folder.parent / "again" / "1" / "result.json").write_text('{"loss": 1}')
    (folder.parent / "again" / "2").mkdir()
    (folder.parent / "again" / "2" / "result.json").write_text("[")
    found = seed_groups(load_runs([folder.parent, folder]))
    assert [len(group.runs) for group in found] == [2, 2] and round(found[0].mean("test_accuracy"), 2) in (0.84, 0.67)
    assert caplog.text.count("; left out") == 2


def test_a_later_try_takes_the_place_of_an_earlier_one(folder):
    record(folder / "5", "kd=logit", "x=<b>|", choices={"kd": "logit"})
    runs = load_runs([folder])
    assert len(runs) == 5 and all(run.is_ok for run in runs)
