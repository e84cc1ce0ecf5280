"""Objectives that a student learns from."""

from lcomp.techniques.distillation.attention import AttentionTransfer as AttentionTransfer
from lcomp.techniques.distillation.attention_maps import AttentionMaps as AttentionMaps
from lcomp.techniques.distillation.attention_relations import AttentionRelations as AttentionRelations
from lcomp.techniques.distillation.crd import CRD as CRD
from lcomp.techniques.distillation.data_free import DataFreeDistillation as DataFreeDistillation
from lcomp.techniques.distillation.distillation import Distillation as Distillation
from lcomp.techniques.distillation.dkd import DKD as DKD
from lcomp.techniques.distillation.fitnets import FitNets as FitNets
from lcomp.techniques.distillation.hidden_states import HiddenStates as HiddenStates
from lcomp.techniques.distillation.logit import Ensemble as Ensemble
from lcomp.techniques.distillation.logit import LogitDistillation as LogitDistillation
from lcomp.techniques.distillation.noisy_teacher import TeacherNoise as TeacherNoise
from lcomp.techniques.distillation.rkd import RKD as RKD
from lcomp.techniques.distillation.vid import VID as VID
