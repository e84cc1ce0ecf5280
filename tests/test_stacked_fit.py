"""Networks that learn at once become what each becomes alone: weights, masks, ranges, curves, faults."""

import copy

import pytest
import torch
from torch import nn
from training import compose

from lcomp.config.run_spec import parse
from lcomp.data import MNISTDataModule
from lcomp.models import LeNet5
from lcomp.models.small_cnn import SmallCNN
from lcomp.modules import BaselineModule, DistillationModule
from lcomp.techniques.distillation import Distillation
from lcomp.techniques.pruning import Pruning
from lcomp.techniques.quantization import QuantizationAwareTraining
from lcomp.techniques.quantization.ranges import min_max
from lcomp.training.checkpoint_content import KEY
from lcomp.training.checkpoint_files import CheckpointFiles
from lcomp.training.epochs import Curves, Epochs
from lcomp.training.fit import NotFinite, fit
from lcomp.training.optimization import make_optimization
from lcomp.training.stack import Unstackable
from lcomp.training.stacked_fit import Point, fit_stack

EPOCHS, EXAMPLES, BATCH = 2, 320, 64  # ten steps
CLOSE = 2e-4  # of a number after ten steps of Adam: sums in another order, and divisions by small moments
FEW = 2e-3  # where values are rounded: the share of numbers that fall to another side of a step
FAR = 2e-2  # and how far two may part: each moves by 1e-3 a step


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


def alone(module, data, clip=None):
    """(the network's state, its curves) after a fit of its own."""
    epochs = Epochs()
    fit(module, data, EPOCHS, 0, False, epochs, gradient_clip_val=clip)
    return module.state_dict(), epochs.curves.rows


def together(folder, modules, sources, clip=None, places=None):
    """What one fit of all leaves of each."""
    files = [CheckpointFiles(folder / str(number), f"point {number}") for number in range(len(modules))]
    of = zip(modules, places or [0] * len(modules), files, strict=True)
    points = [Point(module, place, one, str(module.learning_rate), clip) for module, place, one in of]
    fit_stack(points, sources, EPOCHS)
    return [one.newest()[1] for one in files]


def compare(content, state, rows):
    found = content["state_dict"]
    assert found.keys() == state.keys()
    far = count = kept = 0
    for name, value in state.items():
        if value.dtype != torch.float32:  # masks, and what is switched on
            kept += int(value.sum()) - int(found[name].sum())
            far, count = far + int((found[name] != value).sum()), count + value.numel()
            continue
        difference = (found[name] - value).abs()
        assert difference.max() <= FAR, (name, difference.max())
        far, count = far + int((difference > CLOSE * (1 + value.abs())).sum()), count + value.numel()
    assert not kept  # of the weights as many, to one
    rounds = any("quantizer" in name for name in state)
    assert far <= (FEW * count if rounds else 0), f"{far} of {count} numbers differ"
    curves = content[KEY]["epochs"]["rows"]
    assert [row.keys() for row in curves] == [row.keys() for row in rows]
    for one, other in zip(curves, rows, strict=True):
        for name in one.keys() - {"seconds"}:
            assert one[name] == pytest.approx(other[name], abs=2e-3), name


SGD = {"options": ["optimizer=sgd"], "rate": 0.02}  # unlike Adam's first steps it leaves small gradients small
MIXES = {
    "rates": [{"rate": 3e-4}, {"rate": 1e-3}, {"rate": 1e-3, "seed": 1}],
    "temperatures": [{"temperature": 1.0}, {"temperature": 6.0, "alpha": 0.5}],
    "sparsities": [{"sparsity": 0.5}, {"sparsity": 0.9, "end": 0.4}, {"sparsity": 0.7, "scope": "output"}],
    "bits": [{"bits": 2}, {"bits": 4, "begin": 0.3}, {"bits": 8, "activation_bits": 4, "freeze": 0.5}],
    "other ranges": [{"bits": bits, "range": min_max, "granularity": "tensor"} for bits in (3, 5)],
    "all of them": [
        {"temperature": 2.0, "sparsity": 0.5, "bits": 8} | SGD,
        {"temperature": 6.0, "sparsity": 0.9, "bits": 3, "activation_bits": 6} | SGD,
    ],
}


@pytest.mark.parametrize(
    "kind, mix",
    [
        *((SmallCNN, mix) for mix in MIXES),
        *(pytest.param(LeNet5, mix, marks=pytest.mark.slow) for mix in MIXES if mix != "all of them"),
        (LeNet5, "all of them"),
    ],
)
def test_networks_that_learn_at_once_become_what_each_becomes_alone(kind, mix, teacher, data, tmp_path):
    points = MIXES[mix]
    found = together(tmp_path, [module_of(kind, teacher, data, **point) for point in points], [data])
    for content, point in zip(found, points, strict=True):
        assert content[KEY]["steps"] == 10 and content[KEY]["epochs"]["networks"] == len(points)
        compare(content, *alone(module_of(kind, teacher, data, **point), data))


