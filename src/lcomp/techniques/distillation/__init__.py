"""Objectives that a student learns from."""

from lcomp.techniques.distillation.logit import LogitDistillation as LogitDistillation
