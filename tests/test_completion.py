"""Tab in bash, zsh and fish, installed as docs/sweeps.md says."""

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lcomp.cli import completion

PAGE = (Path(__file__).parents[1] / "docs" / "sweeps.md").read_text()


@pytest.mark.parametrize(
    ("line", "explicit"),
    [
        ("lcomp kd.temp", "lcomp kd=logit kd.temp"),
        ("lcomp kd=", "lcomp kd="),
        ("lcomp kd=vid kd.al", "lcomp kd=vid kd.al"),
        ("lcomp quant/grid=", "lcomp quant=qat quant/grid="),
        ("lcomp prune.sparsity=0.9 ", "lcomp prune=scheduled prune.sparsity=0.9 "),
        ("lcomp -m kd.temperature=1,3 sweeper=optuna tr", "lcomp -m kd=logit kd.temperature=1 hydra/sweeper=optuna tr"),
        ("lcomp -m 'kd.temperature=interval(1,10)' quant.b", "lcomp -m kd=logit quant=qat quant.b"),
        ("lcomp -m quant=static,qat quant.b", "lcomp -m quant=static quant.b"),
        ("lcomp resume=last tr", "lcomp tr"),
        ("lcomp notes='two words' tr", "lcomp tr"),
        ("lcomp --mul", "lcomp --mul"),
        ("lcomp ", "lcomp "),
        ("lcomp report multi", None),
        ("lcomp nonsense tr", None),
        ("lcomp 'kd=", None),
        ("lcomp kd=logit[ tr", None),
    ],
)
def test_short_forms_are_written_out(line, explicit):
    assert completion.explicit(line) == explicit


def test_only_a_shell_s_question_is_one():
    assert completion.is_asked(["-sc", "query=bash"])
    assert not completion.is_asked(["-sc", "install=bash"]) and not completion.is_asked(["query=bash"])


def test_a_subcommand_is_followed_by_no_override_and_no_message(tmp_path):
    asked = query("lcomp report multi", tmp_path)
    assert (asked.returncode, asked.stdout, asked.stderr) == (0, "", "")


def test_a_key_is_completed_whose_technique_nobody_chose(tmp_path):
    assert query("lcomp trainer.max_epochs=1 kd.temp", tmp_path).stdout == "kd.temperature=\n"


def query(line, folder):
    command = [Path(sys.executable).with_name("lcomp"), "-sc", "query=bash"]
    return subprocess.run(command, cwd=folder, env=environment(COMP_LINE=line), capture_output=True, text=True)


def environment(**more):
    return os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "TERM": "xterm"} | more


def installation(shell):
    """What the page says to write into the shell's file."""
    [lines] = re.findall(rf"^## Completion.*?^```{shell}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return lines


def needing(shell):
    return pytest.mark.skipif(not shutil.which(shell), reason=f"{shell} is not installed")


class Terminal:
    """A shell as somebody sits before it."""

    def __init__(self, command, folder):
        self.terminal, theirs = pty.openpty()
        ends = {"stdin": theirs, "stdout": theirs, "stderr": theirs, "start_new_session": True}
        where = environment(HOME=str(folder), ZDOTDIR=str(folder), PS1="$ ")
        self.process = subprocess.Popen(command, cwd=folder, env=where, **ends)
        os.close(theirs)

    def write(self, keys):
        os.write(self.terminal, keys.encode())

    def read_until(self, *awaited, seconds=90):
        """What is shown, once it has every awaited text in it."""
        shown, end = "", time.monotonic() + seconds
        while not all(text in shown for text in awaited):
            assert time.monotonic() < end, f"{awaited} not in {shown!r}"
            if select.select([self.terminal], [], [], 0.2)[0]:
                shown += os.read(self.terminal, 65536).decode(errors="replace")
        return shown

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.terminal)


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        pytest.param(["bash", "--norc", "-i"], marks=needing("bash"), id="bash"),
        pytest.param(["zsh", "-f", "-i"], marks=needing("zsh"), id="zsh"),
    ],
)
def test_tab_completes(command, tmp_path):
    shell = Terminal(command, tmp_path)
    try:
        shell.write(f"{installation(command[0])}echo rea''dy\n")
        shell.read_until("ready\r\n")
        shell.write("lcomp kd.temp\t")
        shell.read_until("erature=")
        shell.write("\x15lcomp kd=\t\t")  # Ctrl-U empties the line
        shell.read_until("kd=logit", "kd=minilm", "kd=none")
        shell.write("\x15lcomp quant/grid=\t\t")
        shell.read_until("quant/grid=ternary", "quant/grid=uniform")
    finally:
        shell.close()


@pytest.mark.slow
@needing("fish")
def test_fish_completes(tmp_path):
    def completed(line):
        command = ["fish", "--no-config", "-c", f"{installation('fish')}\ncomplete -C '{line}'"]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment(HOME=str(tmp_path)), capture_output=True, text=True
        )
        assert done.stderr == ""
        return done.stdout.split()

    assert completed("lcomp kd.temp") == ["kd.temperature="]
    assert {"kd=logit", "kd=minilm", "kd=none"} <= set(completed("lcomp kd="))
    assert {"quant/grid=ternary", "quant/grid=uniform"} <= set(completed("lcomp quant/grid="))
