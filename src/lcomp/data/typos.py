"""Slips of the hand in sentences: wrong keys, letters that change places or are left out, a locked capital key."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

from lcomp.errors import UserError, validate_choice

ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
SHIFTS = (0.0, 0.25, 0.75)  # of a keyboard's rows, in widths of a key
USUAL = 3
WORD = re.compile(r"[^\W\d_]{2,}")  # letters alone: a slip falls on none of one letter


def neighbours() -> dict[str, str]:
    """Which keys lie around that of each letter."""
    places = {
        key: (column + shift, row)
        for row, (keys, shift) in enumerate(zip(ROWS, SHIFTS, strict=True))
        for column, key in enumerate(keys)
    }
    return {
        key: "".join(
            other
            for other, (column, row) in places.items()
            if other != key and abs(row - places[key][1]) <= 1 and abs(column - places[key][0]) <= 1
        )
        for key in places
    }


NEIGHBOURS = neighbours()


def keyboard(word: str, place: float, choice: float) -> str:
    """Another key, beside the right one, for one of the letters; those of no English keyboard stay."""
    at = int(place * len(word))
    around = NEIGHBOURS.get(word[at].lower(), "")
    if not around:
        return word
    key = around[int(choice * len(around))]
    return word[:at] + (key.upper() if word[at].isupper() else key) + word[at + 1 :]


def swap(word: str, place: float, choice: float) -> str:
    """A letter and the one behind it change places."""
    at = int(place * (len(word) - 1))
    return word[:at] + word[at + 1] + word[at] + word[at + 2 :]


def drop(word: str, place: float, choice: float) -> str:
    """A letter is left out."""
    at = int(place * len(word))
    return word[:at] + word[at + 1 :]


def case(word: str, place: float, choice: float) -> str:
    """Capitals for small letters, and the other way."""
    return word.swapcase()


TYPOS: dict[str, Callable[[str, float, float], str]] = {"keyboard": keyboard, "swap": swap, "drop": drop, "case": case}


def with_typos(text: str, kind: str, severity: int, number: int) -> str:
    """`text` in which a tenth of the words of two letters or more, `severity` times, have a slip each.

    Args:
        kind: one of `TYPOS`.
        severity: 1 to 5; the words that a lower one hits, a higher one hits likewise.
        number: of the sentence, which decides the draw.

    Raises:
        UserError: an unknown kind, or a severity that is not 1 to 5.
    """
    validate_choice("robustness=typos", kind, tuple(TYPOS))
    if type(severity) is not int or severity not in range(1, 6):
        raise UserError(f"robustness=typos: severity {severity}; must be 1, 2, 3, 4 or 5")
    draw = random.Random(f"{kind} {number}")

    def hit(found: re.Match[str]) -> str:
        chance, place, choice = draw.random(), draw.random(), draw.random()
        return TYPOS[kind](found.group(), place, choice) if chance < severity / 10 else found.group()

    return WORD.sub(hit, text)
