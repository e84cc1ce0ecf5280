"""SECURITY.md is true: each promise has its test, its limits are the source's, floors are above published holes."""

import re
import tomllib
from pathlib import Path

import hashes
from packaging.requirements import Requirement

from lcomp.record import limits

ROOT = Path(__file__).parents[1]
SAID = (ROOT / "SECURITY.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LINES = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


PINNED = {canonical(name): version for name, _, version in (line.partition("==") for line in LINES)}


def test_each_promise_names_a_test_that_is_there():
    promises = [row.split(" | ") for row in SAID.partition("## Limits")[0].splitlines() if row.endswith("` |")]
    assert len(promises) == 12
    for *_, named in promises:
        file = ""
        for test in re.findall(r"`([\w.:]+)`", named):
            file, _, function = (file + test if test.startswith("::") else test).partition("::")
            content = (ROOT / "tests" / file).read_text()
            assert f"def {function or 'test_'}" in content, test


def test_the_limits_are_those_of_the_source():
    sizes = (limits.ARTIFACT, limits.MEMORY, limits.PREDICTIONS, limits.STUDY)
    numbers = {f"{found >> 20} MB" for found in sizes}
    numbers |= {f"{limits.RECORD >> 20} MB", f"{limits.CONFIGURATION >> 10} KB", f"{limits.DEPTH} deep"}
    numbers |= {f"{limits.EXPORTED} steps"}
    table = SAID.partition("## Limits")[2].partition("## Secrets")[0]
    assert set(re.findall(r"\d+ (?:MB|KB|deep|steps)", table)) == numbers
    document = (ROOT / "docs" / "format.md").read_text()
    assert f"counts together 2^{limits.WORK.bit_length() - 1};" in document and limits.VARIABLE in document


def test_what_is_installed_lies_within_what_is_asked_for():
    extras = PROJECT["project"]["optional-dependencies"]
    asked = [
        *PROJECT["project"]["dependencies"],
        *(one for name, extra in extras.items() if name != "dev" for one in extra),
    ]
    found = [one for one in map(Requirement, asked) if canonical(one.name) in PINNED]
    assert len(found) > 35
    assert all(one.specifier.contains(PINNED[canonical(one.name)]) for one in found)


def test_no_floor_lies_below_a_hole_that_was_published():
    floors = {
        "onnx": "1.21",
        "filelock": "3.20.3",
        "pillow": "12.2",
        "ray": "2.54",
        "jinja2": "3.1.6",
    }
    floors |= {"torch": "2.10", "pytorch-lightning": "2.6.6", "pytest": "9.0.3"}
    text = (ROOT / "pyproject.toml").read_text()
    assert [name for name, floor in floors.items() if f'"{name}>={floor},<' not in text] == []


def test_what_builds_the_wheel_is_what_was_tested():
    asked = [Requirement(one) for one in PROJECT["build-system"]["requires"]]
    assert [str(one.specifier) for one in asked] == [f"=={PINNED[canonical(one.name)]}" for one in asked]


def test_a_report_of_pip_becomes_requirements_with_hashes():
    one = {"metadata": {"name": "b", "version": "1"}, "download_info": {"archive_info": {"hashes": {"sha256": "00"}}}}
    other = {**one, "metadata": {"name": "A", "version": "2"}}
    assert hashes.requirements({"install": [one, other]}) == "A==2 --hash=sha256:00\nb==1 --hash=sha256:00\n"
