"""Pages that are read once: short sentences, and messages that are really given."""

import ast
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md")), *sorted((ROOT / "examples").rglob("*.md"))]
MOST = 25  # words
SVG = "{http://www.w3.org/2000/svg}"


def sentences(text):
    """Those of paragraphs, list items and cells of tables; code is one word each time."""
    text = re.sub(r"^```.*?^```$|<!--.*?-->", "\n", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"^(?: {4}|#+ |--8<--).*$", "\n", text, flags=re.MULTILINE)
    text = re.sub(r"`[^`]+`", "code", re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text))
    blocks = re.split(r"\n\s*\n|\n(?=\s*(?:[-*] |\d+\. ))|\n?\|", text)
    for block in blocks:
        yield from (found for found in re.split(r"(?<=[.?!])[)*]*\s+(?=\S)", " ".join(block.split())) if found)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_sentences_are_short(page):
    assert [found for found in sentences(page.read_text()) if len(found.split()) > MOST] == []


def test_a_long_sentence_is_seen():
    long = "A word " * 13
    assert [
        len(found.split()) for found in sentences(f"Short. {long}end.\n\n- One item\n- `code in it` and more.\n")
    ] == [1, 27, 3, 4]
    assert [*sentences(f"```\n{long}\n```\n# {long}\n| a | {long} |\n")] == ["a", long.strip()]


def test_the_readme_is_short_and_shows_the_report():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) < 150 and "](docs/report.png)" in text and "](docs/terminal.svg)" in text
    for command in ("    make sweep ", "    make test "):
        assert command in text


def test_the_recorded_terminal_is_one_small_picture_that_ends_with_the_table():
    path = DOCS / "terminal.svg"
    picture = ElementTree.parse(path)
    *_, last = next(one for one in picture.iter(f"{SVG}g") if one.get("class") == "frames").iter(f"{SVG}text")
    rows = ["".join(one.itertext()) for one in picture.iter(f"{SVG}text")]
    assert path.stat().st_size < 300_000 and "".join(last.itertext()) == "$"
    assert rows[-2].startswith("Report: multirun/") and "kd.temperature=8" in "".join(rows[-12:])
    assert {one.tag.removeprefix(SVG) for one in picture.iter()} == {
        "svg",
        "title",
        "style",
        "rect",
        "g",
        "text",
        "tspan",
    }
    assert not re.search(r"https?:|url\(|@import", path.read_text().replace(SVG.strip("{}"), ""))
    assert "prefers-reduced-motion:reduce" in path.read_text() and " infinite" in path.read_text()


def test_a_frame_is_drawn_at_its_columns_and_shown_no_longer_than_it_lasted(monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS))
    import terminal

    frames = [(0.0, ["$ a"]), (0.05, ["$ a", "\x1b[1m<b>\x1b[0m  c"]), (99.0, ["$"])]
    assert terminal.shown(frames) == pytest.approx([0.05, terminal.LONGEST, terminal.LAST])
    drawn = ElementTree.fromstring(terminal.draw(frames))
    bold, plain = [one for one in drawn.iter(f"{SVG}tspan") if one.text in ("<b>", "c")]
    assert bold.get("font-weight") == "bold" and plain.get("font-weight") is None
    assert (float(bold.get("x")), float(plain.get("x"))) == (0, 5 * terminal.CELL)


def texts():
    """Every text of the source, what stands for a value in it as an ellipsis."""
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                yield "".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def test_every_message_of_troubleshooting_is_given_somewhere():
    messages = re.findall(r"^\| `([^`]+)` \|", (DOCS / "troubleshooting.md").read_text(), re.MULTILINE)
    given = [*texts()]
    assert len(messages) > 30
    lost = [one for one in messages if not any(re.sub(r"\b[A-Z]{2,}\b", "…", one) in text for text in given)]
    assert lost == []
