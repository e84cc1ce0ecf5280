"""Collects the packed files of the records and draws them beside the published ones.

    python -m lcomp -m seed=0,1,2,3,4 'experiment=glob(record_*)'
    python -m lcomp -m seed=0,1,2 experiment=cifar10_record_25kb baseline.weights=records/cifar10/resnet8.safetensors
    python benchmarks/records.py multirun/SWEEP

Copies the artifact.lcomp of every run of an experiment record_* to records/, of cifar10_record_* to records/cifar10/,
writes what they reach to records.csv there, and MNIST's front to docs/images/records.png. Files of other experiments
and seeds stay.
"""

import csv
import hashlib
import shutil
import statistics
import sys
from collections import defaultdict
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from lcomp.record.result import FILE_NAME, read_result

ROOT = Path(__file__).parents[1]
FOLDERS = {"record_": ROOT / "records", "cifar10_record_": ROOT / "records" / "cifar10"}  # by the experiments' names
PUBLISHED = {  # bytes, test accuracy in percent
    "MIRACLE (2019)": (1_520, 99.04),
    "BitNetMCU, 9.3 kB": (9_300, 99.44),
    "BitNetMCU, 13.0 kB": (13_000, 99.58),
}
ABOVE, BELOW = {"xytext": (-8, 8), "ha": "right"}, {"xytext": (10, -6), "ha": "left"}  # where no other point is
CROSS = {"xytext": (0, -15), "ha": "center"}


def collect(folders, prefix, to):
    """Copies the files of experiments whose names begin so; returns the rows of the table."""
    rows = []
    for path in sorted(path for folder in folders for path in Path(folder).rglob(FILE_NAME)):
        result = read_result(path)
        if result.status != "ok" or not (result.name or "").startswith(prefix):
            continue
        name = f"{result.name.removeprefix(prefix)}-seed{result.seed}.lcomp"
        shutil.copyfile(path.with_name("artifact.lcomp"), to / name)
        content = (to / name).read_bytes()
        figures = (result.metrics[key] for key in ("val_accuracy", "test_accuracy"))
        shares = [f"{100 * figure:.2f}" for figure in figures]
        rows.append([name, result.name, result.seed, len(content), *shares, hashlib.sha256(content).hexdigest()])
    return rows


def table(path):
    """The rows that there are, by file."""
    return {row[0]: row for row in [*csv.reader(path.read_text().splitlines())][1:]} if path.is_file() else {}


def draw(rows, path):
    """Every file as a point, the means of each row larger, the published ones as crosses."""
    figure, axes = plt.subplots(figsize=(7.5, 4.5), layout="constrained")
    points = defaultdict(list)
    for _, name, _, size, _, accuracy, _ in rows:
        points[name].append((int(size) / 1_000, float(accuracy)))
    for name, found in sorted(points.items(), key=lambda item: item[1]):
        dots = axes.scatter(*zip(*found, strict=True), s=14, alpha=0.6)
        size, accuracy = (statistics.fmean(values) for values in zip(*found, strict=True))
        axes.scatter(size, accuracy, s=80, color=dots.get_facecolor(), alpha=1)
        label = f"{name.removeprefix('record_')}: {size:.2f} KB, {accuracy:.2f} %"
        place = BELOW if name == "record_lenet5" else ABOVE
        axes.annotate(label, (size, accuracy), textcoords="offset points", fontsize=8, **place)
    for label, (size, accuracy) in PUBLISHED.items():
        axes.scatter(size / 1_000, accuracy, marker="x", s=60, color="black")
        axes.annotate(label, (size / 1_000, accuracy), textcoords="offset points", fontsize=8, **CROSS)
    axes.set(xscale="log", xlabel="KB of the packed file (1 KB = 1000 bytes)", ylabel="MNIST test accuracy, %")
    axes.set_xticks([0.5, 1, 2, 3, 5, 8, 13], ["0.5", "1", "2", "3", "5", "8", "13"])
    axes.minorticks_off()
    axes.set_xlim(0.5, 30)
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


def main():
    if not sys.argv[1:]:
        sys.exit(__doc__)
    new = 0
    for prefix, folder in FOLDERS.items():
        folder.mkdir(parents=True, exist_ok=True)
        known, found = table(folder / "records.csv"), collect(sys.argv[1:], prefix, folder)
        rows = sorted((known | {row[0]: row for row in found}).values())
        with (folder / "records.csv").open("w", newline="") as file:
            headings = ["file", "experiment", "seed", "bytes", "validation_accuracy", "test_accuracy", "sha256"]
            csv.writer(file, lineterminator="\n").writerows([headings, *rows])
        if found and prefix == "record_":
            draw(rows, ROOT / "docs" / "images" / "records.png")
        new += len(found)
    if not new:
        sys.exit(f"{', '.join(sys.argv[1:])}: no finished run of an experiment {'* or '.join(FOLDERS)}* in it")
    print(f"{new} files are new")


if __name__ == "__main__":
    main()
