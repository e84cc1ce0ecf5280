"""Writes a run's artifact as C11 for microcontrollers: model.h, model.c, weights.c, a demo and a self-test."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from lcomp.c import ARITHMETICS, FORMS
from lcomp.errors import UserError


def main(arguments: Sequence[str] | None = None, prog: str = "python -m lcomp.c") -> int:
    """Writes the C, and says what it takes; 1, with one line, where that cannot be."""
    parser = argparse.ArgumentParser(prog=prog, description=__doc__)
    parser.add_argument("run", type=Path, metavar="RUN", help="a run's folder, or an .onnx or .lcomp file of one")
    parser.add_argument("--out", type=Path, metavar="DIR", help="the folder to write; RUN/c where it is left out")
    parser.add_argument("--weights", choices=FORMS, default=FORMS[0], help="how flash holds them")
    parser.add_argument("--arithmetic", choices=ARITHMETICS, default=ARITHMETICS[0], help="auto: as the artifact")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--data", metavar="NAME", help="data whose validation examples ranges are found with")
    source.add_argument("--examples", type=Path, metavar="FILE", help="an .npy of them: (N, C, H, W) from 0 to 1")
    given = parser.parse_args(arguments)
    try:
        from lcomp.c.command import write_c

        print(write_c(given.run, given.out, given.weights, given.arithmetic, given.data, given.examples))
    except UserError as error:
        print(f"lcomp: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
