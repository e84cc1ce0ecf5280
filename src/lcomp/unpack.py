"""Unpacks a packed network (`.lcomp`): an ONNX file beside it, with the same logits."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from lcomp.errors import UserError
from lcomp.record import limits


def main(arguments: Sequence[str] | None = None, prog: str = "python -m lcomp.unpack") -> int:
    """Unpacks; 1, with one line, where that cannot be."""
    parser = argparse.ArgumentParser(prog=prog, description=__doc__)
    parser.add_argument("file", type=Path, metavar="FILE", help="a packed network")
    parser.add_argument("--to", choices=["onnx"], required=True, help="what it becomes")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the file to write, over what is there")
    given = parser.parse_args(arguments)
    path = given.out or given.file.with_suffix(f".{given.to}")
    try:
        if path.exists() and given.out is None:
            raise UserError(f"{path}: is there already; name the file to write with --out")
        from lcomp.export.onnx_export import export
        from lcomp.packed import load
        from lcomp.tasks import ImageClassification, Task, TextClassification

        network = load(given.file)
        limits.check(f"{given.file}: its export", len(network.steps), limits.EXPORTED, "steps")
        task: Task = ImageClassification(network.classes, network.input_shape)
        if network.reads_sentences:
            length = network.input_shape[-1]
            task = TextClassification(network.classes, max_length=length, length=length)
        export(network, path, task)
    except UserError as error:
        print(f"lcomp: {error}", file=sys.stderr)
        return 1
    print(f"{path}: {path.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
