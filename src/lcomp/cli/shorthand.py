"""The short way of asking: a command line in the words that Hydra has for it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from hydra._internal.utils import get_args_parser

from lcomp.cli import resuming
from lcomp.cli.subcommands import check_words
from lcomp.config import quoting
from lcomp.config.run_config import FAMILIES, folder
from lcomp.errors import UserError, check_installed, suggestion
from lcomp.record.run_folders import latest_sweep

SWEEPER_KEYS = (
    "n_trials",
    "n_jobs",
    "storage",
    "study_name",
    "max_retries",
    "max_failure_rate",
    "objective",
    "direction",
)
SWEEP_KEYS = ("resume", "hparams_search", "sweeper", "sampler", "pruner", *SWEEPER_KEYS)
LAUNCHERS = {  # the extra of each that has one, and its plugin
    "launcher=ray": ("ray", "launcher=ray", "ray", "hydra_plugins.hydra_ray_launcher"),
    "launcher=slurm": ("slurm", "launcher=slurm", "hydra_plugins.hydra_submitit_launcher"),
}
SEVERAL = ("perturb", "kd/objectives", "experiment", "callbacks", "logger")  # groups whose choices go together
BASELINES = ("baseline.optimizer", "baseline.scheduler", "baseline.callbacks")  # choices of groups that the run has too


def expand(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Makes a command line explicit, so that naming a family's key is enough.

    A family whose keys are named without a choice gets its default technique, unless an experiment chooses. Where a
    sweep goes over a family's choices or over experiments, the family's keys become sweeps of one value: Hydra then
    composes them with the choice that takes them.

    Returns:
        The arguments, Hydra's flags first, and a line for each choice that was made.

    Raises:
        UserError: a flag or subcommand that there is not, a setting of sweeps without `-m`, several choices together
            where there can be one, or a scheduler beside what it replaces.
    """
    options, flags, overrides = split_flags(arguments)
    check_words(overrides)
    check_one_choice(overrides)
    check_one_schedule(overrides)
    if options.cfg and options.multirun:
        raise UserError(f"--cfg {options.cfg}: shows what one run would use; leave -m and several values out")
    run_folder = None
    if not is_multirun(arguments) and not (options.cfg or options.info or options.help):
        resumed = [one.partition("=")[2] for one in overrides if one.startswith("resume=")]
        overrides = [one for one in overrides if not one.startswith("resume=")]
        check_no_sweep(overrides, search_flags(options))
        run_folder = resuming.find_run(unquoted(resumed[-1])) if resumed else None
    explicit, notices = [rewritten for override in overrides for rewritten in hydra_override(override)], []
    for group in [a.lstrip("+").partition("._target_=")[0] for a in explicit if "._target_=" in a]:
        explicit = [f"+{a}" if a.startswith(f"+{group}.") else a for a in explicit]  # also where its choice has the key
    experiments = [a for a in explicit if a.startswith("experiment=")]
    for family, technique in FAMILIES.items():
        named = [a for a in explicit if a.lstrip("+").startswith((f"{family}.", f"{family}/"))]
        chosen = [a for a in explicit if a.startswith(f"{family}=")]
        if named and not chosen and any(a.startswith("hparams_search=") for a in arguments):
            continue  # which may search the family itself
        if named and not chosen and not experiments:
            explicit.insert(explicit.index(named[0]), f"{family}={technique}")
            notices.append(f"{named[0]} chooses {family}={technique}")
        elif any(is_sweep(choice) for choice in chosen + experiments):
            for argument in named:
                if not is_sweep(argument):
                    key, _, value = argument.partition("=")
                    explicit[explicit.index(argument)] = f"{key}=choice({value})"
    if run_folder is not None:
        notices.append(f"goes on in {run_folder}")
        place = f"hydra.run.dir={quoting.quoted_value(str(run_folder))}"
        explicit = [*resuming.overrides_of(run_folder, explicit), place]
    return [*flags, *explicit], notices


class Flags(argparse.ArgumentParser):
    """Hydra's flags, wherever they stand; what is none is said in a line."""

    def __init__(self) -> None:
        super().__init__(add_help=False, parents=[get_args_parser()])

    @property
    def names(self) -> list[str]:
        return [name for name in self._option_string_actions if name.startswith("--")]

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; python -m lcomp --hydra-help lists the flags")


def split_flags(arguments: list[str]) -> tuple[argparse.Namespace, list[str], list[str]]:
    """The flags of a command line as they were read, the same as they were written, and the overrides.

    `--key=value`, as W&B's agents write it, is the override key=value.

    Raises:
        UserError: a flag that there is not, or a value that it does not take.
    """
    parser = Flags()
    plain = [argument for argument in normalized_flags(arguments, parser) if argument != "--"]
    options, unknown = parser.parse_known_intermixed_args(plain)
    if unknown:
        name = unknown[0].lstrip("-").partition("=")[0]
        example = unknown[0].lstrip("-") if "=" in unknown[0] else f"{name}=VALUE"
        raise UserError(
            f"{unknown[0]}: no such flag; a setting is written without dashes before it: {example}"
            f"{suggestion(unknown[0].partition('=')[0], parser.names)}"
        )
    flags, left = [], list(options.overrides)
    for argument in plain:
        if argument in left:
            left.remove(argument)
        else:
            flags.append(argument)
    return options, flags, options.overrides


