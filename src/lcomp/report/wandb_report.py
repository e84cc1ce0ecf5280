"""A W&B report of the runs under a folder: what is compared, panel by panel, with or without a server."""

from __future__ import annotations

import importlib
import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lcomp.errors import UserError, check_installed, needing
from lcomp.record.files import write_atomically
from lcomp.record.plain import PlainValue
from lcomp.report.runs import ReportRun, numeric_params, selection_metric
from lcomp.report.text_table import TextTable
from lcomp.tracking.wandb_logger import FOLDER, sync_command

if TYPE_CHECKING:
    from wandb_workspaces.reports.v2.interface import Report, Runset

AXES = ("prune.sparsity", "quant.bits", "kd.temperature")  # of the parallel coordinates, in any report
ROBUST = ("mce", "relative_mce", "ece", "differing", "pies")  # columns where robustness was asked for
WIDTH = 24  # columns of a W&B grid


def check_packages() -> None:
    """Raises UserError where the extra `wandb-report` is not installed."""
    check_installed("wandb-report", "--wandb", "wandb_workspaces")


def build_report(
    runs: Sequence[ReportRun], sheets: Sequence[TextTable], title: str, entity: str, project: str
) -> Report:
    """The report: run comparer, parallel coordinates, fronts, curves, the paper's tables.

    Args:
        entity: a user or a team; without a project nothing asks the server.
    """
    with needing("wandb-report", "--wandb"), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of pydantic, about this package
        wr = importlib.import_module("wandb_workspaces.reports.v2")  # its types are not exported

    config, summary = wr.Config, wr.SummaryMetric
    columns = [*AXES, *(name for name in numeric_params(runs) if name not in AXES)]
    figures = ("val_accuracy", "test_accuracy", "gzip_bytes", "latency_us_p50", "latency_ratio", "sparsity")
    parallel = wr.ParallelCoordinatesPlot(
        title="Sparsity, bits and temperature against accuracy and size",
        columns=[
            *(wr.ParallelCoordinatesPlotColumn(config(name)) for name in columns),
            wr.ParallelCoordinatesPlotColumn(summary("gzip_bytes"), log=True),
            wr.ParallelCoordinatesPlotColumn(summary("val_accuracy")),
        ],
        layout=wr.Layout(0, 0, WIDTH, 10),
    )
    size = wr.ScatterPlot(
        title="Validation accuracy against size: towards the upper left is better",
        x=summary("gzip_bytes"),
        y=summary("val_accuracy"),
        log_x=True,
        running_ymax=True,  # the front, from the smallest file on
        layout=wr.Layout(0, 10, WIDTH // 2, 9),
    )
    latency = wr.ScatterPlot(
        title="Validation accuracy against latency over the own baseline's",
        x=summary("latency_ratio"),
        y=summary("val_accuracy"),
        running_ymax=True,
        layout=wr.Layout(WIDTH // 2, 10, WIDTH // 2, 9),
    )
    corrupted = [run for run in runs if run.result.metrics.get("mce") is not None]
    drawn = selection_metric(corrupted)
    split = "validation" if drawn == "val_mce" else "test"
    errors = wr.ScatterPlot(
        title=f"Mean corruption error against size, of {split} examples: towards the lower left is better",
        x=summary("gzip_bytes"),
        y=summary(drawn),
        log_x=True,
        log_y=True,
        running_ymin=drawn == "val_mce",  # nothing is chosen on test examples
        layout=wr.Layout(0, 19, WIDTH, 9),
    )
    names = sorted({name for run in runs for name in run.result.epochs if "/" not in name and name != "seconds"})
    curves = [
        wr.LinePlot(title=name, x="epoch", y=[name], layout=wr.Layout(8 * (n % 3), 8 * (n // 3), 8, 8))
        for n, name in enumerate(names or ["val_accuracy"])
    ]
    sweeps = sorted({run.group for run in runs})

    def runset() -> Runset:
        chosen = ", ".join(json.dumps(name) for name in sweeps)
        shown: Runset = wr.Runset(
            entity=entity,
            project=project,
            name=", ".join(sweeps)[:120],
            filters=f"Group in [{chosen}]",
            visible_columns=[f"summary:{name}" for name in (*figures, *(ROBUST if corrupted else ()))],
        )
        return shown

    report: Report = wr.Report(
        entity=entity,
        project=project,
        title=title[:128],
        description="Made by python -m lcomp.report",
        width="fluid",
        blocks=[
            wr.H1("Trade-offs"),
            wr.PanelGrid(runsets=[runset()], panels=[parallel, size, latency, *([errors] if corrupted else [])]),
            wr.H1("Run by run"),
            wr.PanelGrid(
                runsets=[runset()], panels=[wr.RunComparer(diff_only="split", layout=wr.Layout(0, 0, WIDTH, 14))]
            ),
            wr.H1("While they learned"),
            wr.PanelGrid(runsets=[runset()], panels=curves),
            *([wr.H1("The paper's tables")] if sheets else []),
            *(wr.MarkdownBlock(sheet.text("markdown")) for sheet in sheets),
        ],
    )
    return report


def spec(
    runs: Sequence[ReportRun], sheets: Sequence[TextTable], title: str, entity: str, project: str
) -> dict[str, PlainValue]:
    """The same report as W&B stores it, made without a server: only the project's number is not in it."""
    model = build_report(runs, sheets, title, entity, "")._to_model()
    written = json.loads(model.spec.model_dump_json(by_alias=True, exclude_none=True))
    for block in written["blocks"]:
        for runset in block.get("metadata", {}).get("runSets", ()):
            runset["project"] = {"entityName": entity, "name": project}
    return {"displayName": title, "entityName": entity, "projectName": project, "type": "runs", "spec": written}


def publish(runs: Sequence[ReportRun], sheets: Sequence[TextTable], title: str, entity: str, project: str) -> str:
    """Saves the report on the server; returns its address.

    Raises:
        UserError: runs are not there yet, or the server cannot be reached.
    """
    check_synced(runs)
    try:
        return str(build_report(runs, sheets, title, entity, project).save().url)
    except Exception as error:  # whatever W&B's client raises
        cause = " ".join(str(error).split())[:300]
        raise UserError(
            f"--wandb {entity}/{project}: W&B refused ({type(error).__name__}: {cause}); wandb login?"
        ) from error


def check_synced(runs: Sequence[ReportRun]) -> None:
    """Raises UserError, with the command that mends it, where W&B has not got a run."""
    waiting, missing = [], []
    for run in runs:
        wandb_files = list(run.folder.glob(f"{FOLDER}/*run-*/*.wandb"))
        if not wandb_files:
            missing.append(run)
        elif any("offline-run" in str(path) and not path.with_suffix(".wandb.synced").exists() for path in wandb_files):
            waiting.append(run)
    if waiting:
        folders = sorted({run.folder.parent for run in waiting})
        commands = " ; ".join(command for folder in folders if (command := sync_command(folder)))
        raise UserError(f"--wandb: {len(waiting)} of {len(runs)} runs are not synced; first: {commands}")
    if missing:
        raise UserError(
            f"--wandb: {len(missing)} of {len(runs)} runs were never mirrored (logger=none?): {missing[0].folder}"
        )


def destination(text: str) -> tuple[str, str]:
    """`entity/project`, taken apart.

    Raises:
        UserError: it is not that.
    """
    entity, slash, project = text.partition("/")
    if not (entity and slash and project) or "/" in project:
        raise UserError(f"--wandb {text}: write entity/project, as in --wandb my-team/lcomp")
    return entity, project


def write_spec(path: Path, written: dict[str, PlainValue]) -> None:
    write_atomically(path, json.dumps(written, indent=1).encode())
