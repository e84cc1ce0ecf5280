"""The documentation as a site: its pages and links, nothing from a network, every key described."""

import html
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from omegaconf import OmegaConf

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS))


def keys_of(page):
    """Of each row of the tables of keys: the key, its type, its default, its words."""
    return re.findall(r"^\| `([\w.]+)` \| (`.+?`|—) \| (`.+?`) \| (.*) \|$", page, re.MULTILINE)


def test_every_page_is_in_the_navigation_once():
    nav = re.findall(r'= "([\w/]+\.md)"', (DOCS / "zensical.toml").read_text())
    made = {"CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "reference/configuration.md"}
    assert sorted(nav) == sorted({str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")} | made)
    assert tomllib.loads((DOCS / "zensical.toml").read_text())["project"]["theme"]["font"] is False


def test_every_key_has_type_default_and_words(scripts):
    import configuration_reference

    found = keys_of(configuration_reference.page())
    assert len(found) > 300
    assert [row for row in found if row[1] == "—" or not row[3]] == []
    known = {row[0] for row in found}
    conf = DOCS.parent / "conf"
    for group in ("kd", "prune", "quant", "data", "runtime", "trainer", "optimizer"):
        for path in (conf / group).glob("*.yaml"):
            stated = [f"{group}.{key}" for key in OmegaConf.load(path) if key not in ("defaults", "_target_")]
            assert all(any(one.startswith(key) for one in known) for key in stated), path
    told = {key: rest for key, *rest in found}
    assert told["prune.initial_sparsity"][:2] == ["`float`", "`0.0`"]
    assert told["seed"] == ["`int`", "`0`", "a whole number, 0 to 4294967295"]
    assert "0 to below 1" in told["trainer.warmup"][2] and told["trainer.gradient_clip_val"][0] == "`float | None`"


def test_links_to_nothing_and_to_a_network_are_found(scripts, tmp_path):
    import build_site

    (tmp_path / "inner").mkdir()
    (tmp_path / "other.html").write_text('<h2 id="here">a</h2>')
    (tmp_path / "inner" / "page.html").write_text(
        '<a href="../other.html#here"><a href="../other.html#there"><a href="gone.html"><a href="https://pytorch.org">'
        '<img src="../no.png"><script src="https://cdn.example.com/a.js"></script>'
    )
    (tmp_path / "a.css").write_text("@import url(https://fonts.example.com/b.css)")
    assert build_site.faults(tmp_path) == [
        "inner/page.html: no place ../other.html#there",
        "inner/page.html: nothing at gone.html",
        "inner/page.html: nothing at ../no.png",
        "inner/page.html: script is loaded from https://cdn.example.com/a.js",
        "a.css: https://fonts.example.com/b.css",
    ]


def test_every_snippet_is_one():
    """A formatter that takes a page's `--8<--` for Python sets spaces in it."""
    text = "".join(page.read_text() for page in sorted((DOCS / "tutorials").glob("*.md")))
    assert text.count('--8<-- "') == text.count("--8") > 15 and "--8 <" not in text


@pytest.mark.slow
def test_the_site_is_built_without_a_warning(tmp_path):
    command = [sys.executable, DOCS / "build_site.py", tmp_path / "site"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=550)
    assert done.returncode == 0, done.stdout + done.stderr
    classes = (tmp_path / "site" / "reference" / "classes.html").read_text()
    assert 'id="lcomp.api.sweep"' in classes
    page = (tmp_path / "site" / "tutorials" / "own_network.html").read_text()
    tutorial = html.unescape(re.sub(r"<[^>]+>", "", page))
    assert "A network of one's own: pixels to logits" in tutorial and "model=residual prune.sparsity=0.8" in tutorial
    assert "--8<--" not in tutorial
