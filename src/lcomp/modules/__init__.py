"""LightningModules: what is learned."""

from lcomp.modules.baseline import BaselineModule as BaselineModule
from lcomp.modules.data_free import DataFreeModule as DataFreeModule
from lcomp.modules.distillation import DistillationModule as DistillationModule
from lcomp.modules.presets import PruningModule as PruningModule
from lcomp.modules.presets import QATModule as QATModule
