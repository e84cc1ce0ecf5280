"""How much faster lcomp is than a script written by hand: whole processes side by side, interleaved, medians.

    LCOMP_DATA=... python benchmarks/speed.py baseline --rounds 3
    LCOMP_DATA=... python benchmarks/speed.py sweep --rounds 1

by_hand.py is the other side: Lightning on torchvision's DataLoader with torch's default threads (every core), the same
mathematics, the teacher trained once and asked in the loop. lcomp's side is the command as a user types it, export and
measurement of every artifact included: one thread for a run, one worker of one thread per core for a sweep.

AMD EPYC (AVX2), two cores, one round: a baseline of 10 epochs 156 s by hand, 62 s with lcomp on one thread (2.5 times),
and 194 s against 53 s with --threads 2 (3.6 times), in 1.19 times the memory; the sweep with --epochs 2, 312 s against
74 s (4.2 times), the two sides a few minutes apart; with 10 epochs 1755 s against 279 s (6.3 times), with other work
beside both. Intel Xeon (AVX-512), two cores, one quiet round: a baseline 89 s against 50 s (1.8 times), with
--threads 2 87 s against 36.5 s (2.4 times); the sweep with --epochs 10, 682 s against 158 s (4.3 times).
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from processes import family

TEMPERATURES = ("1", "2", "3", "4", "5", "6", "7", "8")


def commands(what, epochs, threads, root):
    """(by hand, lcomp): the command of each side."""
    by_hand = [sys.executable, str(Path(__file__).with_name("by_hand.py").resolve()), "--root", str(root)]
    by_hand += ["--epochs", str(epochs)]
    settings = [f"baseline.trainer.max_epochs={epochs}", f"data.root={root}", f"threads={threads}"]
    lcomp = [sys.executable, "-m", "lcomp"]
    if what == "sweep":
        by_hand += ["--temperatures", *TEMPERATURES]
        lcomp += ["-m", "kd.temperature=" + ",".join(TEMPERATURES), "trainer=paper", f"trainer.max_epochs={epochs}"]
    return by_hand, lcomp + settings


def measured(command, folder):
    """(wall seconds, processor seconds, peak megabytes of the command and its children together)."""
    start = time.monotonic()
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    peak, ended = [0], threading.Event()

    def watch():
        while not ended.wait(0.2):
            peak[0] = max(peak[0], sum(resident(pid) for pid in family(process.pid)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    before = os.times()
    _, said = process.communicate()
    ended.set()
    watcher.join()
    after = os.times()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{said}")
    used = after.children_user - before.children_user + after.children_system - before.children_system
    return time.monotonic() - start, used, peak[0] / 1e6


def resident(pid):
    """Bytes that the process holds in memory; pages shared between processes count for each in part."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("baseline", "sweep"))
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="of each of lcomp's runs")
    given = parser.parse_args()
    sides = dict(
        zip(
            ("by hand", "lcomp"),
            commands(given.what, given.epochs, given.threads, Path(os.environ["LCOMP_DATA"]).resolve()),
            strict=True,
        )
    )
    seen = {name: [] for name in sides}
    for _ in range(given.rounds):
        for name, command in sides.items():
            with tempfile.TemporaryDirectory() as folder:
                seen[name].append(measured(command, folder))
                wall, used, peak = seen[name][-1]
                print(f"{name}: {wall:.1f} s wall, {used:.1f} s of processor, {peak:.0f} MB at most", flush=True)
    pairs = list(zip(seen["by hand"], seen["lcomp"], strict=True))
    faster = statistics.median(a[0] / b[0] for a, b in pairs)
    memory = statistics.median(b[2] / a[2] for a, b in pairs)
    print(f"lcomp is {faster:.2f} times as fast, in {memory:.2f} times the memory (medians of {given.rounds})")


if __name__ == "__main__":
    main()
