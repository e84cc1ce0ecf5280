"""Whether a test notices: it must fail by its own assertion, while it is called.

An error in the broken source, in a fixture or while tests are collected, a failure by time, a test that is skipped:
none of these notices. As a plugin of pytest this module notes what each failure was, where `OUTCOMES` says; the module
named in `BROKEN` is imported first.
"""

import importlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

SECONDS = 900
ASSERTING = "testing.py"  # the file of the source whose assertions are a test's own: the contract of techniques


def pytest_sessionstart(session):
    if "BROKEN" in os.environ:
        importlib.import_module(os.environ["BROKEN"])


def pytest_runtest_makereport(item, call):
    if call.excinfo is None or isinstance(call.excinfo.value, pytest.skip.Exception):
        return
    noticed = call.when == "call" and all(is_own(one, item) for one in leaves(call.excinfo.value))
    outcome = {"noticed": noticed, "said": f"{call.when}: {' '.join(call.excinfo.exconly().split())}"}
    with Path(os.environ["OUTCOMES"]).open("a") as file:
        file.write(json.dumps(outcome) + "\n")


def leaves(error):
    """The error, or the several that Hypothesis found."""
    return [one for inside in error.exceptions for one in leaves(inside)] if hasattr(error, "exceptions") else [error]


def is_own(error, item):
    """Whether a test asserts that, and not the source."""
    info = pytest.ExceptionInfo.from_exception(error)
    own = [entry.path for entry in info.traceback if entry.path.is_relative_to(item.config.rootpath)]
    in_test = bool(own) and (own[-1].is_relative_to(item.path.parent) or own[-1].name == ASSERTING)
    return in_test and (isinstance(error, AssertionError) or type(error) is pytest.fail.Exception)


def noticed(project: Path, test: str, broken: str | None = None, seconds: float = SECONDS) -> tuple[bool, str]:
    """Whether `test` fails by its own assertion in a project, and what it said.

    Args:
        test: relative to the project's `tests`.
        broken: a module that must still be importable.
    """
    outcomes = project / "outcomes"
    path = os.pathsep.join([str(project / "src"), str(Path(__file__).parent)])
    environment = os.environ | {"PYTHONPATH": path, "OUTCOMES": str(outcomes)} | ({"BROKEN": broken} if broken else {})
    command = [sys.executable, "-m", "pytest", "-p", "noticing", "-q", "-x", "--show-capture=no", "--timeout=0"]
    process = subprocess.Popen(
        [*command, f"tests/{test}"],
        cwd=project,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        out, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return False, f"no end in {seconds} s"
    failures = [json.loads(line) for line in outcomes.read_text().splitlines()] if outcomes.exists() else []
    if process.returncode != 1 or not failures:
        return False, f"exit code {process.returncode}: {' '.join(out.split())[-300:]}"
    return all(one["noticed"] for one in failures), failures[0]["said"]
