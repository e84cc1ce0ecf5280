"""One line for a finished run."""

from __future__ import annotations

from lcomp.record.escaping import one_line
from lcomp.record.redaction import redacted
from lcomp.record.result import Result, perturbation_figures


def summary_line(result: Result) -> str:
    """The task's metric, validation first, size and latency compared to the own baseline's, or why it failed; before
    them the data set's name."""
    run = one_line(" ".join(redacted(result.overrides)) or "baseline")
    if result.dataset:
        run = f"[{one_line(result.dataset['name'])}] {run}"
    if result.status != "ok":
        return f"{run}: {one_line(result.status)}: {one_line(redacted(result.error))}"
    metrics, baseline, metric = result.metrics, result.baseline, result.chosen_by
    name, shown = one_line(metric.words), metric.shown
    latency = ""
    if "latency_ratio" in metrics:  # in a sweep, measured at its end
        own_us, ratio = metrics["latency_us_p50"], metrics["latency_ratio"]
        latency = f", {own_us:.1f} us an example ({ratio:.2f}x the baseline's {own_us / ratio:.1f})"
    return (
        f"{run}: validation {name} {shown(metrics[metric.validation])} "
        f"(baseline {shown(baseline[metric.validation])}), "
        f"test {name} {shown(metrics[metric.test])} ({shown(baseline[metric.test])}), "
        f"{metrics['file_bytes'] / 1000:.1f} KB, gzip'd {metrics['gzip_bytes'] / 1000:.1f} KB "
        f"({baseline['gzip_bytes'] / metrics['gzip_bytes']:.1f}x smaller)"
        + latency
        + "".join(
            f", test {name} under {one_line(key.partition('/')[2])} {shown(metrics[key])}"
            for key in perturbation_figures(metrics, metric)
        )
        + (
            f", test mean corruption error {metrics['mce']:.2f}x the baseline's"
            if metrics.get("mce") is not None
            else ""
        )
        + (f", taken from {one_line('/'.join(result.reused.rsplit('/', 2)[-2:]))}" if result.reused else "")
    )
