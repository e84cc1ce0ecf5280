"""The configuration: where it lies, what its choices are, and the short way of naming a technique."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lcomp.errors import UserError

FAMILIES = {"kd": "logit"}  # family -> the technique that naming one of its keys chooses
GROUPS = ("data", "model", "kd")


def folder() -> Path:
    """The folder of the configuration: beside `src` in a checkout, inside the package in a wheel."""
    inside = Path(__file__).parent / "conf"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "conf"


def expand(overrides: list[str]) -> tuple[list[str], list[str]]:
    """Adds the default technique of each family whose keys are named without a choice of technique.

    Returns:
        The overrides, explicit now, and a line for each choice that was made.
    """
    explicit, said = list(overrides), []
    for family, technique in FAMILIES.items():
        named = [o for o in overrides if o.lstrip("+").startswith(f"{family}.")]
        if named and not any(o.startswith(f"{family}=") for o in overrides):
            explicit.insert(explicit.index(named[0]), f"{family}={technique}")
            said.append(f"{named[0]} chooses {family}={technique}")
    return explicit, said


def choices(cfg: DictConfig) -> dict[str, Any]:
    """Which choice of each group the run made."""
    from hydra.core.hydra_config import HydraConfig

    if not HydraConfig.initialized():
        return {}
    made = HydraConfig.get().runtime.choices
    return {group: made.get(group) for group in GROUPS}


def student(cfg: DictConfig) -> DictConfig:
    """The model that `kd.student` names."""
    path = folder() / "model" / f"{cfg.kd.student}.yaml"
    if not path.is_file():
        known = ", ".join(["same", *sorted(p.stem for p in path.parent.glob("*.yaml"))])
        raise UserError(f"kd.student={cfg.kd.student}: no such model; allowed are {known}")
    loaded = OmegaConf.load(path)
    assert isinstance(loaded, DictConfig)
    return loaded


def without(node: DictConfig, *keys: str) -> dict[str, Any]:
    """`node` as a plain dictionary less `keys`."""
    plain: dict[str, Any] = OmegaConf.to_container(node, resolve=True)  # type: ignore[assignment]
    return {key: value for key, value in plain.items() if key not in keys}
