"""Networks that learn at once become what each becomes alone: weights, masks, ranges, curves, faults."""

import copy

import pytest
import torch
from training import compose

from lcomp.config.run_spec import parse
from lcomp.data import MNISTDataModule
from lcomp.models import LeNet5
from lcomp.models.small_cnn import SmallCNN
from lcomp.modules import BaselineModule, DistillationModule
from lcomp.techniques.distillation import Distillation
from lcomp.techniques.pruning import Pruning
from lcomp.techniques.quantization import QuantizationAwareTraining
from lcomp.training.checkpoint_content import KEY
from lcomp.training.checkpoint_files import CheckpointFiles
from lcomp.training.epochs import Epochs
from lcomp.training.fit import fit
from lcomp.training.optimization import make_optimization
from lcomp.training.stacked_fit import Point, fit_stack

EPOCHS, EXAMPLES, BATCH = 2, 320, 64  # ten steps
CLOSE = 2e-4  # of a weight after ten steps of Adam: sums in another order, and divisions by small moments


def data_of(seed=0):
    return MNISTDataModule(dataset="mnist5k", batch_size=BATCH, epoch_examples=EXAMPLES, seed=seed)


@pytest.fixture(scope="module")
def teacher():
    torch.manual_seed(5)
    return LeNet5()


@pytest.fixture(scope="module")
def data():
    return data_of()


def techniques(sparsity=None, bits=None, **settings):
    prune = {key: value for key, value in settings.items() if key in ("end", "scope")}
    quant = {key: value for key, value in settings.items() if key not in prune}
    return [
        *([Pruning(sparsity, interval=2, **prune)] if sparsity is not None else []),
        *([QuantizationAwareTraining(bits, **quant)] if bits is not None else []),
    ]


def module_of(kind, teacher, data, temperature=None, alpha=0.1, rate=1e-3, options=(), seed=0, **chosen):
    torch.manual_seed(seed)
    network = kind()
    made = make_optimization(parse(compose("kd=none", *options)[0])) | {"learning_rate": rate}
    if temperature is None:
        return BaselineModule(network, techniques(**chosen), **made, task=data.task)
    with torch.no_grad():
        made |= {"outputs_in_batch": data.carry_outputs(teacher.eval()), "task": data.task}
    objective = Distillation(temperature, alpha)
    return DistillationModule(network, copy.deepcopy(teacher), objective, techniques(**chosen), **made)


def alone(folder, module, data, clip=None):
    """(the network's state, its curves) after a fit of its own."""
    epochs = Epochs()
    fit(module, data, EPOCHS, 0, False, epochs, gradient_clip_val=clip)
    return module.state_dict(), epochs.curves.rows


def together(folder, modules, sources, clips=None, places=None):
    """The same of each, after one fit of all."""
    files = [CheckpointFiles(folder / str(number), f"point {number}") for number in range(len(modules))]
    kinds = [f"{module.learning_rate}" for module in modules]
    points = [
        Point(module, place, one, kind, clip)
        for module, place, one, kind, clip in zip(
            modules, places or [0] * len(modules), files, kinds, clips or [None] * len(modules), strict=True
        )
    ]
    fit_stack(points, sources, EPOCHS)
    return [one.newest()[1] for one in files]


MIXES = {
    "nothing": [{}, {"seed": 1}],
    "rates": [{"rate": 3e-4}, {"rate": 1e-3}, {"rate": 1e-3, "seed": 1}],
    "temperatures": [{"temperature": 1.0}, {"temperature": 6.0, "alpha": 0.5}],
    "sparsities": [{"sparsity": 0.5}, {"sparsity": 0.9, "end": 0.4}, {"sparsity": 0.7, "scope": "output"}],
    "bits": [{"bits": 2}, {"bits": 4, "begin": 0.3}, {"bits": 8, "activation_bits": 4, "freeze": 0.5}],
    "all of them": [
        {"temperature": 2.0, "sparsity": 0.5, "bits": 8},
        {"temperature": 6.0, "sparsity": 0.9, "bits": 3, "activation_bits": 6},
    ],
}


def compare(content, state, rows):
    found = content["state_dict"]
    assert found.keys() == state.keys()
    for name, value in state.items():
        if value.dtype == torch.float32:
            torch.testing.assert_close(found[name], value, atol=CLOSE, rtol=CLOSE, msg=lambda m, n=name: f"{n}: {m}")
        else:
            assert torch.equal(found[name], value), name
    curves = content[KEY]["epochs"]["rows"]
    assert [row.keys() for row in curves] == [row.keys() for row in rows]
    for one, other in zip(curves, rows, strict=True):
        for name in one.keys() - {"seconds"}:
            assert one[name] == pytest.approx(other[name], abs=2e-3), name


@pytest.mark.parametrize("kind", [SmallCNN, LeNet5])
@pytest.mark.parametrize("mix", MIXES)
def test_networks_that_learn_at_once_become_what_each_becomes_alone(kind, mix, teacher, data, tmp_path):
    points = MIXES[mix]
    found = together(tmp_path, [module_of(kind, teacher, data, **point) for point in points], [data])
    for content, point in zip(found, points, strict=True):
        compare(content, *alone(tmp_path, module_of(kind, teacher, data, **point), data))
