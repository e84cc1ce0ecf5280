"""`python benchmarks/hashes.py REPORT > hashed.txt`: what pip reports that it would install, with hashes."""

import json
import sys
from pathlib import Path


def requirements(report: dict) -> str:
    """A line for each package, with the SHA-256 of the file that pip chose."""
    lines = []
    for found in report["install"]:
        about, file = found["metadata"], found["download_info"]
        lines.append(f"{about['name']}=={about['version']} --hash=sha256:{file['archive_info']['hashes']['sha256']}")
    return "\n".join(sorted(lines, key=str.lower)) + "\n"


if __name__ == "__main__":
    print(requirements(json.loads(Path(sys.argv[1]).read_text())), end="")
