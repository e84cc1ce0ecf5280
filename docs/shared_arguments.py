"""An extension of griffe: `begin, end: ...` in a docstring's arguments is said of both names."""

from __future__ import annotations

import re
from typing import Any

import griffe

SECTION = re.compile(r"^( *)(?:Args|Attributes):\n(?:\1 {4}.*\n?|\n)+", re.MULTILINE)
SHARED = re.compile(r"^( +)(\w+(?:, \w+)+): (.*(?:\n\1 {4}.*)*)", re.MULTILINE)


class SharedArguments(griffe.Extension):
    """Gives each name a line of its own, before the docstring is read."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = SECTION.sub(lambda section: SHARED.sub(each, section[0]), obj.docstring.value)


def each(found: re.Match[str]) -> str:
    indent, names, words = found.groups()
    return "\n".join(f"{indent}{name}: {words}" for name in names.split(", "))
