"""lcomp: the compression of neural networks, measured honestly."""

__version__ = "0.1.0"
