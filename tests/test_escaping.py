"""What a record says is text in a terminal, in Markdown, in a spreadsheet and in a link, and nothing else."""

import csv
import io
import json
import re
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import record

from lcomp.errors import UserError
from lcomp.escaping import csv_cell, one_line, relative_url, terminal
from lcomp.report import __main__ as command
from lcomp.report import charts
from lcomp.report.runs import load_runs
from lcomp.report.text_table import TextTable

ANYTHING = st.text(
    st.one_of(st.sampled_from("\x1b\x9b\r\n\x85\u2028\u202e|\\`<>&[]()*_~$#=+-@:/ a\t\x00"), st.characters())
)
SEEN = re.compile(r"(?<!\\)(?:\\\\)*\|")  # where a row of Markdown has cells begin


def test_control_characters_are_shown_and_not_obeyed():
    assert terminal("a\x1b[2J\x9b1m\x07\r\x7fb\tc\nd") == "a\\x1b[2J\\x9b1m\\x07\\r\\x7fb\tc\nd"
    assert terminal("pass\u202edrow \u2066x é 数 🙂") == "pass\\u202edrow \\u2066x é 数 🙂"
    assert one_line("ok\r\nrun 2: \u2028forged") == "ok run 2:  forged"
    assert str(UserError("kd=\x1b]0;x\x07: unknown")) == "kd=\\x1b]0;x\\x07: unknown"


@given(ANYTHING)
def test_no_text_controls_a_terminal(text):
    assert all(sign.isprintable() or sign in "\t\n" or not sign.isascii() for sign in terminal(text))
    assert not set(terminal(text)) & set("\x1b\x9b\x85\r\x07\u202e")
    assert len(one_line(text).splitlines()) <= 1


@given(ANYTHING, ANYTHING)
def test_no_text_leaves_its_cell_of_a_table(one, other):
    made = TextTable(one, ["a", other], [[one, other], ["b", one]], [other]).text("markdown")
    rows = [line for line in made.split("\n") if line.startswith("| ")]
    assert made.splitlines() == made.removesuffix("\n").split("\n") and len(rows) == 3
    assert [len(SEEN.findall(row)) for row in rows] == [3, 3, 3]
    assert "<" not in made and not re.search(r"(?<!\\)(\\\\)*[\[`]", made)
    back = list(csv.reader(io.StringIO(TextTable(one, ["a", other], [[one, other]]).text("csv"), newline="")))
    assert [len(row) for row in back] == [1, 2, 2]
    for text in (value for row in back for value in row):
        assert not re.match(r"\s*[=+@-]", text) or re.fullmatch(r"[-+][\d.]+", text)
        assert not set(text) & set("\x1b\r")


@pytest.mark.parametrize("formula", ["=1+1", "+a", "-a", "@SUM(A1)", "\t=1", "\n=1", "  =1", "+0.12 (-0.1 to 0.3)"])
def test_a_spreadsheet_computes_nothing(formula):
    assert csv_cell(formula) == f"'{formula}"


def test_numbers_of_a_spreadsheet_stay_numbers():
    assert [csv_cell(value) for value in ("-0.5", "+1e-3", -2.5, 3, None, "a=b", "")] == [
        "-0.5",
        "+1e-3",
        -2.5,
        3,
        None,
        "a=b",
        "",
    ]


@pytest.mark.parametrize("name", ["javascript:alert(1)", "data:text,x", "a?b#c", "%2e%2e", "a b", "é\udcff", "a\\b"])
def test_a_link_leads_to_the_file_beside_the_page_and_runs_nothing(name):
    link = urlsplit(urljoin("http://here/folder/report.html", relative_url(f"{name}/result.json")))
    assert (link.scheme, link.netloc, link.query, link.fragment) == ("http", "here", "", "")
    assert unquote(link.path, errors="surrogateescape") == f"/folder/{name}/result.json"


HOSTILE = "\x1b]0;owned\x07\x1b[2J\r| x | [y](javascript:alert(1)) <img src=x onerror=alert(1)> \u202e"


def test_a_report_of_a_hostile_folder_has_only_text(tmp_path, monkeypatch, capsys):
    """A folder, overrides, a name, an error and the keys of figures that are made to be obeyed."""
    made = record(tmp_path / "javascript:alert(1)", f"model.name={HOSTILE}", "seed=0")
    made.params |= {"=1+1": 3.0, HOSTILE: "=1+1"}
    made.metrics["accuracy/\x1b[2J"] = 0.5
    made.choices["kd"] = "\x00 \U0001f600"  # which no font has
    made.write(tmp_path / "javascript:alert(1)")
    record(tmp_path / "b", "seed=1", status="failed", error=f"=cmd {HOSTILE}")
    for form in ("terminal", "markdown", "csv"):
        monkeypatch.setattr("sys.argv", ["lcomp.report", str(tmp_path), "--format", form])
        assert command.main() == 0
    monkeypatch.setattr("sys.argv", ["lcomp.report", str(tmp_path)])
    assert command.main() == 0
    printed = capsys.readouterr()
    assert not set(printed.out + printed.err) & set("\x1b\x07\r\u202e")

    written = (tmp_path / "report.md").read_bytes().decode()
    assert not set(written) & set("\x1b\x07\r\u202e") and "<img" not in written and "[y](" not in written
    rows = list(csv.reader(io.StringIO((tmp_path / "results.csv").read_bytes().decode(), newline="")))
    assert len({len(row) for row in rows}) == 1
    assert not [value for row in rows for value in row if value[:1] in ("=", "+", "@", "\t", "\r")]

    drawn = charts.page_data(load_runs([tmp_path]), tmp_path)["runs"]
    links = {run["record"] for run in drawn}
    assert {run["artifact"] for run in drawn} == {"javascript%3Aalert%281%29/artifact.onnx", None}
    assert links == {"javascript%3Aalert%281%29/result.json", "b/result.json"}
    page = (tmp_path / "report.html").read_text()
    data = json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', page, re.DOTALL)[1])
    assert {run["record"] for run in data["runs"]} == links and "<img src=x" not in page
    assert Path(tmp_path / unquote(sorted(links)[1])).is_file()
