"""A network's state, entropy-coded without the network around it: how many bytes its tensors need by themselves.

    content = encode(network.state_dict())
    same = decode(content, other.state_dict())     # `other` is a network of the same structure

The tensors in the state's order, in the forms of packed files (docs/format.md); no names, types or shapes, which the
structure has. A file that rebuilds the network is `lcomp.packed`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from lcomp.packed.coder import Reader, Writer
from lcomp.packed.tensors import read_floats, read_integers, write_floats, write_integers

SMALL = (torch.int8, torch.uint8, torch.bool)
LAYER = 1 << 9 << 14  # of work: more blocks than a tensor has, each with more levels than an array


def encode(state: Mapping[str, Tensor]) -> bytes:
    """The bytes of named tensors: float32s as floats, small integers as whole numbers, of others each byte as one."""
    io = Writer()
    for tensor in state.values():
        flat = tensor.detach().cpu().flatten()
        if not len(flat):
            continue
        if flat.dtype == torch.float32:
            write_floats(io, flat.numpy())
        else:
            write_integers(io, (flat if flat.dtype in SMALL else flat.view(torch.uint8)).numpy().astype(np.int64))
    return io.content()


def decode(content: bytes, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors that `encode` was given, bit for bit; `like` has their names, types and shapes.

    Raises:
        UserError: the bytes are not those of such tensors.
    """
    io = Reader(content, sum(tensor.nbytes + LAYER for tensor in like.values()), math.inf)  # there is room for `like`
    tensors = {}
    for name, tensor in like.items():
        flat = tensor.flatten()
        if not len(flat):
            tensors[name] = tensor.clone()
        elif flat.dtype == torch.float32:
            tensors[name] = torch.from_numpy(read_floats(io, len(flat))).view(tensor.shape)
        elif flat.dtype in SMALL:
            tensors[name] = torch.from_numpy(read_integers(io, len(flat))).to(flat.dtype).view(tensor.shape)
        else:
            raw = torch.from_numpy(read_integers(io, len(flat) * flat.element_size()))
            tensors[name] = raw.to(torch.uint8).view(flat.dtype).view(tensor.shape)
    io.end()
    return tensors
