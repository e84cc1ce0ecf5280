"""Where Hydra finds files, for a sweep whose files may change while it runs."""

from __future__ import annotations

import copy
from typing import Any

from hydra._internal.config_repository import ConfigRepository
from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.config_source import ConfigResult


class CachedRepository(ConfigRepository):
    """Hydra's repository of files, each as it was when it was first read; so workers get it.

    Attributes:
        read: the files by their names, such as `experiment/mine`.
    """

    def __init__(self, search_path: ConfigSearchPath, read: dict[str, ConfigResult] | None = None):
        super().__init__(search_path)
        self.read: dict[str, ConfigResult] = {} if read is None else read

    def __deepcopy__(self, memo: Any) -> CachedRepository:  # Hydra copies it for each composition
        duplicate = copy.copy(self)
        duplicate.sources = list(self.sources)
        return duplicate

    def load_config(self, config_path: str) -> ConfigResult | None:
        if config_path not in self.read:
            loaded = super().load_config(config_path)
            if loaded is None:
                return None
            self.read[config_path] = loaded
        return copy.deepcopy(self.read[config_path])  # composing writes in it

    def config_exists(self, config_path: str) -> bool:
        return config_path in self.read or super().config_exists(config_path)
