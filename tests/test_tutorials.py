"""The tutorials' files and commands, as their pages have them, and the commands of README and Start."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from lcomp.cli.shorthand import expand
from lcomp.cli.subcommands import SUBCOMMANDS
from lcomp.config.composition import compose
from lcomp.config.run_spec import parse

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs" / "start").glob("*.md")),
    *sorted((ROOT / "docs" / "tutorials").glob("*.md")),
]
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)


def commands(text):
    """The words of each command of a block of shell."""
    lines = text.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def asked_of_lcomp():
    """The commands of the pages that make a run or a sweep, but for those on files of an example's folder."""
    for page in PAGES:
        text = page.read_text()
        shell = [block for language, _, block in BLOCK.findall(text) if language in ("bash", "sh")]
        shell += re.findall(r"^ {4}(python -m lcomp .*)$", text, re.MULTILINE)
        for words in (words for block in shell for words in commands(block)):
            own = words[3:]
            others = {"--config-dir", "--help", "...", "resume=last", *SUBCOMMANDS}
            if words[:3] == ["python", "-m", "lcomp"] and not others & {*own}:
                yield f"{page.stem}: {shlex.join(own)}"


def first(override):
    """An override with the first of its values, where it sweeps."""
    if not override.is_sweep_override():
        return override.input_line
    values = override.value()
    one = next(iter(override.sweep_iterator())) if override.is_choice_sweep() else values.start
    return f"{override.key_or_group}={one}"


@pytest.mark.parametrize("command", [*asked_of_lcomp()])
def test_what_the_pages_type_is_composed_and_parsed(command):
    words, _ = expand(shlex.split(command.partition(": ")[2]))
    overrides = OverridesParser.create().parse_overrides([one for one in words if not one.startswith("-")])
    asked = [first(one) for one in overrides if not one.key_or_group.startswith("hydra")]
    parse(compose(asked))


def test_the_pages_have_commands():
    assert len([*asked_of_lcomp()]) >= 20


@pytest.fixture
def typed(tmp_path, monkeypatch, capfd):
    """Writes the files of a tutorial, types its `bash` commands in their folder; returns what they printed."""

    def call(name):
        text = (ROOT / "docs" / "tutorials" / f"{name}.md").read_text()
        said = []
        for language, title, block in BLOCK.findall(text):
            if title:
                (tmp_path / title).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / title).write_text(block)
            for program, *words in commands(block) if language == "bash" else ():
                python = {"python": [sys.executable], "lcomp": [sys.executable, "-m", "lcomp"]}
                command = [*python.get(program, [program]), *words]
                done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=500)
                assert done.returncode == 0, done.stdout + done.stderr
                said.append(done.stdout + done.stderr)
        return said

    monkeypatch.delenv("LCOMP_DATA", raising=False)
    return call


def records(folder):
    found = [*folder.glob("multirun/run-*/result.json"), *sorted(folder.glob("multirun/sweep-*/*/result.json"))]
    return [json.loads(path.read_text()) for path in found]


@pytest.mark.slow
def test_own_weights(typed, tmp_path):
    typed("own_weights")
    [record] = records(tmp_path)
    assert record["baseline"]["test_accuracy"] > 0.85 and record["baseline_artifact"]["weights"]
    assert record["metrics"]["test_accuracy"] > record["baseline"]["test_accuracy"] - 0.02
    assert record["metrics"]["file_bytes"] < 0.4 * record["baseline"]["file_bytes"]


@pytest.mark.slow
def test_own_student(typed, tmp_path):
    typed("own_student")
    [record] = records(tmp_path)
    assert record["choices"]["kd"] == "logit" and record["params"]["kd.student"] == "tiny"
    assert record["metrics"]["parameters"] == (25 + 1) * 8 + (64 * 8 + 1) * 10
    assert record["metrics"]["test_accuracy"] > 0.3


@pytest.mark.slow
def test_a_search_under_a_size_limit(typed, tmp_path):
    typed("size_limit")
    found = records(tmp_path)
    assert len(found) == 4 and {record["choices"]["prune"] for record in found} == {"scheduled"}
    assert (next(tmp_path.glob("multirun/sweep-*")) / "report.html").is_file()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler on this machine")
def test_to_a_microcontroller(typed, tmp_path):
    _, said, tested = typed("microcontroller")
    assert "flash" in said and "100 of 100 examples equal" in tested
    assert {path.name for path in (tmp_path / "c").iterdir()} >= {
        "model.h",
        "model.c",
        "weights.c",
        "Makefile",
        "CMakeLists.txt",
    }


@pytest.mark.slow
def test_bert(typed, tmp_path):
    typed("bert")
    [record] = records(tmp_path)
    assert record["choices"]["model"] == "bert_tiny" and record["dataset"]["name"] == "text_file"
    assert record["metrics"]["file_bytes"] < 0.5 * record["baseline"]["file_bytes"]
