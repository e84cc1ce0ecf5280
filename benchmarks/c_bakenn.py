"""A record as C on an emulated Cortex-M0, by lcomp and by BakeNN (pip install bakenn): the same weights and compiler.

python benchmarks/c_bakenn.py [RECORD [DATA]]
"""

import re
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import nn

from lcomp import packed
from lcomp.c import FORMS
from lcomp.c.command import examples_of
from lcomp.c.compiling import footprint
from lcomp.c.emulation import BOARDS, emulate
from lcomp.c.model import CModel, make_model
from lcomp.packed.network import Mean, Network

CALIBRATION = 100  # examples
BOARD = BOARDS["cortex-m0"]
PARTS = ("bknn_m.h", "bknn_m_kernels.h", "bknn_m_weights.h", "bknn_m_weights.c", "bknn_m_kernels.c", "bknn_m.c")
ASKING = """
#include "model.h"

static int8_t bytes[MODEL_INPUTS], answer[MODEL_OUTPUTS];
static _Alignas(BKNN_M_ARENA_ALIGNMENT) uint8_t memory[BKNN_M_ARENA_SIZE];

void model_run(const uint8_t input[MODEL_INPUTS], int32_t output[MODEL_OUTPUTS])
{
    for (int32_t i = 0; i < MODEL_INPUTS; i++)
        bytes[i] = (int8_t)(input[i] - 128);
    bknn_m_infer(memory, bytes, answer);
    for (int32_t i = 0; i < MODEL_OUTPUTS; i++)
        output[i] = answer[i];
}
"""


def floats(network: Network) -> nn.Sequential:
    """The network of a record with its weights as floats."""
    steps: list[nn.Module] = []
    for step in network.steps:
        if hasattr(step, "coded"):
            weight = step.coded().detach().float()
            bias = step.bias.detach().float()
            plain = isinstance(step, nn.Linear) or weight.ndim == 2
            made = (
                nn.Linear(*weight.shape[::-1])
                if plain
                else nn.Conv2d(*weight.shape[1::-1], weight.shape[2:], step.stride)
            )
            made.weight.data, made.bias.data = weight, bias
            steps.append(made)
        elif isinstance(step, Mean):
            steps.append(nn.AdaptiveAvgPool2d(1))
        else:
            steps.append(step)
    return nn.Sequential(*steps).eval()


def baked(model: CModel, network: Network, examples: np.ndarray) -> dict[str, str]:
    """The files of an emulator's self-test around what BakeNN makes."""
    import bakenn  # here, so that others take `floats` without it

    inputs = torch.from_numpy(examples)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "made"
        bakenn.compile_torch_ptq(
            floats(network), inputs[:1], [one[None] for one in inputs[:CALIBRATION]], folder, name="m"
        )
        texts = [(folder / part).read_text() for part in PARTS]
    whole = "".join(re.sub(r'^#include "bknn.*\n', "", text, flags=re.M) for text in texts)
    return model.files | {"model.c": whole + ASKING, "weights.c": ""}


def main(record: str = "records/1kb-seed4.lcomp", data: str = "mnist") -> None:
    path = Path(record)
    examples = examples_of(path, data, None)
    assert examples is not None
    for form in FORMS:
        model = make_model(path, examples, form)
        taken, found = footprint(model.whole, BOARD.target), emulate(model.files, BOARD)
        print(f"lcomp --weights {form}: flash {taken.flash:,}, RAM {taken.ram:,}, {found.instructions:,} instructions")
    files = baked(model, packed.load(path), examples)
    whole = files["model.h"] + re.sub(r'^#include "model.h"\n', "", files["model.c"], flags=re.M)
    taken, found = footprint(whole, BOARD.target), emulate(files, BOARD)
    print(f"BakeNN {version('bakenn')}: flash {taken.flash:,}, RAM {taken.ram:,}, {found.instructions:,} instructions")


if __name__ == "__main__":
    main(*sys.argv[1:])
