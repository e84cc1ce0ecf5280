"""The short way of asking: a command line in the words that Hydra has for it."""

from __future__ import annotations

from pathlib import Path

from lcomp import quoting
from lcomp.config import FAMILIES, folder
from lcomp.errors import UserError

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
SEVERAL = ("perturb", "kd/objectives", "experiment")  # groups of which several choices go together


def expand(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Makes a command line explicit, so that naming a family's key is enough.

    A family whose keys are named without a choice gets its default technique, unless an experiment chooses. Where a
    sweep goes over a family's choices or over experiments, the family's keys become sweeps of one value: Hydra then
    composes them with the choice that takes them.

    Returns:
        The arguments, and a line for each choice that was made.

    Raises:
        UserError: a setting of sweeps without `-m`, or several choices together where there can be one.
    """
    check_one_choice(arguments)
    if not any(argument.startswith("-") for argument in arguments):
        check_no_sweep(arguments)
    explicit, said = [made for argument in arguments for made in hydras(argument)], []
    for group in [a.partition("._target_=")[0] for a in explicit if "._target_=" in a]:
        explicit = [f"+{a}" if a.startswith(f"+{group}.") else a for a in explicit]  # also where its choice has the key
    experiments = [a for a in explicit if a.startswith("experiment=")]
    for family, technique in FAMILIES.items():
        named = [a for a in explicit if a.lstrip("+").startswith((f"{family}.", f"{family}/"))]
        chosen = [a for a in explicit if a.startswith(f"{family}=")]
        if named and not chosen and any(a.startswith("hparams_search=") for a in arguments):
            continue  # which may search the family itself
        if named and not chosen and not experiments:
            explicit.insert(explicit.index(named[0]), f"{family}={technique}")
            said.append(f"{named[0]} chooses {family}={technique}")
        elif any(sweeps(choice) for choice in chosen + experiments):
            for argument in named:
                if not sweeps(argument):
                    key, _, value = argument.partition("=")
                    explicit[explicit.index(argument)] = f"{key}=choice({value})"
    return explicit, said


def check_one_choice(arguments: list[str]) -> None:
    """Raises UserError for a list of choices of a group that has one."""
    for argument in arguments:
        group, equals, value = argument.lstrip("+").partition("=")
        if equals and value.startswith("[") and group not in SEVERAL and (folder() / group).is_dir():
            choices = value.strip("[]")
            raise UserError(f"{argument}: one choice of {group} at a time; a sweep tries several: -m {group}={choices}")


def check_no_sweep(arguments: list[str]) -> None:
    """Raises UserError for a setting of sweeps, which a single run would not heed."""
    for argument in arguments:
        if argument.partition("=")[0] in SWEEP_KEYS:
            raise UserError(f"{argument}: belongs to a sweep; add -m, as in {quoting.command(arguments, ['-m'])}")


def hydras(argument: str) -> list[str]:
    """Settings of sweeps and launchers in the words that Hydra has for them.

    `launcher=serial`, `launcher.workers=2`; `resume=last` or a folder; `sweeper=optuna`, `n_trials=20`.
    """
    name, equals, value = argument.partition("=")
    if not equals:
        return [argument]
    if name == "resume":
        from lcomp.sweep import last

        if value[:1] in ("'", '"') and value[:1] == value[-1:] and not Path(value).exists():  # quoted for Hydra already
            value = value[1:-1]
        return [f"hydra.sweep.dir={quoting.value(last() if value == 'last' else value)}", "hydra.sweeper.resume=true"]
    if name == "hparams_search":
        return [argument, "hydra/sweeper=optuna"]
    if argument == "launcher=ray":  # with settings that work; hydra-ray-launcher has the name
        return ["hydra/launcher=ray_tasks"]
    if name in ("launcher", "sweeper"):
        return [f"hydra/{argument}"]
    if name in ("sampler", "pruner"):
        return [f"hydra/sweeper/{argument}"]
    if name in SWEEPER_KEYS or name.startswith(("constraint.", "sampler.", "pruner.")):
        return [f"hydra.sweeper.{argument}"]
    return [f"hydra.{argument}" if name.startswith(("launcher.", "sweeper.")) else argument]


def sweeps(override: str) -> bool:
    """Whether an override has several values, in Hydra's grammar."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return bool(OverridesParser.create().parse_override(override).is_sweep_override())
