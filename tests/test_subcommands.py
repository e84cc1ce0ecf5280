"""What `lcomp report` and its like answer, and that they are the doors that `python -m lcomp.report` opens."""

import importlib
import re
import subprocess
import sys

import pytest
from test_command_line import ask, ask_each

from lcomp.cli.subcommands import SUBCOMMANDS, check_words

NEEDS_TORCH = {"summary"}  # whose module cannot be described without it
FORMS = [("lcomp", "lcomp"), ("/somewhere/bin/lcomp", "lcomp"), ("/somewhere/lcomp/__main__.py", "python -m lcomp")]


OLD_DOORS = """
import os, runpy, sys
for name in {names!r}:  # forked, so that Python starts once
    if os.fork():
        _, status = os.wait()
        print(f"{{name}}: exit code {{os.waitstatus_to_exitcode(status)}}", flush=True)
        continue
    sys.argv[1:] = ["--help"]
    runpy.run_module("lcomp." + name, run_name="__main__", alter_sys=True)
    break
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """What each subcommand answers to --help."""
    folders = [tmp_path_factory.mktemp(name) for name in SUBCOMMANDS]
    return dict(zip(SUBCOMMANDS, ask_each(folders, [[name, "--help"] for name in SUBCOMMANDS]), strict=True))


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_help_shows_the_form_that_was_typed(name, answers, monkeypatch, capsys):
    seen, said = answers[name]
    usage, rest = seen.split("\n\n", 1)
    assert re.match(rf"usage: lcomp {name} \[-h\]", usage) and "python -m" not in seen and not said
    assert ("torch imported: True" in rest) == (name in NEEDS_TORCH) and "exit code 0" in rest
    main = importlib.import_module(SUBCOMMANDS[name]).main
    monkeypatch.setattr(sys, "argv", ["anything", "--help"])
    try:
        main()
    except SystemExit as exit:
        assert exit.code == 0
    assert capsys.readouterr().out.startswith(f"usage: python -m lcomp.{name} [-h]")


@pytest.mark.parametrize(("form", "shown"), FORMS)
def test_a_subcommand_gets_its_arguments_and_gives_its_exit_code(form, shown, monkeypatch, capsys):
    from lcomp.__main__ import main

    monkeypatch.setattr(sys, "argv", [form, "pack", "nothing"])
    with pytest.raises(SystemExit) as exit:
        main()
    assert exit.value.code == 1 and capsys.readouterr().err.startswith("lcomp: nothing: no such file; RUN is")
    monkeypatch.setattr(sys, "argv", [form, "pack", "--help"])
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().out.startswith(f"usage: {shown} pack [-h]")


def test_the_old_doors_are_the_same(tmp_path):
    command = [sys.executable, "-c", OLD_DOORS.format(names=list(SUBCOMMANDS))]
    doors = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    for name in SUBCOMMANDS:
        said, ended, doors = doors.partition(f"{name}: exit code 0\n")
        assert ended and said.startswith(f"usage: python -m lcomp.{name} [-h]"), (name, doors)


def test_help_names_every_subcommand(tmp_path):
    seen, _ = ask(tmp_path, "--help")
    listed = seen.partition("Subcommands")[2]
    assert all(f"python -m lcomp {name} " in listed for name in SUBCOMMANDS)


def test_an_override_never_is_a_subcommand(tmp_path):
    check_words(["report=false", "+pack=1", "++summary=2", "~unpack", "~report=1", "-m", "--help", "name='pack run'"])
    seen, _ = ask(tmp_path, "--cfg", "job", "report=false", "name=summary")
    assert "report: false" in seen and "name: summary" in seen


@pytest.mark.slow
def test_a_summary_is_the_same_by_both_doors(tmp_path):
    assert ask(tmp_path, "summary", "model=small_cnn")[0] == ask(tmp_path, "model=small_cnn", module="summary")[0] != ""
