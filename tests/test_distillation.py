import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from lcomp.errors import UserError
from lcomp.techniques.distillation.logit import Ensemble, LogitDistillation, logit_distillation


def by_hand(student, teacher, labels, temperature, alpha):
    p, q = (teacher / temperature).softmax(1), (student / temperature).softmax(1)
    soft = (p * (p.log() - q.log())).sum(1).mean()
    return alpha * F.cross_entropy(student, labels) + (1 - alpha) * temperature**2 * soft


@given(st.integers(0, 1000), st.floats(0.5, 20), st.floats(0, 1))
def test_loss_is_the_formula(seed, temperature, alpha):
    random = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, 6, 10, generator=random, dtype=torch.float64)
    labels = torch.randint(10, (6,), generator=random)
    seen = logit_distillation(student, teacher, labels, temperature, alpha)
    assert math.isclose(seen, by_hand(student, teacher, labels, temperature, alpha), rel_tol=1e-9, abs_tol=1e-12)


def test_nothing_is_left_to_learn_from_a_teacher_that_is_matched():
    logits = torch.randn(4, 10)
    assert abs(logit_distillation(logits, logits, torch.zeros(4, dtype=torch.int64), 3, 0)) < 1e-6


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_an_ensembles_softened_outputs_are_the_mean_of_its_members(temperature):
    members, x = [torch.nn.Linear(5, 10) for _ in range(3)], torch.randn(7, 5)
    seen = (Ensemble(members, temperature)(x) / temperature).softmax(1)
    assert torch.allclose(seen, torch.stack([(m(x) / temperature).softmax(1) for m in members]).mean(0), atol=1e-6)


@pytest.mark.parametrize("settings", [{"temperature": 0}, {"temperature": -1}, {"alpha": 1.1}, {"alpha": -0.1}])
def test_impossible_settings_are_refused_by_name(settings):
    with pytest.raises(UserError, match=f"kd.{next(iter(settings))}"):
        LogitDistillation(**settings)
