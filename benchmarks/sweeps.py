"""What a sweep costs over its runs, whether its workers are idle, what pruning saves.

    python benchmarks/sweeps.py points                       # one more point; 40 points against 10
    python benchmarks/sweeps.py idle                         # a search of unequal trials, two workers
    python benchmarks/sweeps.py wait                         # processor seconds before the first of 10,000 points
    LCOMP_DATA=... python benchmarks/sweeps.py twenty        # 5 sparsities x 4 bit-widths against a baseline's training
    LCOMP_DATA=... python benchmarks/sweeps.py record        # a real grid's learning curves, to surrogate.csv
    python benchmarks/sweeps.py surrogate                    # pruned searches on these curves, 20 seeds

AMD EPYC, two cores. points: 0.26 s over its own; 10 points 46.8 s, 40 points 128.8 s. twenty: 171 s, 3.9 times the
baseline's training of 44 s in it. idle: 0.3 %. wait: 5.1 s (52 s before points were gone through once); 2.1 s on an
Intel Xeon.

surrogate.csv: 36 students on MNIST, 9 epochs each. Searches of 40 trials: median saves 46 % of the epochs and loses
0.100 points of validation accuracy, halving 59 % and 0.232, hyperband 40 % and 0.118.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import optuna

CURVES = Path(__file__).with_name("surrogate.csv")
SMALL = ["data=mnist5k", "baseline.trainer.max_epochs=1"]
GRID = {
    "trainer.learning_rate": ("0.0001", "0.0003", "0.001", "0.003", "0.01", "0.03"),
    "kd.temperature": ("1", "3", "8"),
    "kd.alpha": ("0.1", "0.5"),
}


def swept(folder: Path, *arguments: str) -> tuple[float, list[dict]]:
    """The seconds of a sweep, and its records."""
    start = time.monotonic()
    subprocess.run([sys.executable, "-m", "lcomp", "-m", *arguments], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    seconds = time.monotonic() - start
    return seconds, [json.loads(path.read_text()) for path in folder.glob("multirun/sweep-*/*/result.json")]


def wait() -> None:
    """What 10,000 points cost before the first of them runs: a worker pool that ends the sweep says so."""
    ending = (
        "import time, lcomp.sweeps.worker_pool\n"
        "def stop(workers): print(time.process_time(), flush=True); raise KeyboardInterrupt\n"
        "lcomp.sweeps.worker_pool.open_pool = stop\n"
        "from lcomp.__main__ import main; main()"
    )
    grid = ("prune.sparsity=range(0,1,0.01)", "seed=range(100)", "logger=none", "report=false")
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", ending, "-m", *SMALL, *grid]
        done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
    print(f"{float(done.stdout.split()[0]):.1f} processor seconds before the first of 10,000 points")


def points() -> None:
    """What a point costs over its own training, export and measurement."""
    walls, own = {}, []
    grids = {10: ("channel", "4,8"), 40: ("channel,tensor", "3,4,6,8")}
    for count, (granularity, bits) in grids.items():
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            subprocess.run([sys.executable, "-m", "lcomp", *SMALL], cwd=folder, check=True, stdout=subprocess.DEVNULL)
            grid = (f"quant.granularity={granularity}", f"quant.bits={bits}", "quant.activation_bits=4,5,6,7,8")
            walls[count], records = swept(folder, "quant=static", *grid, *SMALL, "launcher.workers=1")
            assert len(records) == count
            own += [record["seconds"]["total"] + record["seconds"]["latency"] for record in records]
    each = (walls[40] - walls[10]) / 30
    print(f"10 points {walls[10]:.1f} s, 40 points {walls[40]:.1f} s ({walls[40] / walls[10]:.2f} times)")
    print(f"one more: {each:.2f} s, {each - statistics.fmean(own):.2f} s over its own training, export and measurement")


def idle() -> None:
    """The share of two workers' time that passed without a trial while trials were left."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        swept(
            folder,
            *("sweeper=optuna", "sampler=random", "pruner=none", "n_trials=16", "trainer.max_epochs=range(1,9)"),
            *("kd.temperature=interval(1,10)", "data=mnist5k", "baseline.trainer.max_epochs=1"),
        )
        [path] = folder.glob("multirun/sweep-*/study.db")
        trials = optuna.load_study(study_name=None, storage=f"sqlite:///{path}").trials
        spans = [(trial.datetime_start.timestamp(), trial.datetime_complete.timestamp()) for trial in trials]
    begin, end = min(start for start, _ in spans), max(start for start, _ in spans)
    busy = sum(min(stop, end) - start for start, stop in spans if start < end)
    longest, shortest = max(b - a for a, b in spans), min(b - a for a, b in spans)
    print(f"trials of {shortest:.1f} to {longest:.1f} s: idle share {1 - busy / (2 * (end - begin)):.1%}")


