"""What the script of `report.html` draws: runs, baselines, groups of seeds, lines along parameters, weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from google.protobuf.message import DecodeError

from lcomp.escaping import relative_url
from lcomp.record.files import Jsonable
from lcomp.record.metric import Metric
from lcomp.record.redaction import redacted
from lcomp.record.result import ARTIFACT, FILE_NAME, baseline_curves
from lcomp.report import exemplars
from lcomp.report.answers import right_answers
from lcomp.report.ranking import by_validation, pareto_front, shared_metric, validation_merit
from lcomp.report.runs import (
    ReportRun,
    SeedGroup,
    baseline_kinds,
    baseline_runs,
    baselines,
    by_dataset,
    network,
    numeric_param,
    numeric_params,
    relative_path,
    seed_groups,
)
from lcomp.report.varied_keys import settings, varied_keys
from lcomp.report.weights import histogram, mask, weights

CURVES = 60  # runs whose curves are kept in the page, the best on validation
PICTURED = 12  # runs whose weights are
LINES = 14  # of one chart; more are drawn as points without lines
SHORT = {  # beside `val` and `test`, the figures of the task's metric
    "gzip": "gzip_bytes",
    "latency": "latency_us_p50",
    "ratio": "latency_ratio",
    "sparsity": "sparsity",
    "mce": "mce",
}


def page_data(runs: Sequence[ReportRun], folder: Path, trials: Mapping[Path, int] | None = None) -> dict[str, Jsonable]:
    """What the page's script draws.

    Args:
        trials: the number of its search's trial for a run's folder.
    """
    metric, names = shared_metric(runs), datasets(runs)
    bases = baselines(runs)
    of_bases = baseline_runs(bases)
    counted = Counter(str(run.result.dataset["sha256"]) for run in runs if run.result.dataset)
    index = {sha256: number for number, sha256 in enumerate(bases)}
    ids = {run: number for number, run in enumerate(runs)}
    best = sorted((run for run in runs if run.result.epochs), key=lambda run: -merit_of(run))[:CURVES]
    techniques = sorted({run.technique for run in runs}, key=lambda name: (name != "baseline", name))
    asked = [settings(run.result) for run in runs]
    keys = varied_keys(asked, runs)
    answers = right_answers(runs)
    ordered, alike = by_validation(seed_groups(runs)), baseline_kinds(runs)
    kind_of = {group.runs[0].point: n for n, kind in enumerate(alike) for group in kind}
    return {
        "metric": asdict(metric) | {"words": metric.words, "validation": metric.validation, "test": metric.test},
        "techniques": techniques,
        "datasets": [names[sha256] for sha256, _ in counted.most_common()],
        "numbers": numeric_params(runs),
        "keys": keys,
        "runs": [
            run_data(run, ids[run], names, index.get(run.baseline_sha256 or ""), folder)
            | {"own": differing_figures(run, bases.get(run.baseline_sha256 or ""))}
            | {"settings": {key: own[key] for key in keys if key in own}, "trial": (trials or {}).get(run.folder)}
            | ({"right": answers[run]} if run in answers else {})
            | ({"epochs": run.result.epochs} if run in best else {})
            for run, own in zip(runs, asked, strict=True)
        ],
        "curves_left_out": sum(bool(run.result.epochs) for run in runs) > len(best),
        "baselines": [
            {name: run.result.baseline.get(key) for name, key in short_names(metric).items()}
            | {
                "label": f"{of.label} seed={run.result.seed}",
                "technique": "baseline",
                "smaller": 1.0,
                "data": names.get(run.result.dataset["sha256"]),
                "run": ids[run],
                "seed": run.result.seed,
                "kind": kind_of[run.point],
                "metrics": run.result.baseline,
                "epochs": baseline_curves(run.baseline_folder),
            }
            for run, of in zip(bases.values(), of_bases, strict=True)
        ],
        "kinds": kind_labels(alike),
        "groups": [group_data(group, names, ids) for group in ordered],
        "pies": exemplars.exemplar_data(ordered, names, ids),
        "effects": effect_data(runs, names, ids),
        "weights": weight_pictures(runs, ids),
    }


def short_names(metric: Metric) -> dict[str, str]:
    """The figures that the script reads of each run, by its own names for them."""
    return {"test": metric.test, "val": metric.validation} | SHORT


def merit_of(run: ReportRun) -> float:
    return validation_merit(run.result.metrics.get, run)


def differing_figures(run: ReportRun, base: ReportRun | None) -> dict[str, Jsonable]:
    """What the record says of its baseline, which is timed beside each run, otherwise than that of `base`."""
    known = {} if base is None else base.result.baseline
    return {name: value for name, value in run.result.baseline.items() if known.get(name) != value}


def kind_labels(kinds: Sequence[Sequence[SeedGroup]]) -> list[str]:
    """A name for each kind of baseline: its own group's, if that was run, or its network's; two differ by a number."""
    labels: list[str] = []
    for kind in kinds:
        baseline_groups = [group for group in kind if group.runs[0].result.techniques == "baseline"]
        label = baseline_groups[0].label if baseline_groups else f"baseline of {network(kind[0].runs[0])}"
        labels.append(label if label not in labels else f"{label} ({len(labels) + 1})")
    return labels


def datasets(runs: Sequence[ReportRun]) -> dict[str, str]:
    """A name for each data set's hash; two of one name are told apart by it."""
    names = {str(d["sha256"]): str(d["name"]) for run in runs if (d := run.result.dataset)}
    twice = {name for name in names.values() if list(names.values()).count(name) > 1}
    return {sha: f"{name} {sha[:6]}" if name in twice else name for sha, name in names.items()}


