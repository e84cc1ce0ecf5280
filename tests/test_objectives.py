"""Distillation as a weighted sum: each objective is its formula; what it learns is trained, kept and resumed."""

import copy
import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_configuration import compose
from torch import nn
from training import Watch, train

from lcomp.config import run_config
from lcomp.config.run_spec import parse
from lcomp.errors import UserError
from lcomp.models import LeNet5, SmallCNN
from lcomp.modules import DistillationModule
from lcomp.techniques.distillation import (
    VID,
    AttentionTransfer,
    Distillation,
    Ensemble,
    FitNets,
    LogitDistillation,
    TeacherNoise,
)
from lcomp.techniques.distillation.attention import attention, attention_loss
from lcomp.techniques.distillation.features import capture_outputs, same_size
from lcomp.techniques.distillation.fitnets import hint_loss
from lcomp.techniques.distillation.vid import negative_log_likelihood
from lcomp.techniques.pruning import Pruning
from lcomp.training import components
from lcomp.training.weights_file import load_weights

SHAPE = (1, 28, 28)
SIZES = st.integers(0, 1000), st.integers(1, 5), st.integers(1, 4), st.integers(1, 4)


def drawn(seed, *shape, many=2):
    return torch.randn(many, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def images(seed=0, many=6):
    random = torch.Generator().manual_seed(seed)
    return torch.rand(many, *SHAPE, generator=random), torch.randint(10, (many,), generator=random)


@given(*SIZES)
def test_the_hint_is_half_the_squared_distance(seed, channels, height, width):
    student, teacher = drawn(seed, 3, channels, height, width)
    summed = sum((t - s) ** 2 / 2 for s, t in zip(student.flatten().tolist(), teacher.flatten().tolist(), strict=True))
    assert math.isclose(hint_loss(student, teacher), summed / student.numel(), rel_tol=1e-9)


@given(*SIZES, st.floats(0.5, 4))
def test_attention_is_where_activations_are_large_whatever_their_scale(seed, channels, height, width, power):
    student, teacher = drawn(seed, 3, channels, height, width)
    expected = 0.0
    for one, other in zip(student, teacher, strict=True):
        maps = [sum(abs(channel) ** power for channel in features).flatten() for features in (one, other)]
        q, r = (m / math.sqrt(float((m * m).sum())) for m in maps)
        expected += float(((q - r) ** 2).sum()) / 2 / 3
    seen = attention_loss(attention(student, power), attention(teacher, power))
    assert math.isclose(seen, expected, rel_tol=1e-9, abs_tol=1e-12)
    assert attention_loss(attention(student, power), attention(7 * student, power)) < 1e-12


@given(*SIZES)
def test_vid_is_the_likelihood_of_a_gaussian_less_its_constant(seed, channels, height, width):
    mean, teacher = drawn(seed, 3, channels, height, width)
    variance = torch.rand(channels, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.1
    spread = variance.sqrt()[:, None, None].expand(channels, height, width)
    expected = -torch.distributions.Normal(mean, spread).log_prob(teacher).mean() - math.log(2 * math.pi) / 2
    assert math.isclose(negative_log_likelihood(teacher, mean, variance), expected, rel_tol=1e-9, abs_tol=1e-12)


def test_the_larger_map_is_averaged_to_the_smaller_in_each_direction():
    student, teacher = torch.arange(32.0).reshape(1, 1, 8, 4), torch.arange(16.0).reshape(1, 1, 2, 8)
    one, other = same_size(student, teacher)
    assert one.shape == other.shape == (1, 1, 2, 4)
    assert torch.equal(one, student.reshape(1, 1, 2, 4, 4).mean(3))
    assert torch.equal(other, teacher.reshape(1, 1, 2, 4, 2).mean(4))


def objectives():
    return {
        "fitnets": FitNets(0.7, until=0.9),
        "attention": AttentionTransfer(20.0, "pool", "pool"),
        "vid": VID(0.3, "fc1", "fc2"),
    }


def made(objectives, network=None, teacher=None, **settings):
    objective = Distillation(4, 0.3, objectives=objectives)
    return DistillationModule(network or SmallCNN(), teacher or LeNet5(), objective, input_shape=SHAPE, **settings)


def test_the_loss_is_the_weighted_sum_of_its_parts(trained):
    module, (x, labels) = made(objectives(), teacher=trained), images()
    parts, network = module.objective.parts, module.network
    with (
        capture_outputs(network, ["conv", "pool", "fc1"]) as own,
        capture_outputs(trained, ["conv2", "pool", "fc2"]) as given,
    ):
        expected = LogitDistillation(4, 0.3)(network(x), trained(x), labels)
    assert own["fc1"].shape == (6, 16) and given["pool"].shape == (6, 16, 4, 4)  # the second of two calls
    for name, student, teacher in (("fitnets", "conv", "conv2"), ("attention", "pool", "pool"), ("vid", "fc1", "fc2")):
        features = own[student], given[teacher]
        if name == "vid":
            features = [one[:, :, None, None] for one in features]
        expected = expected + {"fitnets": 0.7, "attention": 20, "vid": 0.3}[name] * parts[name](*features)
    assert torch.allclose(module.loss((x, labels)), expected, rtol=1e-6)


def test_objectives_without_weight_or_past_their_end_leave_logit_distillation_to_the_bit(trained):
    network, (x, labels) = SmallCNN(), images()
    plain = DistillationModule(network, trained, LogitDistillation(4, 0.3)).loss((x, labels))
    for kind in (FitNets, AttentionTransfer, VID):
        assert torch.equal(made({"x": kind(0)}, network, trained).loss((x, labels)), plain)
        ended = made({"x": kind(1.0, until=0.5)}, network, trained)
        assert not torch.equal(ended.loss((x, labels)), plain)
        ended._progress = 0.5
        assert torch.equal(ended.loss((x, labels)), plain)


def test_an_objective_is_off_after_its_share_of_training(digits, trained):
    module = made({"fitnets": FitNets(until=0.3)}, teacher=trained)
    watch = Watch(lambda module: module.objective.parts["fitnets"].regressor.weight.detach().clone())
    train(module, digits, callbacks=[watch])
    moved = [not torch.equal(one, other) for one, other in itertools.pairwise(watch.seen)]
    assert moved == [True] * 5 + [False] * 14  # of 20 steps the first six


def test_what_is_learned_reaches_optimizer_and_checkpoint_and_moves(digits, trained, tmp_path):
    module = made(objectives() | {"more": VID(1.0)}, teacher=trained)
    first = {key: value.clone() for key, value in module.state_dict().items()}
    trainer = train(module, digits)
    given = {id(p) for group in trainer.optimizers[0].param_groups for p in group["params"]}
    assert given == {id(p) for p in module.parameters()}
    learned = {key: value for key, value in module.state_dict().items() if key.startswith("objective.")}
    shapes = {key.removeprefix("objective.objectives."): tuple(value.shape) for key, value in learned.items()}
    assert {"fitnets.regressor.weight", "vid.scale", "vid.mean.0.weight", "more.mean.4.weight"} <= shapes.keys()
    assert shapes["fitnets.regressor.weight"] == (16, 4, 1, 1) and shapes["vid.scale"] == (84,)
    assert shapes["vid.mean.0.weight"] == (84, 16, 1, 1) and shapes["more.mean.4.weight"] == (16, 16, 1, 1)
    assert not any(torch.equal(first[key], value) for key, value in learned.items())
    trainer.save_checkpoint(tmp_path / "checkpoint.ckpt")
    assert set(learned) <= set(torch.load(tmp_path / "checkpoint.ckpt", weights_only=True)["state_dict"])
    teacher = load_weights(tmp_path / "checkpoint.ckpt", SmallCNN())  # which learns nothing of that
    assert torch.equal(teacher.fc1.weight, module.network.fc1.weight)


def test_each_objectives_mean_over_the_epoch_is_logged(digits, trained):
    module, seen = made({"vid": VID(0.5), "attention": AttentionTransfer(3)}, teacher=trained), []
    for name in ("vid", "attention"):
        part = module.objective.parts[name]
        part.register_forward_hook(lambda part, _, value: seen.append((part.key.rpartition(".")[2], value.item())))
    trainer = train(module, digits)
    for name in ("vid", "attention"):
        values = [value for key, value in seen if key == name]
        assert len(values) == 20
        assert float(trainer.callback_metrics[f"objective/{name}"]) == pytest.approx(sum(values) / 20, rel=1e-5)
    assert module.objective.scalars() == {}


def test_variance_starts_at_five_and_follows_softplus():
    part = made({"vid": VID()}).objective.parts["vid"]
    assert torch.allclose(part.variance, torch.full((16,), 5.0))
    part.scale.data.fill_(-100)
    assert torch.allclose(part.variance, torch.full((16,), 1e-5))


def test_what_is_learned_is_drawn_from_the_seed_and_nothing_else_moves(trained):
    network = SmallCNN()
    network.register_module("norm", nn.BatchNorm2d(4).eval())  # somebody's frozen layer in a network that trains
    torch.manual_seed(5)
    one = made(objectives(), network, trained, seed=3)
    after = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(after, torch.rand(3))
    torch.rand(100)
    again, other = made(objectives(), network, trained, seed=3), made(objectives(), network, trained, seed=4)
    weights = [module.objective.parts["vid"].mean[0].weight for module in (one, again, other)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    assert network.training and network.conv.training and not network.norm.training


def test_no_hook_is_left_and_networks_can_be_copied(digits, trained):
    module = made(objectives(), teacher=trained, techniques=[Pruning(0.5)])
    train(module, digits, steps=2)
    module.loss(images())
    with pytest.raises(RuntimeError):
        module.loss((torch.zeros(1, 3, 28, 28), torch.zeros(1, dtype=torch.int64)))
    for network in (module.network, trained):
        assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in network.modules())
    copy.deepcopy(module.network)


def test_features_of_a_masked_layer_are_those_of_its_masked_weight(trained):
    module, (x, labels) = made({"fitnets": FitNets(1.0)}, teacher=trained), images()
    Pruning(0.5).prepare(module.network)
    module.network.conv.parametrizations["weight"][0].mask.zero_()
    nn.init.zeros_(module.network.conv.bias)
    module.objective.parts["fitnets"].regressor.bias.data.zero_()
    module.loss((x, labels))
    with capture_outputs(trained, ["conv2"]) as given:
        trained(x)
    assert module.objective.scalars()["objective/fitnets"] == pytest.approx(
        float(given["conv2"].square().mean() / 2), rel=1e-5
    )


def test_of_an_ensemble_a_members_layer_can_be_named():
    ensemble = Ensemble([LeNet5(), LeNet5()], 3.0)
    module = made({"vid": VID(), "other": VID(teacher_layer="members.0.conv1")}, teacher=ensemble)
    named = [part.teacher_layer for part in module.objective.parts.values()]
    assert named == ["members.1.conv2", "members.0.conv1"]
    assert module.loss(images()).isfinite()


class NoMaps(nn.Module):
    def __init__(self):
        super().__init__()
        self.unused, self.rows, self.last = nn.Linear(2, 2), nn.Identity(), nn.Linear(784, 10)

    def forward(self, x):
        return self.last(self.rows(x.flatten(2)).flatten(1))


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (FitNets, {"student_layer": "covn"}, r"kd.objectives.fitnets.student_layer=covn: no layer .*did you mean conv"),
        (
            VID,
            {"teacher_layer": "conv3"},
            r"kd.objectives.vid.teacher_layer=conv3: .*LeNet5; they are normalize, conv1",
        ),
        (AttentionTransfer, {"student_layer": "fc1"}, r"attention.student_layer=fc1: gives one position"),
        (FitNets, {"weight": -1}, r"kd.objectives.fitnets.weight=-1: must be a number, 0 or more"),
        (VID, {"weight": "much"}, r"kd.objectives.vid.weight=much: must be a number"),
        (VID, {"until": 0}, r"kd.objectives.vid.until=0: a share of training, above 0 to 1"),
        (AttentionTransfer, {"power": 0}, r"kd.objectives.attention.power=0: must be above 0"),
    ],
)
def test_what_cannot_be_is_refused_by_name(kind, arguments, message):
    with pytest.raises(UserError, match=message):
        made({"x": kind(**arguments)})


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (None, r"student_layer=null: NoMaps has no Conv2d; the layers are unused, rows, last"),
        ("rows", r"student_layer=rows: gives \(1, 1, 784\) for an example"),
        ("unused", r"student_layer=unused: gives NoneType for an example"),
    ],
)
def test_a_layer_without_features_is_refused(layer, message):
    with pytest.raises(UserError, match=message):
        made({"x": VID(student_layer=layer)}, NoMaps())


