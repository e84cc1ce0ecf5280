"""The packed file against general compressors: gzip, zstd and brotli at their strongest.

    pip install brotli zstandard
    python benchmarks/coders.py RUN [RUN ...]          # folders with artifact.onnx and artifact.lcomp

For each run, bytes: the packed file; then, of each compressor, artifact.onnx itself, and the bare parameters (the
integers, a byte each, or floats; scales and biases as floats; nothing that says what they are).

LeNet-5 on full MNIST, packed / the least of the six: Deep Compression 3,990 / 4,902, 2 bits 9,817 / 11,033, binary
7,053 / 8,050, 4 bits 20,055 / 20,383, in float 146,885 / 163,020. brotli is the best of them but for 1 bit (zstd).
"""

import gzip
import sys
from pathlib import Path

import brotli
import zstandard
from rich.console import Console
from rich.table import Table

import lcomp

COMPRESSORS = {
    "gzip": lambda content: gzip.compress(content, 9, mtime=0),
    "zstd": lambda content: zstandard.ZstdCompressor(level=22, write_content_size=False).compress(content),
    "brotli": lambda content: brotli.compress(content, quality=11, lgwin=24),
}


def bare(path):
    """The parameters of a packed network in a row, without those that are what they are in every file."""
    network = lcomp.load(path)
    tensors = [*network.named_parameters(), *network.named_buffers()]
    return b"".join(tensor.detach().numpy().tobytes() for name, tensor in tensors if not name.endswith("zero_point"))


def main():
    if not sys.argv[1:]:
        sys.exit(__doc__)
    headings = ["run", "lcomp", *(f"{what}, {name}" for what in ("onnx", "bare") for name in COMPRESSORS)]
    table = Table(*headings, title="bytes")
    for folder in map(Path, sys.argv[1:]):
        packed = folder / "artifact.lcomp"
        contents = (folder / "artifact.onnx").read_bytes(), bare(packed)
        sizes = [len(compress(content)) for content in contents for compress in COMPRESSORS.values()]
        table.add_row(folder.name, f"{packed.stat().st_size:,}", *(f"{size:,}" for size in sizes))
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
