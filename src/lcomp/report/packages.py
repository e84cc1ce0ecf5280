"""What a report's page and pictures need beside what lcomp stands on, asked before the work begins."""

from __future__ import annotations

from lcomp.errors import check_installed

MODULES = ("plotly", "matplotlib", "sklearn", "pyarrow")


def check_packages(what: str, instead: str = "") -> None:
    """Raises UserError where the extra `report` is not installed.

    Args:
        what, instead: as in `lcomp.errors.needing`.
    """
    check_installed("report", what, *MODULES, instead=instead)
