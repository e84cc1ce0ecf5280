"""Objectives that a student learns from."""

from lcomp.techniques.distillation.data_free import DataFreeDistillation as DataFreeDistillation
from lcomp.techniques.distillation.logit import Ensemble as Ensemble
from lcomp.techniques.distillation.logit import LogitDistillation as LogitDistillation
