"""A network as C on emulated boards: flash, memory, and the instructions of one inference.

python benchmarks/c_boards.py RUN... [--data NAME]
"""

import argparse
from pathlib import Path

from lcomp.c import FORMS
from lcomp.c.command import artifact_of, examples_of
from lcomp.c.compiling import footprint
from lcomp.c.emulation import BOARDS, emulate
from lcomp.c.model import make_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--data")
    given = parser.parse_args()
    print("| network | weights | board | flash | RAM | stack | instructions | a multiply-accumulate |")
    print("|---|---|---|---:|---:|---:|---:|---:|")
    for run in given.runs:
        examples = examples_of(run, given.data, None)
        for form in FORMS:
            model = make_model(artifact_of(run), examples, form)
            for name, board in BOARDS.items():
                if board.missing:
                    print(f"{name}: no {board.missing}")
                    continue
                found, taken = emulate(model.files, board), footprint(model.whole, board.target)
                per_mac = found.instructions / model.network.macs
                print(
                    f"| {run.name} | {form} | {name} | {taken.flash:,} | {taken.ram:,} | {found.stack} "
                    f"| {found.instructions:,} | {per_mac:.1f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
