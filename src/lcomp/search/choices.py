"""What a command line can choose for a search: samplers, pruners, and settings by their defaults."""

from __future__ import annotations

from hydra.core.config_store import ConfigStore

from lcomp.record.plain import PlainValue
from lcomp.record.result import METRICS

SAMPLERS: dict[str, dict[str, PlainValue]] = {
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
PRUNERS: dict[str, dict[str, PlainValue]] = {
    "median": {"_target_": "optuna.pruners.MedianPruner", "n_startup_trials": 5, "n_warmup_steps": 0},
    "hyperband": {"_target_": "optuna.pruners.HyperbandPruner", "min_resource": 1, "reduction_factor": 3},
    "halving": {"_target_": "optuna.pruners.SuccessiveHalvingPruner", "min_resource": 1, "reduction_factor": 4},
    "none": {"_target_": "optuna.pruners.NopPruner"},
}
SETTINGS = {
    "defaults": [{"sampler": "tpe"}, {"pruner": "median"}],
    "_target_": "hydra_plugins.lcomp_optuna.sweeper.OptunaSweeper",
    "_recursive_": False,  # each worker makes its own sampler
    "objective": None,
    "direction": None,
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
