"""What a sweep of thousands of runs costs beside its runs: folders, resuming, reuse, the report, a search's storage.

    python benchmarks/large_sweeps.py 1000 10000          # numbers of runs; needs Chromium

Milliseconds of processor for each run, of 1,000 and 10,000 (one measurement each, on two cores shared with twenty other
processes): reading every record 0.28 and 0.29, resuming 0.36 and 0.41, a process's first look for an equal result 0.08
and 0.10, each look after it 0.001, the report's reading 0.71 and 0.72, its writing 2.4 and 1.5; trials into SQLite 5.8
and their reading 0.30 of 1,000. Memory at most: 283 and 571 MB. report.html 6.4 MB (1,000 runs, plain) and 4.3 MB
(10,000, compressed). That of 10,000 opened in 10.6 s of the page's main thread with WebGL drawn by SwiftShader on the
same busy cores, and in 20.6 s with SVG; a quiet machine and one with a GPU have not been measured.
"""

from __future__ import annotations

import random
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import optuna
from optuna.distributions import FloatDistribution
from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from records import record
from report import ARGUMENTS, CHOICES

from lcomp.record import folders, result_cache, run_folders
from lcomp.record.result import Result
from lcomp.report.writing import read_records, write_report_files
from lcomp.sweeps import sweep

EPOCHS = 10
Made = TypeVar("Made")


def fill(folder: Path, count: int) -> None:
    """Records of a search, each with ten epochs of two curves and figures of its own; no other files."""
    chance = random.Random(0)
    template = record(folder / "made" / "0")
    for number in range(count):
        choices, key, draw = chance.choice(CHOICES)
        value = draw(chance)
        own = {name: figure * chance.uniform(0.9, 1.1) for name, figure in template.metrics.items()}
        own |= {"val_accuracy": chance.uniform(0.9, 0.99), "test_accuracy": chance.uniform(0.9, 0.99)}
        own |= {"gzip_bytes": chance.randint(4_000, 160_000), "parameters": chance.randint(2_000, 44_000)}
        base = {
            name: template.baseline[name] * chance.uniform(0.99, 1.01) for name in ("latency_us_p50", "latency_us_p90")
        }
        curves = {name: [chance.random() for _ in range(EPOCHS)] for name in ("val_accuracy", "train_loss")}
        asked = [*(f"{family}={choice}" for family, choice in choices.items()), f"{key}={value}", f"x={number}"]
        fields = {"overrides": asked, "choices": template.choices | choices, "params": {key: value}, "epochs": curves}
        hashes = {"config_hash": f"{number:064x}", "code_hash": "c" * 64}
        made = replace(template, metrics=own, baseline=template.baseline | base, seed=number % 3, **fields, **hashes)
        run = folder / "sweep" / str(number)
        run.mkdir(parents=True)
        made.write(run)


def cost(count: int, name: str, work: Callable[[], Made]) -> Made:
    """Carries `work` out, and prints what it costs for each 1,000 runs."""
    start = time.process_time()
    made = work()
    used = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(
        f"{count:>7,} {name:<34}{used:>9.2f} s{1e6 * used / count:>9.0f} ms per 1,000{peak:>8.0f} MB at most",
        flush=True,
    )
    return made


def measure(place: Path, count: int) -> Path:
    """The costs of one sweep of so many runs; returns its report."""
    fill(place, count)
    folder = place / "sweep"
    recorded = cost(count, "reading every record", lambda: run_folders.recorded_runs(folder))
    points = {run.result.point: run.result.overrides for run in recorded}
    points[("one=more",)] = ["one=more"]
    missing = cost(count, "resume: what is missing", lambda: sweep.missing_points(folder, points, 3))
    assert missing == [["one=more"]]
    cost(count, "resume: what is in the folder", lambda: folders.check_stays_inside(folder))
    cost(count, "resume: runs without a record", lambda: sweep.close_interrupted(folder))
    other = Result(config_hash="0" * 63 + "g", code_hash="c" * 64)
    cost(count, "reuse: the first look of a process", lambda: result_cache.adopt_equal_run(place, place / "x", other))
    cost(count, "reuse: each look after it", lambda: result_cache.adopt_equal_run(place, place / "x", other))
    records = cost(count, "report: reading", lambda: read_records([folder]))
    page = cost(count, "report: writing", lambda: write_report_files(records, folder))
    sizes = [
        f"{path.name} {path.stat().st_size / 1e6:.1f} MB" for path in sorted(folder.glob("re*.*")) if path.is_file()
    ]
    print(f"{count:>7,} files: {', '.join(sizes)}", flush=True)
    return page


def measure_search(place: Path, count: int) -> None:
    """What Optuna's storage costs for so many trials."""
    storage = f"sqlite:///{place / 'study.db'}"
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(storage=storage)
    space = {"x": FloatDistribution(0, 1)}
    trials = [optuna.create_trial(params={"x": n / count}, distributions=space, value=n) for n in range(count)]
    cost(count, "search: trials into SQLite", lambda: study.add_trials(trials))
    cost(
        count,
        "search: reading all trials",
        lambda: optuna.load_study(study_name=study.study_name, storage=storage).trials,
    )


def opened(page: Path) -> str:
    """How long a report takes to open in Chromium, until it is painted, and until every section of it is drawn: by the
    clock, and processor of the page's main thread, which other processes do not lengthen."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        seen = browser.new_page(viewport={"width": 1280, "height": 900})
        devtools = seen.context.new_cdp_session(seen)
        devtools.send("Performance.setTimeDomain", {"timeDomain": "threadTicks"})
        devtools.send("Performance.enable")

        def so_far() -> str:
            metrics = {one["name"]: one["value"] for one in devtools.send("Performance.getMetrics")["metrics"]}
            return f"{time.monotonic() - start:.2f} s ({metrics['TaskDuration']:.2f} s of processor)"

        start = time.monotonic()
        seen.goto(f"file://{page}")
        seen.wait_for_selector("body[data-drawn=true]", timeout=600_000)
        seen.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        drawn = so_far()
        seen.evaluate("drawEverything()")
        whole = so_far()
        browser.close()
    return f"opened and drawn in {drawn}, every section of it in {whole}"


def main() -> None:
    for count in map(int, sys.argv[1:]):
        with tempfile.TemporaryDirectory() as place:
            page = measure(Path(place), count)
            print(f"{count:>7,} {opened(page)}", flush=True)
            measure_search(Path(place), count)


if __name__ == "__main__":
    main()
