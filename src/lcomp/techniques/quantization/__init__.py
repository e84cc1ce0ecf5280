"""Quantization = grid x range estimator x granularity."""

from lcomp.techniques.quantization.dynamic import DynamicQuantization as DynamicQuantization
from lcomp.techniques.quantization.entropy import EntropyRegularizedTraining as EntropyRegularizedTraining
from lcomp.techniques.quantization.hybrid import HybridQuantization as HybridQuantization
from lcomp.techniques.quantization.lsq import LearnedStepQuantization as LearnedStepQuantization
from lcomp.techniques.quantization.mixed import MixedPrecision as MixedPrecision
from lcomp.techniques.quantization.noise import QuantizationNoise as QuantizationNoise
from lcomp.techniques.quantization.qat import QuantizationAwareTraining as QuantizationAwareTraining
from lcomp.techniques.quantization.shared import WeightSharing as WeightSharing
from lcomp.techniques.quantization.static import StaticQuantization as StaticQuantization
