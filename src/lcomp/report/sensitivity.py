"""Scores as tables in the terminal, `sensitivity.csv` and `sensitivity.html`."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from rich.console import Console
from rich.table import Table

from lcomp.errors import needing
from lcomp.evaluation.sensitivity import Score
from lcomp.record.files import Jsonable, write_atomically
from lcomp.report.page import embedded, source

CSV, HTML = "sensitivity.csv", "sensitivity.html"
KINDS = {"sparsity": "Pruned by magnitude to a sparsity", "bits": "Weights quantized to bits"}


def show(scores: Sequence[Score]) -> None:
    """Prints a table of each kind: layers by choices, the change of validation accuracy in points."""
    console = Console(width=None if Console().is_terminal else 160, markup=False)
    for kind, title in KINDS.items():
        if not any(score.kind == kind for score in scores):
            continue
        rendered = Table(title=f"{title}: change of validation accuracy, points")
        rendered.add_column("layer", overflow="fold")
        rendered.add_column("share of weights", justify="right")
        for value in values(scores, kind):
            rendered.add_column(f"{value:g}", justify="right", no_wrap=True)
        for layer, layer_scores in by_layer(scores, kind).items():
            rendered.add_row(layer, f"{layer_scores[0].share:.1%}", *(points(score.change) for score in layer_scores))
        console.print(rendered)
    base = scores[0].accuracy - scores[0].change
    console.print(f"Unchanged: {base:.2%} on the validation examples. One layer at a time, nothing trained after it.")


def points(change: float) -> str:
    return f"{100 * change:+.2f}" if change else "0.00"


def values(scores: Sequence[Score], kind: str) -> list[float]:
    return list(dict.fromkeys(score.value for score in scores if score.kind == kind))


def by_layer(scores: Sequence[Score], kind: str) -> dict[str, list[Score]]:
    layers: dict[str, list[Score]] = {}
    for score in scores:
        if score.kind == kind:
            layers.setdefault(score.layer, []).append(score)
    return layers


def write(scores: Sequence[Score], title: str, overrides: str, out: Path) -> Path:
    """Writes both files into `out`; returns the page's path."""
    text = io.StringIO()
    rows = csv.DictWriter(text, [field.name for field in fields(Score)], lineterminator="\n")
    rows.writeheader()
    rows.writerows(asdict(score) for score in scores)
    write_atomically(out / CSV, text.getvalue().encode())
    write_atomically(out / HTML, page(scores, title, overrides).encode())
    return out / HTML


def page(scores: Sequence[Score], title: str, overrides: str) -> str:
    """One file that holds its data, its script and Plotly's, and asks nothing of any network."""
    with needing("report", HTML):
        from plotly.offline import get_plotlyjs

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(source("sensitivity.html"))
    shown = {kind: words for kind, words in KINDS.items() if values(scores, kind)}
    return template.render(
        title=title,
        command=f"python -m lcomp.sensitivity {overrides}".strip(),
        base=scores[0].accuracy - scores[0].change,
        css=source("page.css"),
        plotly=get_plotlyjs(),
        kinds=shown,
        tables={kind: (values(scores, kind), by_layer(scores, kind)) for kind in shown},
        points=points,
        data=embedded([lines(scores, kind) for kind in shown]),
    )


def lines(scores: Sequence[Score], kind: str) -> dict[str, Jsonable]:
    """What the script draws of one kind."""
    return {
        "kind": kind,
        "x": values(scores, kind),
        "layers": [
            {"name": layer, "change": [100 * s.change for s in layer_scores], "kl": [s.kl for s in layer_scores]}
            for layer, layer_scores in by_layer(scores, kind).items()
        ],
    }
