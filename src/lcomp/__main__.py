"""The command line; imports nothing heavy until a run begins."""

from __future__ import annotations

import os
import sys

import hydra
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from hydra_plugins.lcomp_optuna import sweeper
from lcomp.cli import shorthand, subcommands
from lcomp.cli.error_messages import explain
from lcomp.cli.task import job
from lcomp.config import run_config
from lcomp.errors import UserError
from lcomp.escaping import terminal
from lcomp.record.interruption import Interrupted, machine_interruption


def main() -> None:
    """Runs or sweeps, or does what a subcommand does; `lcomp --help` shows the choices."""
    sys.path.insert(0, os.getcwd())  # a class of the user's own in this folder, also for the console script
    typed = sys.argv[1:]
    if typed and typed[0] in subcommands.SUBCOMMANDS:
        sys.exit(subcommands.dispatch(typed[0], typed[1:]))
    if root := os.environ.get("LCOMP_DATA"):
        os.environ["LCOMP_DATA"] = os.path.abspath(root)  # for processes of the sweep's, wherever they begin
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors arrive here as exceptions, not as a printed exit
    Plugins.instance()  # finds every plugin; of two of one name, the last one stored is Hydra's
    sweeper.register()
    try:
        sys.argv[1:], notices = shorthand.expand(typed)
        for choice in notices:
            print(choice, file=sys.stderr)
        hydra.main(version_base="1.3", config_path=str(run_config.folder().resolve()), config_name="config")(job)()
    except (UserError, HydraException, OmegaConfBaseException, ValueError) as error:
        print(terminal(f"lcomp: {explain(error, typed)}"), file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:  # whoever read the output, such as `head`, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (Exception, Interrupted) as error:
        stop = machine_interruption(error)
        if stop is None:
            raise
        print(f"lcomp: {stop}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("lcomp: interrupted", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
