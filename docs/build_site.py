"""Builds the site: `python docs/build_site.py [FOLDER]` (`make docs`) writes site/ from docs/; any warning is an error.

The pages are assembled in .site/ first: docs/*.md as they are, the repository's own pages beside them, links to source
files turned to copies of these, and the reference of every configuration key. Zensical then builds them with warnings
as errors, and every link and picture of what it wrote is looked up.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).parents[1]
DOCS, WORK = ROOT / "docs", ROOT / ".site"
sys.path.insert(0, str(DOCS))

import configuration_reference  # noqa: E402  (it lies beside this script)

BESIDE = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")  # pages of the repository that stand in the site as well
LINK = re.compile(r"(?<=\]\()(?!https?:|mailto:|#)([^)\s#]+)")
SHIM, WORKER = "https://unpkg.com/iframe-worker/shim", "file_worker.js"  # what Zensical names there, and our own
READERS = ("griffe:", "mkdocstrings", "WARNING")  # of docstrings: what they warn of, Zensical passes over
NEEDED = {"a": "href", "img": "src", "script": "src", "link": "href", "source": "src"}


def assemble() -> None:
    """Writes .site/pages, which has nothing outside itself to link to."""
    shutil.rmtree(WORK, ignore_errors=True)
    pages = WORK / "pages"
    shutil.copytree(DOCS, pages, ignore=shutil.ignore_patterns("*.py", "*.toml", "*.js", "__pycache__"))
    for name in BESIDE:
        shutil.copy(ROOT / name, pages / name)
    shutil.copy(DOCS / "zensical.toml", WORK)
    (pages / "reference").mkdir(exist_ok=True)
    (pages / "reference" / "configuration.md").write_text(configuration_reference.page())
    for page in sorted(pages.rglob("*.md")):
        page.write_text(with_links(page.read_text(), page.relative_to(pages)))


def with_links(text: str, page: Path) -> str:
    """A page's text, its links to files of the repository turned to where these stand in the site."""
    home = ROOT if page.name in BESIDE else DOCS / page.parent  # where the page's own links start

    def turned(found: re.Match[str]) -> str:
        target = (home / found[1]).resolve()
        if target.is_relative_to(DOCS) or not target.exists():  # where there is nothing, Zensical says so
            inside = target.relative_to(DOCS) if target.is_relative_to(DOCS) else Path(found[1])
        else:
            inside = beside(target)
        return Path(*[".."] * len(page.parent.parts), inside).as_posix()

    return LINK.sub(turned, text)


def beside(target: Path) -> Path:
    """Where a file of the repository stands in the site, from its root; copied there if it is no page."""
    if target.name in BESIDE and target.parent == ROOT:
        return Path(target.name)
    if target == ROOT / "README.md":
        return Path("index.md")
    if target.is_relative_to(ROOT / "examples"):
        return Path("tutorials/index.md")
    copy = WORK / "pages" / "source" / target.relative_to(ROOT)
    if target.is_dir():  # what it holds, as a list
        copy = copy / "index.txt"
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_text("\n".join(sorted(one.name for one in target.iterdir())) if target.is_dir() else target.read_text())
    return copy.relative_to(WORK / "pages")


class Page(HTMLParser):
    """What a page links to and loads, and the names that links may point at in it."""

    def __init__(self, text: str):
        super().__init__()
        self.links: list[tuple[str, str]] = []
        self.names: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {key: value or "" for key, value in attrs}
        self.names |= {given[key] for key in ("id", "name") if key in given}
        if NEEDED.get(tag) in given and given.get("rel") != "canonical":
            self.links.append((tag, given[NEEDED[tag]]))


def faults(site: Path) -> list[str]:
    """Links to nothing, and whatever a page would load from a network."""
    pages = {path: Page(path.read_text()) for path in sorted(site.rglob("*.html"))}
    found = []
    for path, page in pages.items():
        if path.name == "404.html":  # which a server shows from anywhere: its links start at the root
            continue
        for tag, link in page.links:
            address = urlsplit(link)
            if address.scheme or address.netloc:
                if tag != "a":
                    found.append(f"{path.relative_to(site)}: {tag} is loaded from {link}")
                continue
            target = (path.parent / unquote(address.path)).resolve() if address.path else path
            target = target / "index.html" if target.is_dir() else target
            fragment = unquote(address.fragment)
            if not target.is_file():
                found.append(f"{path.relative_to(site)}: nothing at {link}")
            elif fragment and target in pages and fragment not in pages[target].names:
                found.append(f"{path.relative_to(site)}: no place {link}")
    for style in site.rglob("*.css"):
        found += [
            f"{style.relative_to(site)}: {url}" for url in re.findall(r"url\([\"']?(https?:[^)]*)", style.read_text())
        ]
    return found


def without_network(site: Path) -> None:
    """Puts beside the pages what their search needs where they are opened from a folder; Zensical would load it."""
    shutil.copy(DOCS / WORKER, site)
    for path in site.rglob("*.html"):
        up = "../" * len(path.relative_to(site).parents[:-1])
        path.write_text(path.read_text().replace(SHIM, f"{up}{WORKER}"))


def main(out: Path = ROOT / "site") -> int:
    """Builds the site; the exit code is 1 where anything is wrong."""
    assemble()
    command = [sys.executable, "-m", "zensical", "build", "--clean", "--strict"]
    told = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "env": os.environ | {"NO_COLOR": "1"}}
    built = subprocess.run(command, cwd=WORK, text=True, **told)
    print(built.stdout)
    if built.returncode:
        return 1
    without_network(WORK / "site")
    wrong = [line for line in built.stdout.splitlines() if line.startswith(READERS)] + faults(WORK / "site")
    print(*wrong, sep="\n", end="\n" if wrong else "")
    if wrong:
        return 1
    shutil.rmtree(out, ignore_errors=True)
    shutil.move(WORK / "site", out)
    shutil.rmtree(WORK)
    print(f"{out / 'index.html'}: {len(list(out.rglob('*.html')))} pages")
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
