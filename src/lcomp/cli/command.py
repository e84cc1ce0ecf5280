"""A command line, carried out: what `python -m lcomp` and `lcomp.run(...)` both call."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import hydra
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from lcomp.cli import completion, shorthand
from lcomp.cli.error_messages import explain
from lcomp.cli.help_text import closed_output
from lcomp.cli.task import job
from lcomp.config import run_config
from lcomp.errors import UserError, terminal
from lcomp.record.interruption import Interrupted, machine_interruption
from lcomp.record.listener import listener
from lcomp.search.choices import register


def carry_out(typed: Sequence[str]) -> int:
    """Runs or sweeps; returns the exit code, after a line that says what was wrong.

    Raises:
        SystemExit: a run failed.
    """
    if root := os.environ.get("LCOMP_DATA"):
        os.environ["LCOMP_DATA"] = os.path.abspath(root)  # for processes of the sweep's, wherever they begin
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors arrive here as exceptions, not as a printed exit
    Plugins.instance()  # finds every plugin; of two of one name, the last one stored is Hydra's
    register()
    if completion.is_asked(typed):
        line = completion.explicit(os.environ.get("COMP_LINE", ""))
        if line is None:
            return 0
        os.environ["COMP_LINE"] = line
    try:
        sys.argv[1:], notices = shorthand.expand(list(typed))
        for choice in notices:
            print(choice, file=sys.stderr)
        hydra.main(version_base="1.3", config_path=str(run_config.folder().resolve()), config_name="config")(job)()
    except (UserError, HydraException, OmegaConfBaseException, ValueError) as error:
        say(explain(error, typed), "user")
        return 1
    except BrokenPipeError:
        return closed_output()
    except (Exception, Interrupted) as error:
        stop = machine_interruption(error)
        if stop is None:
            raise
        say(str(stop), "machine")
        return 1
    except KeyboardInterrupt:
        say("interrupted", "interrupted")
        return 130
    return 0


def say(message: str, kind: str) -> None:
    """Says why the command ended: to whoever started this process as a part of theirs, else on standard error."""
    if listener.is_there:
        listener.tell(error=message, kind=kind)
    else:
        print(terminal(f"lcomp: {message}"), file=sys.stderr)
