"""Sweeps under a storm: SIGKILL at random moments, to the parent, to a worker, to everything; each time resumed.

    python benchmarks/kill_storm.py --kills 50            # add LCOMP_DATA=... --full for the real size
    python benchmarks/kill_storm.py --kills 6 --points 7 --what grid

Checks, for a grid and for a search with Optuna, that no finished run was lost or run twice, that none is left
unfinished, and that the grid's figures are those of a sweep that nobody disturbed, times apart.

AMD EPYC, two cores, other work beside both: `--points 490 --what grid --pause 20 44`, post-training quantization, a few
seconds a point: 1363 s undisturbed, 1878 s with 50 strikes (1.38 times), the same figures. A search of 30 trials
outlived 8 strikes in 154 s.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from processes import family

TIMES = ("latency_us_p50", "latency_us_p90", "latency_ratio", "test_set_seconds")
ENDED = ("ok", "pruned")
SWEEPS = ("grid", "search")


def command(what: str, points: int, settings: list[str]) -> list[str]:
    """Post-training quantization: runs of a few seconds, so that a strike now and then leaves some to finish."""
    seeds = ",".join(str(seed) for seed in range(max(1, points // 49)))
    bits = "2,3,4,5,6,7,8" if points >= 49 else ",".join(str(8 - n) for n in range(points))
    swept = {
        "grid": [f"quant.bits={bits}", f"quant.activation_bits={bits if points >= 49 else 8}", f"seed={seeds}"],
        "search": ["sweeper=optuna", "quant.bits=range(2,9)", "quant.activation_bits=range(2,9)", "seed=range(0,9)"],
    }
    if what == "search":
        swept[what].append(f"n_trials={points}")
    sweep = ["quant=static", *swept[what], "max_retries=1000", *settings, "hydra.sweep.dir=multirun/storm"]
    return [sys.executable, "-m", "lcomp", "-m", *sweep]


def strike(process: subprocess.Popen[bytes], chance: random.Random) -> str:
    """Kills the parent, a worker or all of them; says which."""
    whom = chance.choice(("parent", "worker", "all"))
    members = family(process.pid)
    struck = {"parent": members[:1], "worker": [chance.choice(members[1:] or members)], "all": members}[whom]
    for pid in struck:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    return whom


def records(folder: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted(folder.glob("multirun/storm/*/result.json"))]


def finished(folder: Path) -> dict[str, tuple]:
    """Each finished run by its folder: what must never change."""
    found = {}
    for path in folder.glob("multirun/storm/*/result.json"):
        record = json.loads(path.read_text())
        if record["status"] in ENDED:
            found[path.parent.name] = (
                tuple(record["overrides"]),
                record["artifact"].get("sha256"),
                record["seconds"]["total"],
            )
    return found


def figures(folder: Path) -> dict[tuple, dict]:
    """The figures of each point, times apart."""
    ok = [record for record in records(folder) if record["status"] == "ok"]
    return {tuple(r["overrides"]): {k: v for k, v in r["metrics"].items() if k not in TIMES} for r in ok}


def storm(
    what: str,
    points: int,
    kills: int,
    folder: Path,
    settings: list[str],
    pause: tuple[float, float],
    seed: int = 0,
) -> float:
    """Starts the sweep, strikes `kills` times, resuming whenever it ended, and lets it finish; the seconds it took.

    Raises:
        AssertionError: a finished run changed, a point was finished twice, a run was left without a record.
    """
    chance, kept, start, struck = random.Random(seed), {}, time.monotonic(), 0
    code, calm = None, 0
    while code != 0:
        resume = ["resume=multirun/storm"] if (folder / "multirun/storm/sweep.json").exists() else []
        full = command(what, points, settings)
        with (folder / "storm.log").open("ab") as log:
            process = subprocess.Popen(full[:-1] + resume if resume else full, cwd=folder, stdout=log, stderr=log)
        while process.poll() is None and struck < kills:
            time.sleep(chance.uniform(*pause))
            if process.poll() is None:
                whom = strike(process, chance)
                struck += 1
                print(f"{what}: {struck} of {kills}: {whom} killed, {len(finished(folder))} finished", flush=True)
                if whom != "worker":
                    process.wait()
            now = finished(folder)
            assert kept.items() <= now.items(), "a finished run was lost or run again"
            kept = now
        code = process.wait()
        calm += struck >= kills
        assert calm < 4, f"the sweep does not end\n{(folder / 'storm.log').read_text()[-2000:]}"
    seconds = time.monotonic() - start
    done = [tuple(record["overrides"]) for record in records(folder) if record["status"] in ENDED]
    assert kept.items() <= finished(folder).items() and len(done) == len(set(done)) == points
    runs = [path for path in (folder / "multirun/storm").iterdir() if path.name.isdecimal()]
    assert all((path / "result.json").exists() for path in runs), "a run without a record"
    if struck < kills:
        print(f"{what}: finished after {struck} of {kills} kills", flush=True)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--points", type=int, default=98, help="of each sweep: up to 7, or 49 times a number of seeds")
    parser.add_argument("--what", choices=SWEEPS, nargs="*", default=list(SWEEPS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pause", type=float, nargs=2, default=(4.0, 12.0), help="seconds between strikes")
    parser.add_argument("--full", action="store_true", help="the 60,000 digits under LCOMP_DATA")
    given = parser.parse_args()
    data = [f"data.root={Path(os.environ['LCOMP_DATA']).resolve()}"] if given.full else ["data=mnist5k"]
    settings = ["baseline.trainer.max_epochs=1", "logger=none", "report=false", *data]
    for what in given.what:
        with tempfile.TemporaryDirectory() as calm, tempfile.TemporaryDirectory() as rough:
            undisturbed = storm(what, given.points, 0, Path(calm), settings, (1, 1))
            seconds = storm(what, given.points, given.kills, Path(rough), settings, tuple(given.pause), given.seed)
            if what == "grid":
                assert figures(Path(calm)) == figures(Path(rough)), "figures differ"
            print(
                f"{what}: {undisturbed:.0f} s undisturbed, {seconds:.0f} s in the storm ({seconds / undisturbed:.2f}x)"
            )


if __name__ == "__main__":
    main()