def test_a_bare_module_must_know_the_shape_of_images_only_for_features():
    with pytest.raises(UserError, match=r"kd.objectives: vid must know .*input_shape, such as \(1, 28, 28\)"):
        DistillationModule(SmallCNN(), LeNet5(), Distillation(objectives={"vid": VID()}))
    assert DistillationModule(SmallCNN(), LeNet5(), Distillation()).loss(images()).isfinite()


def test_a_list_of_names_is_answered_with_the_slash():
    with pytest.raises(UserError, match=r"kd.objectives=\['vid'\]: .*write a slash, as in kd/objectives=\[vid\]"):
        components.make_techniques(parse(compose("kd=logit", "+kd.objectives=[vid]")))


def test_objectives_are_chosen_together_and_recorded_by_their_keys():
    spec = parse(compose("kd=noisy_teacher", "kd/objectives=[attention,vid]", "kd.objectives.vid.weight=2"))
    objective, _ = components.make_techniques(spec)
    assert list(objective.parts) == ["attention", "vid"] and objective.parts["vid"].weight == 2
    recorded = run_config.technique_params(spec.config)
    assert recorded["kd.objectives.vid.weight"] == 2 and recorded["kd.objectives.vid"] == "VID"
    assert recorded["kd.noise.variance"] == 0.1 and not any("_target_" in key for key in recorded)


