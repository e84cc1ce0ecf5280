"""Values as YAML and JSON know them."""

from __future__ import annotations

from typing import TypeAlias

PlainValue: TypeAlias = bool | int | float | str | list["PlainValue"] | dict[str, "PlainValue"] | None
