"""Hydra's sweeper for searches with Optuna: `hydra/sweeper=optuna`, or `sweeper=optuna`."""

from __future__ import annotations

from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from lcomp.record.result import METRICS


class OptunaSweeper(Sweeper):
    """Searches the swept keys with a study of Optuna; takes what hydra-optuna-sweeper took, and more.

    Args:
        params: sweeps of the configuration in Hydra's grammar; the command line's overrule them.
        objective: metric of the record, or several; on validation images or of the artifact.
        direction: `maximize` or `minimize`, one for each objective.
        constraint: least validation accuracy or sparsity, greatest value of another metric, that an artifact must keep.
        n_trials: trials in all; a resumed search counts those it has.
        n_jobs: workers; null is what the launcher has.
        sampler, pruner: Optuna's by name, or `_target_` and arguments.
        storage: URL, such as postgresql+psycopg://host/db; null is a file in the sweep's folder.
        study_name: null is the sweep's folder name.
        max_failure_rate: share of `n_trials` that may fail before the search ends.
        max_retries: how often an interrupted trial is tried again.
        heartbeat: seconds between signs of life of a trial; one without for three times as long is taken over.
        custom_search_space: dotted path of a function (configuration, trial) that suggests more.
        resume: go on with the search in `hydra.sweep.dir`.
    """

    def __init__(
        self,
        objective: str | list[str] = "val_accuracy",
        direction: str | list[str] = "maximize",
        n_trials: int = 20,
        n_jobs: int | None = None,
        sampler: Any = "tpe",
        pruner: Any = "median",
        storage: str | None = None,
        study_name: str | None = None,
        max_failure_rate: float = 0.5,
        max_retries: int = 3,
        heartbeat: int = 20,
        params: Any = None,
        search_space: Any = None,
        custom_search_space: str | None = None,
        constraint: dict[str, float] | None = None,
        resume: bool = False,
    ):
        self.objective, self.direction = listed(objective), listed(direction)
        self.n_trials, self.n_jobs, self.sampler, self.pruner = n_trials, n_jobs, sampler, pruner
        self.storage, self.study_name, self.resume = storage, study_name, resume
        self.max_failure_rate, self.max_retries, self.heartbeat = max_failure_rate, max_retries, heartbeat
        self.params = params or search_space
        self.custom, self.constraint = custom_search_space, constraint or {}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.context, self.config = hydra_context, config

    def sweep(self, arguments: list[str]) -> None:
        from lcomp.search.search import search

        search(self, arguments)


def listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) or OmegaConf.is_list(value) else [value]


SAMPLERS: dict[str, dict[str, Any]] = {
    "tpe": {"_target_": "optuna.samplers.TPESampler", "n_startup_trials": 10, "multivariate": None, "group": None},
    "random": {"_target_": "optuna.samplers.RandomSampler"},
    "nsgaii": {
        "_target_": "optuna.samplers.NSGAIISampler",
        "population_size": 50,
        "mutation_prob": None,
        "crossover_prob": 0.9,
        "swapping_prob": 0.5,
    },
    "cmaes": {"_target_": "optuna.samplers.CmaEsSampler", "sigma0": None, "n_startup_trials": 1},
    "bruteforce": {"_target_": "optuna.samplers.BruteForceSampler"},
    "gp": {"_target_": "optuna.samplers.GPSampler", "n_startup_trials": 10},
    "qmc": {"_target_": "optuna.samplers.QMCSampler", "qmc_type": "sobol", "scramble": False},
}
SAMPLERS["grid"] = SAMPLERS["bruteforce"]  # hydra-optuna-sweeper's name
PRUNERS: dict[str, dict[str, Any]] = {
    "median": {"_target_": "optuna.pruners.MedianPruner", "n_startup_trials": 5, "n_warmup_steps": 0},
    "hyperband": {"_target_": "optuna.pruners.HyperbandPruner", "min_resource": 1, "reduction_factor": 3},
    "halving": {"_target_": "optuna.pruners.SuccessiveHalvingPruner", "min_resource": 1, "reduction_factor": 4},
    "none": {"_target_": "optuna.pruners.NopPruner"},
}
SETTINGS = {
    "defaults": [{"sampler": "tpe"}, {"pruner": "median"}],
    "_target_": "hydra_plugins.lcomp_optuna.sweeper.OptunaSweeper",
    "_recursive_": False,  # each worker makes its own sampler
    "objective": "val_accuracy",
    "direction": "maximize",
    "n_trials": 20,
    "n_jobs": None,
    "storage": None,
    "study_name": None,
    "max_failure_rate": 0.5,
    "max_retries": 3,
    "heartbeat": 20,
    "params": None,
    "search_space": None,
    "custom_search_space": None,
    "constraint": dict.fromkeys(METRICS),
    "resume": False,
}


def register() -> None:
    """Stores the sweeper's settings; again after plugins of others, one of which may have the same name."""
    store = ConfigStore.instance().store
    store(group="hydra/sweeper", name="optuna", node=SETTINGS, provider="lcomp")
    for name, node in SAMPLERS.items():
        store(group="hydra/sweeper/sampler", name=name, node={"seed": 0, **node}, provider="lcomp")
    for name, node in PRUNERS.items():
        store(group="hydra/sweeper/pruner", name=name, node=node, provider="lcomp")


register()
