"""`python -m lcomp.report DIR`: the records under DIR as the paper's tables, or, where no run bears the name of an
experiment, as the sweep's own table."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lcomp.report.paper import load, sheets
from lcomp.report.sheet import FORMATS
from lcomp.report.table import show
from lcomp.result import FILE_NAME, read


def main() -> int:
    """Prints the tables; 1, with one line, where there is nothing to print."""
    parser = argparse.ArgumentParser(prog="python -m lcomp.report", description=__doc__)
    parser.add_argument("folder", type=Path, help="a sweep's folder, or multirun")
    parser.add_argument("--format", choices=FORMATS, default="terminal")
    given = parser.parse_args()
    found = load(given.folder) if given.folder.is_dir() else {}
    if not found and (unnamed := [read(path) for path in sorted(given.folder.rglob(FILE_NAME))]):
        show(unnamed, given.folder)
        return 0
    if not found:
        print(f"lcomp: {given.folder}: no record in it; name the folder of a sweep, or multirun", file=sys.stderr)
        return 1
    datasets = {(run.result.dataset["name"], run.result.dataset["sha256"]) for runs in found.values() for run in runs}
    if len(datasets) > 1:
        names = ", ".join(sorted(name for name, _ in datasets))
        print(f"lcomp: {given.folder}: runs of several data sets ({names}); name a folder of one", file=sys.stderr)
        return 1
    for sheet in sheets(found):
        print(sheet.text(given.format))
    return 0


if __name__ == "__main__":
    sys.exit(main())