def run_data(
    run: ReportRun, number: int, names: Mapping[str, str], baseline: int | None, folder: Path
) -> dict[str, Jsonable]:
    """A run for the script."""
    result = run.result
    base = result.baseline.get("gzip_bytes")
    dataset = names.get(str(result.dataset.get("sha256")), "")
    params = redacted({name: value for name, value in result.params.items() if value is not None})
    known: dict[str, Jsonable] = {name: result.metrics.get(key) for name, key in short_names(result.chosen_by).items()}
    size = result.metrics.get("gzip_bytes")
    artifact = run.artifact_path
    error = None if result.error is None else redacted(result.error)
    words = " ".join([run.label, run.technique, dataset, result.status, str(error or ""), str(result.name or "")])
    return known | {
        "id": number,
        "label": run.label,
        "technique": run.technique,
        "data": dataset,
        "seed": result.seed,
        "status": result.status,
        "error": error,
        "reused": result.reused,
        "smaller": base / size if base and size else None,
        "words": words.lower(),
        "params": params,
        "metrics": {name: value for name, value in result.metrics.items() if value is not None},
        "baseline": baseline,
        "command": run.command,
        "record": relative_url(relative_path(run.folder / FILE_NAME, folder)),
        "artifact": relative_url(relative_path(artifact, folder)) if artifact else None,
    }


def group_data(group: SeedGroup, names: Mapping[str, str], ids: Mapping[ReportRun, int]) -> dict[str, Jsonable]:
    """Runs of several seeds for the script."""
    first, over = group.runs[0].result, group.over_baseline()
    metric = first.chosen_by
    return {
        "label": group.label,
        "technique": group.runs[0].technique,
        "data": names.get(str(first.dataset.get("sha256")), ""),
        "runs": [ids[run] for run in group.runs],
        "n": len(group.runs),
        "mce": group.mean("mce"),
        "mce_spread": group.spread("mce"),
        "val_mce": group.mean("val_mce"),
        "val": group.mean(metric.validation),
        "val_spread": group.spread(metric.validation),
        "test": group.mean(metric.test),
        "test_spread": group.spread(metric.test),
        "gzip": group.mean("gzip_bytes"),
        "gzip_spread": group.spread("gzip_bytes"),
        "difference": over.mean if over else None,
        "low": over.low if over else None,
        "high": over.high if over else None,
    }


