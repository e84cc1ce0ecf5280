"""Configurations of OmegaConf as plain values, interpolations as they stand: nothing in them is resolved."""

from __future__ import annotations

from omegaconf import DictConfig, ListConfig, OmegaConf

from lcomp.record.plain import PlainValue


def plain_mapping(node: DictConfig | ListConfig) -> dict[str, PlainValue]:
    """What stands in a configuration by its keys; nothing where it is a list."""
    content = OmegaConf.to_container(node, resolve=False)
    return {str(key): value for key, value in content.items()} if isinstance(content, dict) else {}


def plain_list(node: DictConfig | ListConfig) -> list[PlainValue]:
    """What stands in a list; nothing where it is no list."""
    content = OmegaConf.to_container(node, resolve=False)
    return content if isinstance(content, list) else []
