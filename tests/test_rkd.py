"""Relations among the examples of a batch are their formulas, whatever the widths of the layers."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lcomp.errors import UserError
from lcomp.models import LeNet5, SmallCNN
from lcomp.modules import DistillationModule
from lcomp.techniques.distillation import RKD, Distillation
from lcomp.techniques.distillation.features import capture_outputs

SHAPE = (1, 28, 28)
BATCHES = st.integers(0, 1000), st.integers(1, 5), st.integers(1, 4)


def drawn(seed, many, width):
    random = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(many, size, 1, 1, generator=random) for size in (width, width + 2))


def huber(a, b):
    return (a - b) ** 2 / 2 if abs(a - b) <= 1 else abs(a - b) - 0.5


def mean(values):
    return sum(values) / len(values)


def distance_by_hand(features):
    rows = features.flatten(1).double().tolist()
    apart = [[math.dist(one, other) for other in rows] for one in rows]
    of_pairs = [value for i, row in enumerate(apart) for j, value in enumerate(row) if i != j]
    mu = mean(of_pairs) if of_pairs else 1
    return [value / mu for row in apart for value in row]


def angle_by_hand(features):
    rows = features.flatten(1).double().tolist()

    def cosine(i, j, k):
        if j in (i, k):
            return 0.0
        e, f = ([a - b for a, b in zip(rows[other], rows[j], strict=True)] for other in (i, k))
        return sum(a * b for a, b in zip(e, f, strict=True)) / math.hypot(*e) / math.hypot(*f)

    every = range(len(rows))
    return [cosine(i, j, k) for j in every for i in every for k in every]


def similarity_by_hand(features):
    rows = features.flatten(1).double().tolist()
    products = [[sum(a * b for a, b in zip(one, other, strict=True)) for other in rows] for one in rows]
    return [value / math.hypot(*row) for row in products for value in row]


@pytest.mark.parametrize(
    ("part", "by_hand", "loss"),
    [
        ("distance", distance_by_hand, huber),
        ("angle", angle_by_hand, huber),
        ("similarity", similarity_by_hand, lambda a, b: (a - b) ** 2),
    ],
)
@given(batch=st.tuples(*BATCHES))
def test_each_part_is_its_formula(part, by_hand, loss, batch):
    student, teacher = drawn(*batch)
    objective = RKD(**{"distance": 0, "angle": 0, "similarity": 0} | {part: 7.0})
    expected = mean([loss(a, b) for a, b in zip(by_hand(student), by_hand(teacher), strict=True)])
    assert float(objective(student, teacher)) == pytest.approx(7 * expected, rel=1e-3, abs=1e-5)


@given(*BATCHES, st.floats(0.1, 100))
def test_neither_scale_nor_place_nor_direction_of_features_counts(seed, many, width, scale):
    teacher = drawn(seed, many, width)[0].double().float()
    turned, _ = torch.linalg.qr(torch.randn(width, width, generator=torch.Generator().manual_seed(seed)))
    student = (scale * teacher.flatten(1) @ turned + 1)[:, :, None, None]
    assert float(RKD()(student, teacher)) < 1e-4


@pytest.mark.parametrize(
    "collapsed", [torch.zeros(4, 3), torch.ones(4, 3), torch.ones(1, 3), torch.eye(3)[[0, 0, 1, 2]]]
)
def test_examples_of_the_same_features_leave_finite_gradients(collapsed):
    student = collapsed.clone().requires_grad_()
    loss = RKD(similarity=3000.0)(student[:, :, None, None], drawn(0, len(student), 3)[1])
    loss.backward()
    assert loss.isfinite() and student.grad.isfinite().all() and student.grad.abs().max() < 1e6


def test_half_precision_is_not_felt():
    student, teacher = drawn(0, 8, 16)
    expected = RKD(similarity=3000.0)(student.bfloat16().float(), teacher)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(RKD(similarity=3000.0)(student.bfloat16(), teacher), expected)


def module_of(objective, network, teacher, **settings):
    return DistillationModule(
        network, teacher, Distillation(alpha=1.0, objectives={"rkd": objective}), input_shape=SHAPE, **settings
    )


def test_what_the_last_linear_layer_reads_is_compared_unless_layers_are_named(trained):
    x, labels = torch.rand(6, *SHAPE), torch.randint(10, (6,))
    network = SmallCNN()
    for names, layers in (((), ("fc2:input", "fc3:input")), (("conv", "pool"), ("conv", "pool"))):
        part = RKD(1.0, *names)
        module = module_of(part, network, trained)
        assert (part.student_layer, part.teacher_layer) == layers
        with capture_outputs(network, [layers[0]]) as own, capture_outputs(trained, [layers[1]]) as given:
            labels_loss = nn.functional.cross_entropy(network(x), labels)
            trained(x)
        expected = labels_loss + part(own[layers[0]], given[layers[1]])
        assert torch.allclose(module.loss((x, labels)), expected)
        assert not any(layer._forward_hooks for layer in [*network.modules(), *trained.modules()])
    assert own["conv"].shape[1:] == (4, 26, 26) and part(own["conv"], own["conv"]) < 1e-6


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"distance": -1}, "distance=-1: must be a number, 0 or more"),
        ({"angle": None}, "angle=None: must be a number"),
        ({"similarity": "x"}, "similarity=x: must be a number"),
        ({"student_layer": "cov:input"}, "student_layer=cov:input: no layer of SmallCNN; they are .*did you mean conv"),
    ],
)
def test_impossible_settings_are_refused_by_name(settings, message):
    with pytest.raises(UserError, match=f"kd.objectives.rkd.{message}"):
        module_of(RKD(**settings), SmallCNN(), LeNet5())


def test_a_network_without_a_linear_layer_is_refused():
    with pytest.raises(UserError, match=r"rkd.student_layer=null: Sequential has no Linear; the layers are 0, 1"):
        module_of(RKD(), nn.Sequential(nn.Conv2d(1, 10, 28), nn.Flatten()), LeNet5())
