"""Serves the report's page of sweeps to browsers of this machine, with what is new while they run: runs that end, how
far those are that run, their logs. Ctrl-C ends it; the sweeps go on."""

from __future__ import annotations

import argparse
import secrets
import sys
import webbrowser
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from lcomp.errors import UserError, check_installed
from lcomp.record.run_folders import latest_sweep
from lcomp.report.packages import check_packages
from lcomp.watch.sweep_reader import check_sweeps


def main(arguments: Sequence[str] | None = None, prog: str = "python -m lcomp.watch") -> int:
    """Serves until Ctrl-C; 1, with one line, where that cannot be."""
    parser = argparse.ArgumentParser(prog=prog, description=__doc__)
    parser.add_argument(
        "folders", type=Path, nargs="*", metavar="DIR", help="a sweep's folder, or one of sweeps; else the newest sweep"
    )
    parser.add_argument("--port", type=port, help="of 127.0.0.1; else 8765, or a free one where that is taken")
    parser.add_argument("--open", action="store_true", help="open the page in the browser")
    parser.add_argument("--allow-stop", action="store_true", help="give the page a button that ends a run")
    given = parser.parse_args(arguments)
    try:
        watch(given)
    except UserError as error:
        print(f"lcomp: {error}", file=sys.stderr)
        return 1
    return 0


def port(typed: str) -> int:
    """A port as it was typed; argparse says what it must be."""
    if not typed.isdecimal() or not 1 <= int(typed) <= 65535:
        raise argparse.ArgumentTypeError(f"{typed}: must be a whole number from 1 to 65535")
    return int(typed)


def watch(given: argparse.Namespace) -> None:
    """What the command line asks for.

    Raises:
        UserError: a folder without a sweep, a port that is taken, a package that is missing.
    """
    folders = given.folders or [Path(latest_sweep("lcomp watch"))]
    check_sweeps(folders)
    check_packages("lcomp watch")
    check_installed("watch", "lcomp watch", "starlette", "uvicorn")
    from lcomp.watch import server
    from lcomp.watch.live_page import LivePage

    token = secrets.token_urlsafe(16)
    with server.listen(given.port) as listening:
        address = f"http://{server.ADDRESS}:{listening.getsockname()[1]}/{token}/"
        print(f"{address}  (Ctrl-C ends it; the sweep goes on)", flush=True)
        if given.open:
            webbrowser.open(address)
        with suppress(KeyboardInterrupt):
            server.serve(server.application(LivePage(folders), token, given.allow_stop), listening)


if __name__ == "__main__":
    sys.exit(main())