def effect_data(
    runs: Sequence[ReportRun], names: Mapping[str, str], ids: Mapping[ReportRun, int]
) -> list[dict[str, Jsonable]]:
    """For each parameter that differs: accuracies along it, a line for each of the other settings; where these are too
    many to tell apart, points by technique."""
    drawn: list[dict[str, Jsonable]] = []
    for name in numeric_params(runs)[:6]:
        lines: dict[tuple[str, ...], list[SeedGroup]] = {}
        points: dict[tuple[str, ...], list[SeedGroup]] = {}
        for group in seed_groups(run for run in runs if numeric_param(run, name) is not None):
            first = group.runs[0]
            rest = tuple(part for part in first.point if not part.startswith(f"{name}="))
            lines.setdefault(rest, []).append(group)
            points.setdefault((str(first.result.dataset.get("sha256")), first.result.techniques), []).append(group)
        few = len(lines) <= LINES
        drawn.append(
            {
                "name": name,
                "lines": [
                    effect_line(name, line_groups, names, ids, few)
                    for line_groups in (lines if few else points).values()
                ],
            }
        )
    return drawn


def effect_line(
    name: str,
    line_groups: Sequence[SeedGroup],
    names: Mapping[str, str],
    ids: Mapping[ReportRun, int],
    alike: bool,
) -> dict[str, Jsonable]:
    """Groups in the order of a parameter; joined where they are alike but for it."""
    pairs = sorted(
        ((numeric_param(group.runs[0], name) or 0.0, group) for group in line_groups), key=lambda pair: pair[0]
    )
    values, ordered = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    first = ordered[0].runs[0].result
    names_of = short_names(first.chosen_by)
    return {
        "joined": alike and len(set(values)) == len(values),
        "technique": ordered[0].runs[0].technique,
        "data": names.get(str(first.dataset.get("sha256")), ""),
        "labels": [group.label for group in ordered],
        "x": values,
        "mean": {split: [group.mean(names_of[split]) for group in ordered] for split in ("val", "test")},
        "spread": {split: [group.spread(names_of[split]) for group in ordered] for split in ("val", "test")},
        "n": [len(group.runs) for group in ordered],
        "runs": [[ids[run] for run in group.runs] for group in ordered],
    }


def weight_pictures(runs: Sequence[ReportRun], ids: Mapping[ReportRun, int]) -> list[dict[str, Jsonable]]:
    """Weights of the runs on the front and of the best of each technique, beside their baseline's."""
    best: dict[str, ReportRun] = {}
    for run in sorted((run for run in runs if run.is_ok), key=lambda run: -merit_of(run)):
        best.setdefault(run.result.techniques, run)
    fronts = [
        run for dataset_runs in by_dataset(runs).values() for run in reversed(pareto_front(dataset_runs, "gzip_bytes"))
    ]
    wanted = list(dict.fromkeys([*best.values(), *fronts]))
    pictured: list[dict[str, Jsonable]] = []
    for run in wanted:
        if run.result.techniques == "baseline" or len(pictured) == PICTURED:
            continue
        try:
            after = weights(run.folder / ARTIFACT)
            before = weights(run.baseline_folder / ARTIFACT)
        except (OSError, KeyError, ValueError, DecodeError):  # moved, cleared away or damaged since
            continue
        if not after or not before:
            continue
        pictures: list[dict[str, Jsonable]] = [
            {
                "layer": name,
                "shape": " x ".join(str(size) for size in weight.shape),
                "kept": float((weight != 0).mean()),
                "picture": mask(weight),
            }
            for name, weight in after.items()
            if weight.size <= 200_000
        ]
        pictured.append(
            {
                "run": ids[run],
                "histogram": histogram(before, after),
                "masks": pictures[:8],
                "sparsity": run.result.metrics.get("sparsity"),
            }
        )
    return pictured
