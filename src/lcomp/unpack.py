"""Unpacks a packed network (`.lcomp`): an ONNX file beside it, with the same logits."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str] | None = None, prog: str = "python -m lcomp.unpack") -> int:
    """Unpacks; 1, with one line, where that cannot be."""
    parser = argparse.ArgumentParser(prog=prog, description=__doc__)
    parser.add_argument("file", type=Path, metavar="FILE", help="a packed network")
    parser.add_argument("--to", choices=["onnx"], required=True, help="what it becomes")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the file to write, over what is there")
    given = parser.parse_args(arguments)
    from lcomp.packed.commands import unpack_file

    return unpack_file(given.file, f".{given.to}", given.out)


if __name__ == "__main__":
    sys.exit(main())
