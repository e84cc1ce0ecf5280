"""One line for a finished run."""

from __future__ import annotations

from lcomp.redact import redacted
from lcomp.report.escaping import one_line
from lcomp.result import Result, perturbations


def line(result: Result) -> str:
    """Accuracy, size, ratio and latency against the baseline, or why it failed; the data set's name comes first."""
    run = one_line(" ".join(redacted(result.overrides)) or "baseline")
    if result.dataset:
        run = f"[{one_line(result.dataset['name'])}] {run}"
    if result.status != "ok":
        return f"{run}: {one_line(result.status)}: {one_line(redacted(result.error))}"
    own, base = result.metrics, result.baseline
    latency = ""
    if "latency_ratio" in own:  # in a sweep, measured at its end
        latency = f", {own['latency_us_p50']:.1f} us an image ({own['latency_ratio']:.2f}x the baseline's)"
    return (
        f"{run}: test accuracy {own['test_accuracy']:.2%} (baseline {base['test_accuracy']:.2%}), "
        f"{own['file_bytes'] / 1000:.1f} KB, gzip'd {own['gzip_bytes'] / 1000:.1f} KB "
        f"({base['gzip_bytes'] / own['gzip_bytes']:.1f}x smaller)"
        + latency
        + "".join(f", {one_line(key.partition('/')[2])} {own[key]:.2%}" for key in perturbations(own))
        + (f", mean corruption error {own['mce']:.2f}x the baseline's" if own.get("mce") is not None else "")
        + (f", taken from {one_line('/'.join(result.reused.rsplit('/', 2)[-2:]))}" if result.reused else "")
    )
