"""Pruning = schedule x criterion x granularity x scope."""

from lcomp.techniques.pruning.adaptive import AdaptivePruning as AdaptivePruning
from lcomp.techniques.pruning.filters import FilterPruning as FilterPruning
from lcomp.techniques.pruning.gated import GatedPruning as GatedPruning
from lcomp.techniques.pruning.layer_removal import LayerPruning as LayerPruning
from lcomp.techniques.pruning.lottery import LotteryTicket as LotteryTicket
from lcomp.techniques.pruning.low_rank import LowRank as LowRank
from lcomp.techniques.pruning.n_m import NMPruning as NMPruning
from lcomp.techniques.pruning.pruning import Pruning as Pruning
from lcomp.techniques.pruning.vocabulary import VocabularyPruning as VocabularyPruning