def normalized_flags(arguments: list[str], parser: Flags) -> list[str]:
    """The arguments with `--key=value` as key=value, and with the value of `--info` beside it: Hydra would take an
    override for it."""
    normalized: list[str] = []
    for number, argument in enumerate(arguments):
        name, equals, _ = argument.partition("=")
        is_flag = any(flag.startswith(name) for flag in parser.names)  # also cut short, as Hydra reads it
        near = suggestion(name.replace("_", "-"), parser.names)
        if equals and name.startswith("--") and not is_flag and not near:
            normalized.append(argument[2:])
        elif argument in ("--info", "-i") and (number + 1 == len(arguments) or "=" in arguments[number + 1]):
            normalized.append("--info=all")
        else:
            normalized.append(argument)
    return normalized


def search_flags(options: argparse.Namespace) -> list[str]:
    """Of the flags of a command line, those by which it finds its configuration."""
    names = ("config_path", "config_dir", "config_name")
    given = [(f"--{name.replace('_', '-')}", getattr(options, name)) for name in names]
    return [word for flag, value in given if value is not None for word in (flag, value)]


def is_multirun(arguments: list[str]) -> bool:
    """Whether the command line asks for a sweep."""
    options, _, overrides = split_flags(arguments)
    return bool(options.multirun) or "hydra.mode=MULTIRUN" in overrides


def check_one_choice(arguments: list[str]) -> None:
    """Raises UserError for a list of choices of a group that has one."""
    for argument in arguments:
        group, equals, value = argument.lstrip("+").partition("=")
        if equals and value.startswith("[") and group not in SEVERAL and (folder() / group).is_dir():
            choices = value.strip("[]")
            raise UserError(f"{argument}: one choice of {group} at a time; a sweep tries several: -m {group}={choices}")


def check_one_schedule(arguments: list[str]) -> None:
    """Raises UserError for a scheduler beside a setting of the schedule whose place it takes."""
    named = {argument.lstrip("+").partition("=")[0]: argument for argument in arguments}
    for owner in ("", "baseline."):
        keys = (f"{owner}scheduler", f"scheduler@{owner}scheduler", f"{owner}scheduler._target_")
        chosen = [named[key] for key in keys if key in named and not named[key].endswith("=none")]
        replaced = [f"{owner}trainer.schedule", f"{owner}trainer.warmup"]
        for key in replaced:
            if chosen and key in named:
                raise UserError(
                    f"{named[key]}: {chosen[0]} takes the place of {' and '.join(replaced)}; leave one out (a "
                    f"scheduler's own warm-up is {owner}scheduler.warmup)"
                )


def check_no_sweep(arguments: list[str], flags: Sequence[str] = ()) -> None:
    """Raises UserError for a setting of sweeps, which a single run would not heed."""
    for argument in arguments:
        if argument.partition("=")[0] in SWEEP_KEYS:
            again = quoting.shell_command(arguments, ["-m", *flags])
            raise UserError(f"{argument}: belongs to a sweep; add -m, as in {again}")


def hydra_override(argument: str) -> list[str]:
    """Settings of sweeps and launchers in the words that Hydra has for them.

    `launcher=serial`, `launcher.workers=2`; of a sweep, `resume=last` or a folder; `sweeper=optuna`, `n_trials=20`.
    Notes are quoted.
    """
    name, equals, value = argument.partition("=")
    if not equals:
        return [argument]
    if name == "resume":
        value = unquoted(value)
        return [
            f"hydra.sweep.dir={quoting.quoted_value(latest_sweep() if value == 'last' else value)}",
            "hydra.sweeper.resume=true",
        ]
    if name == "hparams_search":
        return [argument, "hydra/sweeper=optuna"]
    if argument in LAUNCHERS:
        check_installed(*LAUNCHERS[argument])
    if argument == "launcher=ray":  # with settings that work; hydra-ray-launcher has the name
        return ["hydra/launcher=ray_tasks"]
    if name in ("launcher", "sweeper"):
        return [f"hydra/{argument}"]
    if name in BASELINES:
        return [f"{name.partition('.')[2]}@{argument}"]
    if name in ("scheduler._target_", "baseline.scheduler._target_"):  # also where no file of one is chosen
        return [f"++{argument}"]
    if name == "notes" and value != "null" and "${" not in value:  # prose: its commas make no sweep
        return [f"notes={quoting.quoted_value(unquoted(value))}"]
    if name in ("sampler", "pruner"):
        return [f"hydra/sweeper/{argument}"]
    if name in SWEEPER_KEYS or name.startswith(("constraint.", "sampler.", "pruner.")):
        return [f"hydra.sweeper.{argument}"]
    return [f"hydra.{argument}" if name.startswith(("launcher.", "sweeper.")) else argument]


def unquoted(value: str) -> str:
    """A folder as it is called, without the quotes that Hydra's grammar would have."""
    quoted = value[:1] in ("'", '"') and value[:1] == value[-1:] and not Path(value).exists()
    return value[1:-1] if quoted else value


def is_sweep(override: str) -> bool:
    """Whether an override has several values, in Hydra's grammar."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return bool(OverridesParser.create().parse_override(override).is_sweep_override())
