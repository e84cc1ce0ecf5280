"""lcomp: the compression of neural networks, measured honestly."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from lcomp.config.renamed import former_module as __getattr__

if TYPE_CHECKING:
    from lcomp.packed.network import Network

__all__ = ["__getattr__", "__version__", "load"]
__version__ = version("lcomp")


def load(path: Path | str) -> Network:
    """The network in a packed file (`.lcomp`): inputs (N, C, H, W) in [0, 1] to logits (N, classes).

    Raises:
        UserError: there is no such file, or it is no packed network, or damaged.
    """
    from lcomp import packed  # torch takes seconds

    return packed.load(path)
