"""How much faster lcomp trains a baseline than a script written by hand: whole processes, interleaved, medians.

    LCOMP_DATA=... python benchmarks/speed.py --epochs 2 --rounds 2

2 epochs, 2 rounds, two cores of an AMD EPYC (AVX2): by hand 26.1 s wall and 36.4 s of processor on two threads, lcomp
21.8 s and 21.9 s on one, export and measurement included: 1.20 times as fast.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def measured(command, folder):
    """Wall seconds, and processor seconds of a command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.monotonic()
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.monotonic() - start, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    root = Path(os.environ["LCOMP_DATA"]).resolve()
    by_hand = [sys.executable, str(Path(__file__).with_name("by_hand.py").resolve()), "--root", str(root)]
    by_hand += ["--epochs", str(given.epochs)]
    lcomp = [sys.executable, "-m", "lcomp", f"baseline.trainer.max_epochs={given.epochs}", f"data.root={root}"]
    seen = {"by hand": [], "lcomp": []}
    for _ in range(given.rounds):
        for name, command in (("by hand", by_hand), ("lcomp", lcomp)):
            with tempfile.TemporaryDirectory() as folder:
                seen[name].append(measured(command, folder))
    for name, figures in seen.items():
        wall, cpu = (statistics.median(column) for column in zip(*figures, strict=True))
        print(f"{name}: {wall:.1f} s wall, {cpu:.1f} s processor (median of {given.rounds})")
    ratio = statistics.median(a[0] / b[0] for a, b in zip(seen["by hand"], seen["lcomp"], strict=True))
    print(f"lcomp is {ratio:.2f} times as fast, its export and measurement included")


if __name__ == "__main__":
    main()
