"""The command line; imports Hydra for what it composes, and nothing heavier until a run begins."""

from __future__ import annotations

import os
import sys

from lcomp.cli import help_text, subcommands


def main() -> None:
    """Runs or sweeps, or does what a subcommand does; `lcomp --help` shows the choices."""
    sys.path.insert(0, os.getcwd())  # a class of the user's own in this folder, also for the console script
    typed = sys.argv[1:]
    if typed and typed[0] in subcommands.SUBCOMMANDS:
        sys.exit(subcommands.dispatch(typed[0], typed[1:]))
    if help_text.is_plain(typed):
        sys.exit(help_text.print_help())
    from lcomp.cli import command  # with Hydra and its plugins, which take longer than all of the above

    if code := command.carry_out(typed):
        sys.exit(code)


if __name__ == "__main__":
    main()
