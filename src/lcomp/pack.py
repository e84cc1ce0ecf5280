"""Packs a run's artifact: the same network in fewer bytes, `artifact.lcomp` beside it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

VERSIONS = (1, 2)  # those of lcomp.packed.file, whose imports take a while


def main(arguments: Sequence[str] | None = None, prog: str = "python -m lcomp.pack") -> int:
    """Packs, and says where the bytes went; 1, with one line, where that cannot be."""
    parser = argparse.ArgumentParser(prog=prog, description=__doc__)
    parser.add_argument("run", type=Path, metavar="RUN", help="a run's folder, or an ONNX file that lcomp exported")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the file to write")
    parser.add_argument("--version", type=int, choices=VERSIONS, default=1, help="of the format (docs/format.md)")
    given = parser.parse_args(arguments)
    from lcomp.packed.commands import pack_run

    return pack_run(given.run, given.out, given.version)


if __name__ == "__main__":
    sys.exit(main())