def test_each_has_its_own_data_its_own_clipped_gradients_and_vectors_that_do_not_decay(teacher, tmp_path):
    sources = [data_of(0), data_of(1)]
    options = ["optimizer=sgd", "optimizer.weight_decay=0.1", "trainer.schedule=cosine", "trainer.warmup=0.2"]
    points = [{"rate": 0.5, "options": options, "sparsity": sparsity} for sparsity in (0.3, 0.6)]
    modules = [module_of(SmallCNN, teacher, data, **point) for data, point in zip(sources, points, strict=True)]
    for content, data, point in zip(together(tmp_path, modules, sources, 0.2, [0, 1]), sources, points, strict=True):
        compare(content, *alone(module_of(SmallCNN, teacher, data, **point), data, 0.2))


def test_running_statistics_of_norms_are_each_networks_own(teacher, data, tmp_path):
    def kind():
        return nn.Sequential(
            nn.Flatten(), nn.Linear(784, 8, bias=False), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 10)
        )

    points = [{"seed": seed, "rate": 1e-3} for seed in (0, 1)]
    found = together(tmp_path, [module_of(kind, teacher, data, **point) for point in points], [data])
    for content, point in zip(found, points, strict=True):
        compare(content, *alone(module_of(kind, teacher, data, **point), data))


def test_one_that_diverges_leaves_the_others_as_they_are_and_says_what_it_says_alone(teacher, data, tmp_path):
    points = [{"temperature": 2.0, "sparsity": 0.5, "bits": 8, "rate": rate} for rate in (1e-3, 1e38)]
    good, bad = together(tmp_path, [module_of(SmallCNN, teacher, data, **point) for point in points], [data], 1.0)
    compare(good, *alone(module_of(SmallCNN, teacher, data, **points[0]), data, 1.0))
    with pytest.raises(NotFinite) as said:
        alone(module_of(SmallCNN, teacher, data, **points[1]), data, 1.0)
    assert bad[KEY]["not_finite"] == str(said.value)
    assert not bad[KEY]["epochs"]["rows"] and all(value.isfinite().all() for value in good["state_dict"].values())


def test_a_fit_goes_on_from_what_was_learned_at_once(teacher, data, tmp_path):
    points = [{"sparsity": 0.5, "rate": rate} for rate in (1e-3, 1e38)]
    contents = together(tmp_path, [module_of(SmallCNN, teacher, data, **point) for point in points], [data])
    told, epochs = [], Epochs()
    logger = Curves()
    logger.log_metrics = lambda metrics, step=None: told.append((step, dict(metrics)))
    module = module_of(SmallCNN, teacher, data, **points[0])
    files = [CheckpointFiles(tmp_path / str(number), f"point {number}") for number in range(2)]
    assert fit(module, data, EPOCHS, 0, False, epochs, loggers=[logger], checkpoints=files[0]) == 10
    for name, value in module.state_dict().items():
        assert torch.equal(value, contents[0]["state_dict"][name])
    assert epochs.networks == 2 and epochs.seconds_before > 0
    assert [step for step, _ in told] == [4, 9] and told[1][1]["sparsity"] == epochs.curves.rows[1]["sparsity"]
    with pytest.raises(NotFinite, match="the training loss is"):
        fit(module_of(SmallCNN, teacher, data, **points[1]), data, EPOCHS, 0, False, checkpoints=files[1])


def test_networks_of_other_shapes_and_data_of_other_lengths_are_refused(teacher, data, tmp_path):
    with pytest.raises(Unstackable, match="layers or shapes"):
        together(tmp_path, [module_of(kind, teacher, data) for kind in (SmallCNN, LeNet5)], [data])
    with pytest.raises(Unstackable, match="layers or shapes"):
        together(tmp_path, [module_of(SmallCNN, teacher, data, sparsity=s) for s in (None, 0.5)], [data])
    longer = MNISTDataModule(dataset="mnist5k", batch_size=BATCH, epoch_examples=2 * EXAMPLES)
    with pytest.raises(Unstackable, match="length"):
        together(tmp_path, [module_of(SmallCNN, teacher, data) for _ in range(2)], [data, longer], None, [0, 1])


def test_a_network_that_draws_at_random_cannot_be_mapped(teacher, data, tmp_path):
    def kind():
        return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(784, 10))

    with pytest.raises(RuntimeError, match="random"):
        together(tmp_path, [module_of(kind, teacher, data) for _ in range(2)], [data])
