"""Space-to-depth: a convolution that reads one channel, carried out at half the resolution on four.

Kernels for integers copy what is under a filter together channel by channel, and multiply four channels and more at
once; of a single one they use a quarter or less. So every 2x2 block of positions becomes four channels, the four
outputs under a window of the pooling behind the convolution become four groups of channels, and the pooling becomes the
maximum over these groups. Each output is the same sum beside products with zero, so integers stay what they are. Makers
of accelerators advise it ("Use Space-to-depth transformation where possible", Qualcomm's HTP guidelines); the pooling
that goes into it is ours.
"""

from __future__ import annotations

import logging
from pathlib import Path

import onnx

from lcomp.export.space_to_depth.candidates import IndexedGraph
from lcomp.export.space_to_depth.rewriting import rewrite
from lcomp.record import limits
from lcomp.record.untrusted import read_onnx

log = logging.getLogger(__name__)


def rewritten(artifact: Path) -> onnx.ModelProto:
    """The artifact with its convolutions of one channel rewritten; says so in the log where it has none."""
    model = read_onnx(artifact, limits.WHOLE, linked=True)
    if not fold(model):
        log.warning("%s: no convolution of one channel before a 2x2 max-pooling; deployed as it is", artifact)
    return model


def fold(model: onnx.ModelProto, exactly: bool = False) -> bool:
    """Rewrites every convolution that reads one channel and that a 2x2 max-pooling follows.

    Args:
        model: an export of lcomp, changed in place.
        exactly: leave alone what runtimes may compute with floats, whose sums depend on their order.

    Returns:
        Whether there was such a convolution: of stride 1, even height and width before and after it.
    """
    folded = False
    while candidate := IndexedGraph(model).first_candidate(exactly):
        rewrite(model.graph, candidate)
        folded = True
    if folded:
        onnx.checker.check_model(model, full_check=True)
    return folded
