"""Decoupled distillation is its formula, and in both parts together the divergence that logit distillation has."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_configuration import compose
from training import Watch, train

from lcomp.config.run_spec import parse
from lcomp.errors import UserError
from lcomp.models import SmallCNN
from lcomp.modules import DistillationModule
from lcomp.techniques.distillation import DKD, Distillation, LogitDistillation
from lcomp.techniques.distillation.dkd import decoupled_divergences
from lcomp.training import components

SEEDS, CLASSES, SPREADS = st.integers(0, 1000), st.integers(2, 12), st.floats(0.1, 40)


def drawn(seed, classes, spread, many=5):
    random = torch.Generator().manual_seed(seed)
    student, teacher = spread * torch.randn(2, many, classes, generator=random, dtype=torch.float64)
    return student, teacher, torch.randint(classes, (many,), generator=random)


def by_hand(student, teacher, label):
    """(TCKD, NCKD) of one example, from probabilities (eq. 1 to 5)."""
    p, q = ([math.exp(z - max(logits)) for z in logits] for logits in (teacher, student))
    p, q = ([one / sum(of) for one in of] for of in (p, q))
    b, c = ((of[label], sum(of[:label] + of[label + 1 :])) for of in (p, q))
    target = sum(one * math.log(one / other) for one, other in zip(b, c, strict=True))
    among = [(p[k] / b[1], q[k] / c[1]) for k in range(len(p)) if k != label]
    return target, sum(one * math.log(one / other) for one, other in among)


@given(SEEDS, CLASSES, st.floats(0.1, 5))
def test_the_parts_are_divergences_of_the_label_and_of_the_others(seed, classes, spread):
    student, teacher, labels = drawn(seed, classes, spread)
    seen = decoupled_divergences(student, teacher, labels)
    for number, label in enumerate(labels.tolist()):
        expected = by_hand(student[number].tolist(), teacher[number].tolist(), label)
        assert [float(part[number]) for part in seen] == pytest.approx(expected, rel=1e-7, abs=1e-10)


@given(SEEDS, CLASSES, SPREADS)
def test_the_second_weighted_by_what_is_left_of_the_teacher_gives_the_whole_divergence(seed, classes, spread):
    """Equation 7."""
    student, teacher, labels = drawn(seed, classes, spread)
    of_target, of_others = decoupled_divergences(student, teacher, labels)
    log_p, log_q = teacher.log_softmax(1), student.log_softmax(1)
    left = 1 - log_p.gather(1, labels[:, None]).squeeze(1).exp()
    whole = (log_p.exp() * (log_p - log_q)).sum(1)
    assert torch.allclose(of_target + left * of_others, whole, rtol=1e-6, atol=1e-9)


def test_the_loss_is_the_weighted_mean_at_a_temperature():
    student, teacher, labels = drawn(3, 10, 4.0)
    expected = [by_hand(*(row[n].div(2).tolist() for row in (student, teacher)), int(labels[n])) for n in range(5)]
    mean = sum(0.5 * target + 3 * others for target, others in expected) / 5
    assert math.isclose(DKD(1.0, 0.5, 3, temperature=2)(student, teacher, labels), 4 * mean, rel_tol=1e-9)


def test_a_teacher_that_is_sure_leaves_finite_gradients():
    student = torch.zeros(2, 10, requires_grad=True)
    teacher = torch.zeros(2, 10).index_fill(1, torch.tensor(3), 500.0)
    loss = DKD(temperature=1.0)(student, teacher, torch.tensor([3, 4]))
    loss.backward()
    assert loss.isfinite() and student.grad.isfinite().all() and student.grad.abs().max() > 0.1


def images(many=6):
    random = torch.Generator().manual_seed(0)
    return torch.rand(many, 1, 28, 28, generator=random), torch.randint(10, (many,), generator=random)


def test_it_is_added_to_the_labels_loss_and_reads_no_features(trained):
    (x, labels), network, part = images(), SmallCNN(), DKD(0.5, warmup=0)
    objective = Distillation(4, alpha=1.0, objectives={"dkd": part})
    module = DistillationModule(network, trained, objective)  # without an input_shape
    student, teacher = network(x), trained(x)
    expected = LogitDistillation(4, 1.0)(student, teacher, labels) + 0.5 * part(student, teacher, labels)
    assert torch.allclose(module.loss((x, labels)), expected)
    shares = torch.nn.functional.one_hot(labels, 10) * 0.6 + 0.04  # of classes, as of mixed examples
    assert torch.equal(
        part(student, teacher, labels), module.objective.parts["dkd"](student, teacher, shares.argmax(1))
    )
    assert module.loss((x, shares)).isfinite()


def test_the_loss_rises_over_its_share_of_training(digits, trained):
    part = DKD(warmup=0.5)
    seen = []
    part.register_forward_hook(lambda part, _, value: seen.append(value.item()))
    objective = Distillation(alpha=1.0, objectives={"dkd": part})
    module = DistillationModule(SmallCNN(), trained, objective)
    watch = Watch(lambda module: float(module.objective._values["dkd"][-1]))
    train(module, digits, callbacks=[watch])
    factors = [value / whole for value, whole in zip(watch.seen, seen, strict=True)]
    assert factors == pytest.approx([min(step / 10, 1) for step in range(20)], abs=1e-6)


def test_a_rise_within_one_step_is_said(digits, trained, caplog):
    objective = Distillation(objectives={"mine": DKD(warmup=0.05)})
    train(DistillationModule(SmallCNN(), trained, objective), digits)
    assert "kd.objectives.mine.warmup=0.05: its window (0 to 5 % of training) has 1 of the 20 steps" in caplog.text


def test_of_the_command_line_it_takes_the_temperature_of_logits_and_carries_them(digits, trained):
    spec = parse(compose("kd=dkd", "kd.temperature=2.5"))
    try:
        objective, techniques = components.make_techniques(spec)
        module = components.make_module(spec, digits, SmallCNN(), trained, objective, techniques)
        assert (objective.temperature, objective.parts["dkd"].temperature, objective.logit.alpha) == (2.5, 2.5, 1.0)
        assert module.outputs_in_batch and len(digits.train.extra) == 1
    finally:
        digits.train.extra = ()
    chosen = parse(compose("kd=logit", "kd/objectives=[dkd,rkd]"))
    objective, _ = components.make_techniques(chosen)
    assert [*objective.parts] == ["dkd", "rkd"] and objective.parts["dkd"].temperature == 3 and objective.reads_features


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"target": -1}, "target=-1: must be a number, 0 or more"),
        ({"non_target": "x"}, "non_target=x: must be a number"),
        ({"temperature": 0}, "temperature=0: must be above 0"),
        ({"warmup": 1.0}, "warmup=1.0: a share of training, from 0 to below 1"),
        ({"weight": True}, "weight=True: must be a number"),
    ],
)
def test_impossible_settings_are_refused_by_name(settings, message):
    with pytest.raises(UserError, match=f"kd.objectives.dkd.{message}"):
        DKD(**settings)
