"""A record as C on an emulated Cortex-M3, by lcomp and by onnx2c (github.com/kraiskil/onnx2c, built from source).

The same weights, as floats for onnx2c and both ways for lcomp; the same compiler.

python benchmarks/c_onnx2c.py ONNX2C [RECORD [DATA]]
"""

import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import onnx
from c_bakenn import floats

from lcomp import packed
from lcomp.c import FLOAT, INTEGER, PLAIN, SPARSE
from lcomp.c.command import examples_of
from lcomp.c.compiling import footprint
from lcomp.c.emulation import BOARDS, emulate
from lcomp.c.model import make_model
from lcomp.export.onnx_export import export
from lcomp.packed.network import Network
from lcomp.tasks import ImageClassification

REFUSED = ("storage_order", "noop_with_empty_axes", "allowzero")  # by onnx2c; nothing here depends on them
BOARD = BOARDS["cortex-m3"]  # that of the Cortex-M0 has no memory for onnx2c's values
FEW = 10  # examples as floats that its flash has room for
ASKING = """
#include "model.h"

void model_run(const float input[MODEL_INPUTS], float output[MODEL_OUTPUTS])
{
    entry((const void *)input, (void *)output);
}
"""


def converted(converter: str, network: Network) -> str:
    """The C that onnx2c makes of the network with its weights as floats."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "floats.onnx"
        export(floats(network), path, ImageClassification(network.classes, network.input_shape))
        model = onnx.load(path)
        for node in model.graph.node:
            kept = [one for one in node.attribute if one.name not in REFUSED]
            del node.attribute[:]
            node.attribute.extend(kept)
        onnx.save(model, path)
        return subprocess.run([converter, str(path)], check=True, capture_output=True, text=True).stdout


def main(converter: str, record: str = "records/1kb-seed4.lcomp", data: str = "mnist") -> None:
    path = Path(record)
    examples = examples_of(path, data, None)
    assert examples is not None
    integers = make_model(path, examples, SPARSE, INTEGER)
    show("lcomp, integer", integers.files, integers.whole)
    model = make_model(path, examples[:FEW], PLAIN, FLOAT)
    show("lcomp, float", model.files, model.whole)
    files = model.files | {"model.c": converted(converter, packed.load(path)) + ASKING, "weights.c": ""}
    show("onnx2c, float", files, files["model.h"] + files["model.c"].replace('#include "model.h"', ""))


def show(name: str, files: Mapping[str, str], whole: str) -> None:
    taken, found = footprint(whole, BOARD.target), emulate(files, BOARD)
    print(f"{name}: flash {taken.flash:,}, RAM {taken.ram:,}, {found.instructions:,} instructions")


if __name__ == "__main__":
    main(*sys.argv[1:])
