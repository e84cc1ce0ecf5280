"""What a sweep is composed to, held against what its runs read, before its folder is made."""

from __future__ import annotations

import re

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from lcomp.config import run_config
from lcomp.config.composition import config_loader, only_own_files
from lcomp.errors import UserError
from lcomp.record.containers import plain_list, plain_mapping

WHOLE = ("launcher", "sweeper", "sweep")  # of `hydra`: what carries a sweep out, one for all of its points


def check_composition(cfg: DictConfig) -> None:
    """Raises UserError for a key that no run would read, for a folder that is not one for all of the runs, and for an
    experiment, one of several, that chooses by what the sweep is carried out.

    Args:
        cfg: the sweep's configuration, Hydra's part included.
    """
    hydras, task = ([str(one) for one in plain_list(cfg.hydra.overrides[part])] for part in ("hydra", "task"))
    parsed = OverridesParser.create(config_loader=config_loader()).parse_overrides(task)
    fixed = [str(override.input_line) for override in parsed if not override.is_sweep_override()]
    content = {key: one for key, one in plain_mapping(cfg).items() if key != "hydra"}
    run_config.check_keys(OmegaConf.create(content), [*hydras, *fixed])
    check_folder(cfg, [str(one.key_or_group).replace("/", ".") for one in parsed if one.is_sweep_override()])
    for override in parsed:
        if override.key_or_group == "experiment" and override.is_sweep_override():
            check_experiments(cfg, hydras, override)


def check_folder(cfg: DictConfig, swept: list[str]) -> None:
    written = str(plain_mapping(cfg.hydra.sweep)["dir"])
    for named in re.findall(r"\$\{([\w.:]+)\}", written):
        of_a_run = named.replace("hydra:", "hydra.").startswith("hydra.job.") and not named.endswith("job.name")
        if of_a_run or any(f"{named}.".startswith(f"{key}.") for key in swept):
            raise UserError(
                f"hydra.sweep.dir={written}: one folder for the whole sweep, and ${{{named}}} differs between runs; "
                "name a folder without it"
            )


def check_experiments(cfg: DictConfig, hydras: list[str], swept: Override) -> None:
    loader = config_loader()
    if only_own_files(loader):  # which choose nothing of the kind
        return
    for choice in swept.sweep_string_iterator():
        composed = loader.load_configuration("config", [*hydras, f"experiment={choice}"], RunMode.RUN, from_shell=False)
        for part in WHOLE:
            chosen, sweep_wide = (plain_mapping(c.hydra[part]) for c in (composed, cfg))
            if chosen != sweep_wide:
                raise UserError(
                    f"experiment={choice}: sets hydra.{part}, which is one for all points of a sweep; take it out of "
                    f"the file, and give it on the command line (as in launcher=serial, hydra.{part}.KEY=VALUE)"
                )
