"""Records docs/terminal.svg: `python docs/terminal.py` types the README's sweep and draws what the terminal shows.

The terminal is tmux's, in an empty folder, thus without a cached baseline; `LCOMP_DATA` leads to MNIST. Every change of
the screen is a frame. The picture shows one after another, none longer than the seconds below. It needs no script and
no network, so that it also moves in a page's `<img>`. Who asks their system for less motion sees the last frame.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from html import escape
from itertools import pairwise
from pathlib import Path

from rich.console import Console
from rich.style import Style
from rich.terminal_theme import MONOKAI, TerminalTheme
from rich.text import Text

TARGET = Path(__file__).with_name("terminal.svg")
COMMAND = "python -m lcomp -m kd.temperature=1,3,6,8"
COLUMNS, MOST_ROWS = 124, 50
KEY, LONGEST, LAST = 0.1, 0.8, 8.0  # seconds: each key, every other frame, the last
CELL, LINE, MARGIN = 8.4, 16, 14  # pixels: a character's width, a row's height, what is left around them
FONT = "ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono','Liberation Mono',monospace"

Frame = tuple[float, list[str]]  # when the screen began to look so, in seconds; its rows with their escape sequences


def record(command: str) -> list[Frame]:
    """What a terminal shows from the first key of the command to the prompt after it."""
    frames: list[Frame] = []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder) / "work"
        work.mkdir()
        environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

        def tmux(*words: str) -> str:
            command = ["tmux", "-S", f"{folder}/socket", "-f", "/dev/null", *words]
            return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout

        def look() -> None:
            rows = tmux("capture-pane", "-e", "-p").rstrip("\n").split("\n")
            if not frames or frames[-1][1] != rows:
                frames.append((time.monotonic(), rows))

        size = ("-x", str(COLUMNS), "-y", str(MOST_ROWS))
        tmux("new-session", "-d", *size, "-c", str(work), "env", "PS1=$ ", "bash", "--norc")
        try:
            time.sleep(1)
            for key in command:
                look()
                tmux("send-keys", "-l", key)
                time.sleep(0.05)
            look()
            tmux("send-keys", "Enter")
            time.sleep(1)
            while tmux("display-message", "-p", "#{pane_current_command}").strip() != "bash":
                look()
                time.sleep(0.1)
            time.sleep(1)
            look()
        finally:
            tmux("kill-server")
    return frames


def shown(frames: list[Frame]) -> list[float]:
    """For how many seconds the picture shows each frame."""
    return [
        min(after - before, KEY if len(rows) == 1 else LONGEST) for (before, rows), (after, _) in pairwise(frames)
    ] + [LAST]


def row(line: str, theme: TerminalTheme) -> str:
    """The row as SVG, each piece of one style at its column."""
    console = Console(width=COLUMNS, color_system="truecolor", legacy_windows=False)
    column, pieces = 0, []
    for text, style, _ in Text.from_ansi(line, end="").render(console):
        start, column = column, column + len(text)
        if not text.strip():
            continue
        start += len(text) - len(text.lstrip())
        text = text.strip()
        pieces.append(
            f'<tspan x="{start * CELL:g}" textLength="{len(text) * CELL:g}"{look_of(style or Style(), theme)}>'
            f"{escape(text, quote=False)}</tspan>"
        )
    return "".join(pieces)


def look_of(style: Style, theme: TerminalTheme) -> str:
    """The attributes of a style that differ from plain text."""
    look = ""
    if style.color and not style.color.is_default:
        look += f' fill="{style.color.get_truecolor(theme).hex}"'
    if style.bold:
        look += ' font-weight="bold"'
    if style.italic:
        look += ' font-style="italic"'
    if style.dim:
        look += ' opacity="0.6"'
    return look


def draw(frames: list[Frame], theme: TerminalTheme = MONOKAI) -> str:
    """The picture: the frames below each other, and a window on one of them that jumps to the next at its time."""
    rows = max(len(lines) for _, lines in frames)
    width, height = round(COLUMNS * CELL + 2 * MARGIN), rows * LINE + 2 * MARGIN
    times = shown(frames)
    total, before, steps, drawn = sum(times), 0.0, [], []
    for at, (wait, (_, lines)) in enumerate(zip(times, frames, strict=True)):
        steps.append(f"{100 * before / total:.3f}%{{transform:translateY({-at * height}px)}}")
        texts = (
            f'<text y="{at * height + MARGIN + LINE * (place + 0.76):g}">{found}</text>'
            for place, line in enumerate(lines)
            if (found := row(line, theme))
        )
        drawn.append("".join(texts))
        before += wait
    last = f"transform:translateY({-(len(frames) - 1) * height}px)"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
            'role="img">',
            f"<title>A terminal: {escape(COMMAND)}</title>",
            "<style>",
            f"text{{font:14px {FONT};fill:{theme.foreground_color.hex};white-space:pre}}",
            f"@keyframes play{{{''.join(steps)}}}",
            f".frames{{animation:play {total:.2f}s steps(1,end) infinite}}",
            f"@media(prefers-reduced-motion:reduce){{.frames{{animation:none;{last}}}}}",
            "</style>",
            f'<rect width="{width}" height="{height}" rx="8" fill="{theme.background_color.hex}"/>',
            f'<svg x="{MARGIN}" width="{width - 2 * MARGIN}" height="{height}"><g class="frames">',
            *drawn,
            "</g></svg>",
            "</svg>\n",
        ]
    )


def main() -> None:
    frames = record(COMMAND)
    TARGET.write_text(draw(frames))
    took = frames[-1][0] - frames[0][0]
    print(f"{TARGET}: {took:.0f} seconds recorded, shown in {sum(shown(frames)):.0f}, {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()