@pytest.mark.parametrize(("choice", "carried"), [("logit", True), ("noisy_teacher", True), ("attention", False)])
def test_the_teachers_logits_are_cached_unless_its_features_are_read(choice, carried, digits, trained):
    spec = parse(compose(f"kd={choice}"))
    try:
        objective, techniques = components.make_techniques(spec)
        module = components.make_module(spec, digits, SmallCNN(), trained, objective, techniques)
        assert module.outputs_in_batch == carried == bool(digits.train.extra)
    finally:
        digits.train.extra = ()


def test_noise_is_for_half_of_the_images_with_its_variance():
    noise, logits = TeacherNoise(0.1, 0.5), torch.linspace(-9, 9, 40_000 * 10).reshape(-1, 10)
    factors = noise(logits) / logits - 1
    untouched = (noise_free := factors.abs().amax(1) < 1e-5).float().mean()
    assert float(untouched) == pytest.approx(0.5, abs=0.0125)  # five standard deviations
    drawn = factors[~noise_free].double()
    assert float(drawn.var()) == pytest.approx(0.1, abs=0.0016) and abs(float(drawn.mean())) < 0.0036
    correlation = torch.corrcoef(drawn.T) - torch.eye(10)
    assert correlation.abs().max() < 0.036  # each logit by itself


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 4))
def test_noise_is_a_function_of_the_seed_and_of_the_batches_before(seed, before):
    logits = torch.ones(50, 10)

    def noise(seed):
        made = TeacherNoise()
        Distillation(noise=made).prepare(nn.Identity(), nn.Identity(), None, seed)
        return made

    one, other = noise(seed), noise(seed)
    draws = [one(logits) for _ in range(before + 1)]
    other.load_state_dict({"batches": torch.tensor(before)})
    assert torch.equal(other(logits), draws[-1])
    assert not any(torch.equal(draws[-1], earlier) for earlier in draws[:-1])
    assert not torch.equal(noise((seed + 1) % 2**32)(logits), draws[0])


def test_noise_reaches_the_loss_and_none_of_it_leaves_logit_distillation(trained):
    network, (x, labels) = SmallCNN(), images()
    plain = DistillationModule(network, trained, LogitDistillation(3, 0.1)).loss((x, labels))
    for noise, same in ((TeacherNoise(0.0), True), (TeacherNoise(0.1, 0.0), True), (TeacherNoise(0.1, 1.0), False)):
        seen = DistillationModule(network, trained, Distillation(noise=noise)).loss((x, labels))
        assert torch.equal(seen, plain) == same
    copy_of = TeacherNoise(0.1, 1.0)
    student, teacher = network(x), trained(x)
    assert torch.equal(seen, LogitDistillation(3, 0.1)(student, copy_of(teacher), labels))


@pytest.mark.parametrize(("key", "value"), [("variance", -0.1), ("variance", "x"), ("share", 1.5), ("share", True)])
def test_impossible_noise_is_refused_by_name(key, value):
    with pytest.raises(UserError, match=f"kd.noise.{key}={value}: "):
        TeacherNoise(**{key: value})
