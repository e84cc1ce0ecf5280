"""How long a report of 1,000 runs takes to make and to open, and how large it is.

python benchmarks/report.py            # needs Chromium

"""

from __future__ import annotations

import random
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from records import record

from lcomp.report.writing import read_records, write_report_files

RUNS, EPOCHS, OPENED = 1000, 10, 5
CHOICES = [
    ({"kd": "logit"}, "kd.temperature", lambda r: round(r.uniform(1, 10), 3)),
    ({"prune": "scheduled"}, "prune.sparsity", lambda r: round(r.uniform(0.3, 0.98), 3)),
    ({"quant": "qat"}, "quant.bits", lambda r: r.randint(2, 8)),
    ({"prune": "scheduled", "quant": "qat"}, "prune.sparsity", lambda r: round(r.uniform(0.3, 0.98), 3)),
]
ARGUMENTS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
]


def fill(folder: Path) -> None:
    """Records of a search, each with ten epochs of eight curves."""
    chance = random.Random(0)
    for number in range(RUNS):
        choices, key, draw = chance.choice(CHOICES)
        value = draw(chance)
        curves = {name: [chance.random() for _ in range(EPOCHS)] for name in "abcdefgh"}
        curves["val_accuracy"] = sorted(chance.random() for _ in range(EPOCHS))
        asked = [*(f"{family}={choice}" for family, choice in choices.items()), f"{key}={value}", f"x={number}"]
        settings = {"choices": choices, "params": {key: value}, "epochs": curves, "seed": number % 3}
        made = record(
            folder / "made" / "0",
            *asked,
            accuracy=chance.uniform(0.9, 0.99),
            size=chance.randint(4_000, 160_000),
            **settings,
        )
        made.write(folder / "sweep" / str(number))


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        fill(folder)
        start = time.monotonic()
        path = write_report_files(read_records([folder / "sweep"]), folder / "sweep")
        print(f"made in {time.monotonic() - start:.1f} s, {path.stat().st_size / 1e6:.1f} MB")
        opened = []
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
            for _ in range(OPENED):
                page = browser.new_page(viewport={"width": 1280, "height": 900})
                start = time.monotonic()
                page.goto(f"file://{path}")
                page.wait_for_selector("body[data-drawn=true]")
                page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
                opened.append(time.monotonic() - start)
                page.close()
        print(
            f"opened and drawn in {statistics.median(opened):.2f} s (median of {OPENED}, the longest {max(opened):.2f})"
        )


if __name__ == "__main__":
    main()
