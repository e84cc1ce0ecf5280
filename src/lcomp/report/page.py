"""`report.html`: one file that holds a report's data, its script and Plotly's, and asks nothing of any network."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from lcomp.errors import needing
from lcomp.record.escaping import one_line
from lcomp.record.files import Jsonable
from lcomp.record.plain import PlainValue
from lcomp.report import charts, cifar10, packed_data, paper, records, robustness, study, survey
from lcomp.report.rows import TABLES
from lcomp.report.runs import ReportRun
from lcomp.report.text_table import TextTable

log = logging.getLogger("lcomp")
FILE = "report.html"
WHOLE = ("metrics", "settings", "params")  # what the page writes into tables for others to compute on
SCRIPTS = (  # as they follow one another in the page; the last one draws it
    "state", "fields", "plots", "chart_keys", "brush", "filters", "recommend", "front", "table", "record", "compare",
    "parameters", "seeds", "robustness", "learning", "address", "download", "page",
)  # fmt: skip
UNPACK = "unpack"  # before them in a large report
Experiments = Mapping[str, Sequence[paper.PaperRun]]


def render_page(
    runs: Sequence[ReportRun],
    sheets: Sequence[TextTable],
    folders: Sequence[Path],
    folder: Path,
    summary: str = "",
    data: dict[str, Jsonable] | None = None,
    css: str = "",
    js: str = "",
) -> str:
    """The page's text; links in it are relative to `folder`.

    Args:
        summary: what it says of its runs at its top; empty is the `page_summary` of `runs`.
        data: those of `report_data`, where they are made already.
        css, js: what follows the page's own style and script.
    """
    summary = summary or page_summary(runs)
    with needing("report", FILE):
        from plotly.offline import get_plotlyjs

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(source("page.html"))
    shown = (report_data(runs, folders, folder) if data is None else data) | {"summary": summary}
    parts = {
        "data": embedded(shown),
        "plotly": get_plotlyjs(),
        "js": "\n".join([*(source(f"scripts/{name}.js") for name in SCRIPTS), js]),
    }
    is_large = len(parts["data"]) > packed_data.PACKED_FROM
    if is_large:
        parts["data"] = json.dumps(in_columns(shown), separators=(",", ":"), allow_nan=False)
        parts = {name: packed_data.compressed(text) for name, text in parts.items()}
    return template.render(
        title=title(folders),
        summary=summary,
        origin=origin(runs),
        css=source("page.css") + css,
        scheme=source("scripts/scheme.js"),
        sheets=sheets,
        unpack=source(f"scripts/{UNPACK}.js") if is_large else "",
        **parts,
    )


def report_data(runs: Sequence[ReportRun], folders: Sequence[Path], folder: Path) -> dict[str, Jsonable]:
    """What the page draws, and what its `lcomp.update` takes, once `rounded`; paths in it are relative to `folder`."""
    figures = study.study_figures(folders)
    data = charts.page_data(runs, folder, study.trial_numbers(folders))
    return data | {"figures": figures, "summary": page_summary(runs)}


def title(folders: Sequence[Path]) -> str:
    return f"lcomp: {', '.join(sorted({one_line(folder.resolve().name) for folder in folders}))}"


def source(name: str) -> str:
    return files("lcomp.report").joinpath(name).read_text(encoding="utf-8")


def embedded(value: Jsonable) -> str:
    """JSON that can stand inside a script element, whatever it holds."""
    text = json.dumps(rounded(value), separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def rounded(value: Jsonable, whole: bool = False) -> PlainValue:
    """Floats in seven digits, which no picture exceeds, those of `WHOLE` in all; what is not finite as null."""
    if isinstance(value, float):
        return (value if whole else float(f"{value:.7g}")) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: rounded(item, whole or name in WHOLE) for name, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [rounded(item, whole) for item in value]
    return value


def in_columns(data: Mapping[str, Jsonable]) -> dict[str, PlainValue]:
    """What `scripts/unpack.js` takes: as the page has it, its runs in columns."""
    return {
        name: packed_data.columns([row for row in value if isinstance(row, dict)])
        if name == "runs" and isinstance(value, list)
        else value
        for name, value in ((name, rounded(value, name in WHOLE)) for name, value in data.items())
    }


def page_summary(runs: Sequence[ReportRun]) -> str:
    """What the report is of, in a line."""
    counts: dict[str, int] = {}
    for run in runs:
        counts[run.result.status] = counts.get(run.result.status, 0) + 1
    statuses = ", ".join(f"{number} {status}" for status, number in sorted(counts.items(), key=lambda item: -item[1]))
    sets = {d["sha256"]: d for run in runs if (d := run.result.dataset)}
    data = "; ".join(
        f"{d['name']}: {d['train']:,} training, {d['val']:,} validation, {d['test']:,} test examples"
        for d in sets.values()
    )
    note = ""
    if any(d["name"] == "mnist5k" for d in sets.values()):
        note = " mnist5k is 5,000 of MNIST's digits: its figures compare with no other data set's."
    what = "run" if len(runs) == 1 else "runs"
    return f"{len(runs)} {what} ({statuses}). {f'{data}.' if data else 'None came as far as its data.'}{note}"


def origin(runs: Sequence[ReportRun]) -> str:
    """Where and when the figures were measured."""
    environments = [run.result.environment for run in runs if run.is_ok and run.result.environment]
    machines = ", ".join(sorted({str(environment.get("cpu")) for environment in environments}))
    commits = ", ".join(sorted({str(sha)[:10] for environment in environments if (sha := environment.get("git_sha"))}))
    written = datetime.now().strftime("%Y-%m-%d %H:%M")
    measured = f"Measured on {machines}" if machines else "Nothing was measured"
    return f"{measured}; {f'lcomp at {commits}; ' if commits else ''}report of {written}."


def all_tables(folders: Sequence[Path]) -> list[TextTable]:
    """The tables of the paper, of its survey, of robustness and of records, then those of the studies on CIFAR-10."""
    experiments: dict[str, list[paper.PaperRun]] = {}
    for name, runs in ((name, runs) for folder in folders for name, runs in paper.runs_by_experiment(folder).items()):
        seeds = {run.result.seed: run for run in [*experiments.get(name, []), *runs]}
        experiments[name] = [seeds[seed] for seed in sorted(seeds)]
    tables = [*TABLES.values(), *(group.rows for group in (*survey.GROUPS, *robustness.GROUPS)), records.ROWS]
    rows = {row.name for table in tables for row in table}
    of_paper = {name: runs for name, runs in experiments.items() if name.partition(paper.ON)[0] in rows}
    makers = (paper.paper_tables, survey.survey_tables, robustness.robustness_tables, records.record_tables)
    studies = {name: runs for name, runs in experiments.items() if cifar10.is_row(name)}
    return [*tables_of(of_paper, makers, "the paper"), *tables_of(studies, (cifar10.cifar10_tables,), "the studies")]


def tables_of(
    experiments: Experiments, makers: Sequence[Callable[[Experiments], list[TextTable]]], of: str
) -> list[TextTable]:
    """What the makers make of experiments that ran on one data set; nothing, and a line in the log, of several."""
    names = {run.result.dataset["sha256"]: run.result.dataset["name"] for runs in experiments.values() for run in runs}
    if len(names) > 1:
        several = ", ".join(sorted(names.values()))
        log.warning("runs of several data sets (%s): no tables of %s; name a folder of one", several, of)
    return [sheet for make in makers for sheet in make(experiments)] if len(names) == 1 else []
