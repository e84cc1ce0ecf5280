"""What a search is asked to do, as Hydra's configuration says it."""

from __future__ import annotations

from dataclasses import InitVar, dataclass

from omegaconf import DictConfig, ListConfig

from lcomp.record.plain import PlainValue

Given = PlainValue | DictConfig | ListConfig  # a setting as Hydra hands it on


@dataclass
class SearchOptions:
    """The arguments of Hydra's `optuna` sweeper: those of hydra-optuna-sweeper, and more.

    Attributes:
        params: sweeps of the configuration in Hydra's grammar; the command line's overrule them.
        objective: metric of the record, or several; on validation examples or of the artifact. None is the task's own.
        direction: `maximize` or `minimize`, one for each objective; None is what is better.
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
        search_space: hydra-optuna-sweeper's older name of `params`.
    """

    objective: str | list[str] | None = None
    direction: str | list[str] | None = None
    n_trials: int = 20
    n_jobs: int | None = None
    sampler: Given = "tpe"
    pruner: Given = "median"
    storage: str | None = None
    study_name: str | None = None
    max_failure_rate: float = 0.5
    max_retries: int = 3
    heartbeat: int = 20
    params: Given = None
    search_space: InitVar[Given] = None
    custom_search_space: str | None = None
    constraint: dict[str, float] | None = None
    resume: bool = False

    def __post_init__(self, search_space: Given) -> None:
        self.params = self.params or search_space


def listed(value: str | list[str] | ListConfig) -> list[str]:
    return list(value) if isinstance(value, list | tuple | ListConfig) else [value]
