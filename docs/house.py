"""Draws the house: `python docs/house.py` writes docs/images/house.svg from the code and from pyproject.toml's layers.

Rooms stand from the doors down to what knows nothing of the others, each with its lines of code; an arc is an import of
one room by another, the wider the more modules do it.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from html import escape
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "images" / "house.svg"
ROW, GAP, LEFT, WIDTH, REACH = (
    30,
    12,
    20,
    300,
    330,
)  # pixels: of a room, between layers, of the boxes, of the longest arc
COLOURS = ("#1f6f8b", "#b5532a", "#4c7a34", "#7a4b94", "#a8871c", "#34568b", "#8c3a56", "#3d8577")


def layers() -> list[list[str]]:
    """The rooms, from the doors down."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    [contract] = [one for one in settings["contracts"] if one["type"] == "layers"]
    return [layer.split(" | ") for layer in contract["layers"]]


def lines(room: str) -> int:
    """Of code, comments and docstrings."""
    place = ROOT.joinpath("src", *room.split("."))
    files = place.rglob("*.py") if place.is_dir() else [place.with_suffix(".py")]
    return sum(len(file.read_text().splitlines()) for file in files)


def imports(rooms: list[str]) -> Counter[tuple[str, str]]:
    """How many pairs of modules are behind each import of one room by another."""
    roots = [room if room.startswith("hydra_plugins.") else room.partition(".")[0] for room in rooms]
    graph = grimp.build_graph(*dict.fromkeys(roots), cache_dir=None)
    home = {module: room for module in graph.modules for room in rooms if f"{module}.".startswith(f"{room}.")}
    pairs = ((home.get(a), home.get(b)) for a in graph.modules for b in graph.find_modules_directly_imported_by(a))
    return Counter((a, b) for a, b in pairs if a and b and a != b)


def picture() -> str:
    """The SVG."""
    floors = layers()
    rooms = [room for floor in floors for room in floor]
    found = imports(rooms)
    top, middle, boxes = 70, {}, []
    y = top
    for floor in floors:
        height = ROW * len(floor)
        boxes.append(
            f'<rect x="{LEFT}" y="{y}" width="{WIDTH}" height="{height}" rx="6" fill="#f1f3f5" stroke="#adb5bd"/>'
        )
        for number, room in enumerate(floor):
            middle[room] = y + ROW * number + ROW / 2
            base, name = middle[room] + 5, escape(room.removeprefix("lcomp."))
            boxes.append(f'<text class="room" id="{escape(room)}" x="{LEFT + 12}" y="{base}">{name}</text>')
            boxes.append(f'<text class="lines" x="{LEFT + WIDTH - 12}" y="{base}">{lines(room):,}</text>')
        y += height + GAP
    span = max(middle.values()) - min(middle.values())
    arcs = []
    for (a, b), count in sorted(found.items(), key=lambda pair: -abs(middle[pair[0][1]] - middle[pair[0][0]])):
        start, end, edge = middle[a] + 4, middle[b] - 4, LEFT + WIDTH
        out = edge + 30 + REACH * abs(end - start) / span * 1.25
        colour = COLOURS[rooms.index(a) % len(COLOURS)]
        curve = f"M{edge},{start:.0f} C{out:.0f},{start:.0f} {out:.0f},{end:.0f} {edge + 6},{end:.0f}"
        arcs.append(
            f'<path class="import" d="{curve}" stroke="{colour}" stroke-width="{min(1 + count / 5, 5):.1f}" '
            'marker-end="url(#tip)">'
            f"<title>{escape(a)} imports {escape(b)}: {count}</title></path>"
        )
    upward = sum(middle[b] <= middle[a] for a, b in found)
    total = f"{sum(map(lines, rooms)):,} lines, {len(found)} imports of one room by another, {upward or 'none'} upward"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + REACH + 40} {y + 10}" '
            'font-family="Helvetica, Arial, sans-serif" font-size="14">',
            "<style>.lines{text-anchor:end;fill:#6c757d}.import{fill:none;opacity:.55}.import:hover{opacity:1}</style>",
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
            'markerUnits="userSpaceOnUse" orient="auto"><path d="M0,0 L8,4 L0,8 z" fill="#495057"/></marker></defs>',
            '<rect width="100%" height="100%" fill="white"/>',
            f'<text x="{LEFT}" y="28" font-size="18" font-weight="bold">The house: an import goes down</text>',
            f'<text x="{LEFT}" y="50" fill="#6c757d">{len(rooms)} rooms and doors, {total}</text>',
            *arcs,
            *boxes,
            "</svg>",
            "",
        ]
    )


if __name__ == "__main__":
    PICTURE.write_text(picture())
    print(PICTURE)
