"""What starting costs: what users import, and the first words of the command line, before and after a change.

    python benchmarks/start_up.py [SRC]     # SRC: the `src` of another checkout, in turns with this one

Milliseconds of processor, of 2 or 3 starts each, before and after Hydra and NumPy were left until they are needed, and
torch-pruning until channels are removed (torch 2.14.1, with every extra installed; two cores shared with twenty other
processes, so that the clock says nothing): `lcomp --help` 2,080 and 80, `lcomp --cfg job` 690 and 530, `lcomp doctor
--help` 500 and 280, `import lcomp.run` 7,150 and 5,570. To the first step of a run with a callback of the user's, its
baseline cached, 7,790 and 6,990. Of the 5,570, torch has 1,250 and torch._dynamo, which its first optimizer imports,
1,080; Lightning imports torchmetrics, and that, whatever is used of it, scipy.signal (730), matplotlib (440),
transformers (410, where installed) and itself (380).
"""

import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parents[1] / "src"
TIMES = 5
TIMED = ["-X", "importtime"]
RUN = ["prune.sparsity=0.5", "data=mnist5k", "trainer.max_epochs=1", "baseline.trainer.max_epochs=1"]
FIRST_STEP = """
import os, sys
from torch.optim.optimizer import register_optimizer_step_post_hook
from lcomp.__main__ import main
register_optimizer_step_post_hook(lambda *_: os.execvp("true", ["true"]))
sys.argv[0] = "lcomp"
main()
"""
COMMANDS = {
    "import lcomp": [*TIMED, "-c", "import lcomp"],
    "import lcomp.api": [*TIMED, "-c", "import lcomp.api"],
    "import lcomp.report.writing": [*TIMED, "-c", "import lcomp.report.writing"],
    "import lcomp.run": [*TIMED, "-c", "import lcomp.run"],
    "lcomp --help": [*TIMED, "-m", "lcomp", "--help"],
    "lcomp --cfg job": [*TIMED, "-m", "lcomp", "--cfg", "job", "prune.sparsity=0.5"],
    "lcomp doctor --help": [*TIMED, "-m", "lcomp", "doctor", "--help"],
    "to the first step": [*TIMED, "-c", FIRST_STEP, *RUN],
    "to it, logger=none": [*TIMED, "-c", FIRST_STEP, *RUN, "logger=none"],
}


def train_baseline(source: Path, cache: Path) -> None:
    """Leaves the baseline in `cache` that the runs of FIRST_STEP start from."""
    environment = os.environ | {"PYTHONPATH": str(source), "WANDB_MODE": "disabled"}
    command = [sys.executable, "-m", "lcomp", *RUN[1:], f"baseline.cache={cache}", "logger=none"]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(command, env=environment, cwd=folder, capture_output=True, check=True)


def cost(source: Path, arguments: list[str]) -> tuple[float, float]:
    """Seconds of imports by the clock, as `-X importtime` has them, and seconds of processor of the whole process."""
    before = os.times()
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"PYTHONPATH": str(source)}
        command = [sys.executable, *arguments]
        done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=True)
    after = os.times()
    imports = sum(map(int, re.findall(r"^import time: +(\d+) \|", done.stderr, re.MULTILINE)))
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return imports / 1e6, used


def main() -> None:
    sources = [HERE, *map(Path, sys.argv[1:])]
    print(f"Median of {TIMES}, ms: imports by the clock, processor of the whole process\n{'':<30}", *sources)
    with tempfile.TemporaryDirectory() as cache:
        for source in sources:
            train_baseline(source, Path(cache))
        for name, arguments in COMMANDS.items():
            given = [*arguments, f"baseline.cache={cache}"] if FIRST_STEP in arguments else arguments
            turns = [[cost(source, given) for source in sources] for _ in range(TIMES)]
            columns = zip(*turns, strict=True)
            medians = [[statistics.median(one) for one in zip(*column, strict=True)] for column in columns]
            print(f"{name:<30}" + "".join(f"{1000 * a:>12.0f}{1000 * b:>8.0f}" for a, b in medians), flush=True)


if __name__ == "__main__":
    main()