def twenty() -> None:
    """Twenty compressed networks against the training of what they came from."""
    with tempfile.TemporaryDirectory() as place:
        seconds, records = swept(
            Path(place),
            *("prune=constant", "prune.sparsity=0.5,0.6,0.7,0.8,0.9", "quant=static", "quant.bits=3,4,6,8"),
            *("trainer.max_epochs=1", f"data.root={Path(os.environ['LCOMP_DATA']).resolve()}"),
        )
    baseline = records[0]["seconds"]["baseline"]
    times = seconds / baseline
    print(f"{len(records)} points in {seconds:.0f} s, {times:.2f} times the baseline's {baseline:.0f} s in it")


def record() -> None:
    """Runs the grid whose curves the surrogate replays."""
    keys = [f"{name}={','.join(values)}" for name, values in GRID.items()]
    with tempfile.TemporaryDirectory() as place:
        data = f"data.root={Path(os.environ['LCOMP_DATA']).resolve()}"
        _, records = swept(Path(place), *keys, "trainer.max_epochs=9", data)
    with CURVES.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*GRID, *(f"epoch {n}" for n in range(1, 10))])
        for one in records:
            given = dict(override.split("=") for override in one["overrides"])
            writer.writerow([*(given[name] for name in GRID), *(f"{accuracy:.6f}" for accuracy in one["epochs"])])
    print(f"{len(records)} curves in {CURVES}")


def surrogate(trials: int = 40, seeds: int = 20) -> None:
    """Epochs that pruners save and accuracy that they lose, over searches of the same sampler without them."""
    from lcomp.search.choices import PRUNERS, SAMPLERS
    from lcomp.search.settings import instantiate

    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    rows = list(csv.reader(CURVES.open()))[1:]
    curves = {tuple(row[: len(GRID)]): [float(value) for value in row[len(GRID) :]] for row in rows}

    def searched(pruner: str, seed: int) -> tuple[int, float]:
        spent = 0
        study = optuna.create_study(
            direction="maximize",
            sampler=instantiate("sampler", {**SAMPLERS["tpe"], "seed": seed}),
            pruner=instantiate("pruner", PRUNERS[pruner]),
        )

        def objective(trial: optuna.Trial) -> float:
            nonlocal spent
            curve = curves[tuple(trial.suggest_categorical(name, values) for name, values in GRID.items())]
            for epoch, accuracy in enumerate(curve, 1):
                spent += 1
                if epoch < len(curve):
                    trial.report(accuracy, epoch)
                    if trial.should_prune():
                        raise optuna.TrialPruned
            return curve[-1]

        study.optimize(objective, trials)
        return spent, study.best_value

    for pruner in ("median", "halving", "hyperband"):
        pairs = [(searched(pruner, seed), searched("none", seed)) for seed in range(seeds)]
        saved = statistics.fmean(1 - own[0] / full[0] for own, full in pairs)
        lost = [100 * (full[1] - own[1]) for own, full in pairs]
        mean = statistics.fmean(lost)
        print(f"{pruner}: {saved:.0%} of the epochs saved, {mean:+.3f} points lost (at worst {max(lost):.2f})")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    jobs = {job.__name__: job for job in (points, wait, idle, twenty, record, surrogate)}
    parser.add_argument("what", choices=jobs)
    jobs[parser.parse_args().what]()
