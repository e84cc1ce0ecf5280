"""`python -m lcomp.report DIR`: the paper's tables from the records under DIR."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lcomp.report.paper import load, sheets
from lcomp.report.sheet import FORMATS


def main() -> int:
    """Prints the tables; 1, with one line, where there is nothing to print."""
    parser = argparse.ArgumentParser(prog="python -m lcomp.report", description=__doc__)
    parser.add_argument("folder", type=Path, help="a sweep's folder, or multirun")
    parser.add_argument("--format", choices=FORMATS, default="terminal")
    given = parser.parse_args()
    found = load(given.folder) if given.folder.is_dir() else {}
    if not found:
        print(f"lcomp: {given.folder}: no finished run with a name in it; see conf/experiment", file=sys.stderr)
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
