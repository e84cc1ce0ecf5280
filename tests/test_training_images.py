"""What AugMix and leave-one-out do to training images: their laws, their limits, and that all of it is seeded."""

import inspect
from math import sqrt

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from lcomp.config import run_config
from lcomp.config.instantiation import find, names_of
from lcomp.data import MNISTDataModule, augmentation, leave_one_out
from lcomp.data.augmix import AugMix
from lcomp.data.leave_one_out import LeaveOneOut
from lcomp.data.mnist_c import CORRUPTIONS, PUBLISHED
from lcomp.data.perturbations import perturb, seeded_generator
from lcomp.errors import UserError
from lcomp.modules import DistillationModule
from lcomp.techniques.distillation import LogitDistillation

LEFT_OUT = {"leave_one_out": {"left_out": "rotate"}}
BLACK = torch.zeros(4000, 1, 1, 1)


def unchanged(images, severity, generator):
    return images


def white(images, severity, generator):
    return torch.ones_like(images)


def replaced(mix, *operations):
    """The same AugMix with other operations."""
    mix.operations = list(operations)
    return mix


def shares_of(mix):
    """What AugMix gives each chain of each image, (N, chains): chain i makes channel i white, and nothing else does."""

    def marks(images, severity, generator):
        chain = torch.arange(mix.width).repeat_interleave(len(images) // mix.width)
        return nn.functional.one_hot(chain, mix.width).float()[:, :, None, None]

    return replaced(mix, marks)(torch.zeros(4000, mix.width, 1, 1), seeded_generator(0))[:, :, 0, 0]


@pytest.mark.parametrize("width", [1, 2, 3])
def test_mixing_weights_sum_to_one(width):
    images = torch.rand(50, 1, 28, 28)
    assert torch.allclose(replaced(AugMix(width=width), unchanged)(images, seeded_generator(0)), images, atol=1e-6)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 4.0])
def test_shares_follow_beta_and_dirichlet(alpha):
    mixed = shares_of(AugMix(width=3, depth=1, alpha=alpha))
    total = mixed.sum(1)
    weights = mixed / total[:, None]
    assert total.mean() == pytest.approx(0.5, abs=0.03)
    assert total.std() == pytest.approx(1 / sqrt(4 * (2 * alpha + 1)), rel=0.05)
    assert torch.allclose(weights.mean(0), torch.full((3,), 1 / 3), atol=0.03)
    assert weights.std() == pytest.approx(sqrt(2 / (9 * (3 * alpha + 1))), rel=0.05)
    assert abs(torch.corrcoef(torch.stack([total, weights[:, 0]]))[0, 1]) < 0.06


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_chains_have_one_to_depth_operations(depth):
    mix = replaced(AugMix(depth=depth), lambda images, severity, generator: images + 1)
    lengths = mix.chains(BLACK.clone(), np.random.default_rng(0), seeded_generator(0)).flatten().long()
    shares = torch.bincount(lengths, minlength=depth + 1) / len(BLACK)
    assert len(shares) == depth + 1 and shares[0] == 0
    assert torch.allclose(shares[1:], torch.full((depth,), 1 / depth), atol=0.03)


def test_operations_are_drawn_alike_and_severities_up_to_the_highest():
    counts, severities = [0, 0, 0], set()

    def counting(number):
        def operation(images, severity, generator):
            counts[number] += len(images)
            severities.add(severity)
            return images

        return operation

    mix, generator = replaced(AugMix(severity=4, depth=1), *map(counting, range(3))), seeded_generator(0)
    for _ in range(20):
        mix(BLACK[:600], generator)
    assert severities == {1, 2, 3, 4} and sum(counts) == 12_000
    assert all(abs(count - 4000) < 200 for count in counts)


def test_operations_are_those_named_and_by_default_none_of_mnist_cs():
    mixed = AugMix(operations=["wave", "rotation"])
    assert [operation.__name__ for operation in mixed.operations] == ["wave", "rotation"]
    assert not {operation.__name__ for operation in AugMix().operations} & set(CORRUPTIONS)


def marking(name, seen):
    """A stand-in for the corruption of that name, which records how it is called."""

    def corruption(images, severity, generator):
        seen.append((name, severity, len(images)))
        return images

    return corruption


@pytest.mark.parametrize("severity", [None, 2])
@pytest.mark.parametrize("clean", [0, 0.4])
def test_each_corruption_but_the_one_left_out_has_its_share(monkeypatch, clean, severity):
    seen: list[tuple[str, int, int]] = []
    monkeypatch.setattr(leave_one_out, "CORRUPTIONS", {name: marking(name, seen) for name in CORRUPTIONS})
    LeaveOneOut("fog", severity, clean)(torch.rand(14_000, 1, 1, 1), seeded_generator(0))
    assert [name for name, *_ in seen] == [name for name in CORRUPTIONS if name != "fog"]
    for name, used, count in seen:
        assert used == (severity or PUBLISHED[name])
        assert count == pytest.approx(1000 * (1 - clean), rel=0.12)


def test_images_have_one_corruption_or_none(monkeypatch):
    added = {name: lambda images, *_: images + 1 for name in CORRUPTIONS}
    monkeypatch.setattr(leave_one_out, "CORRUPTIONS", added)
    before = torch.zeros(2000, 1, 1, 1)
    changed = LeaveOneOut("fog", clean=0.3)(before, seeded_generator(0))
    assert set(changed.unique().tolist()) == {0, 1} and changed.mean() == pytest.approx(0.7, abs=0.04)
    assert not before.any()


def test_the_left_out_corruption_never_meets_a_training_image(monkeypatch):
    def forbidden(*_):
        raise AssertionError("it was applied")

    for name in ("rotate", "shear"):
        monkeypatch.setitem(CORRUPTIONS, name, forbidden)  # type: ignore[index]
    with pytest.raises(AssertionError, match="it was applied"):  # the other one is
        next(iter(MNISTDataModule("mnist5k", perturb=LEFT_OUT).train_dataloader()))
    monkeypatch.setitem(CORRUPTIONS, "shear", unchanged)  # type: ignore[index]
    loader = MNISTDataModule("mnist5k", epoch_examples=2000, perturb=LEFT_OUT).train_dataloader()
    assert sum(len(images) for images, _ in loader) == 2000


@pytest.mark.parametrize("perturb", [{"augmix": {"width": 2}}, LEFT_OUT], ids=str)
def test_a_batch_is_a_function_of_seed_and_indices(perturb):
    one, same = (MNISTDataModule("mnist5k", perturb=perturb).train for _ in range(2))
    index, other = torch.arange(100), torch.arange(100).roll(1)
    first = one[index][0]
    one[other]
    assert torch.equal(first, one[index][0]) and torch.equal(first, same[index][0])
    assert not torch.equal(first, one[other][0].roll(-1, 0))
    same.seed = 1
    assert not torch.equal(first, same[index][0])
    clean = one.images[index].float() / 255
    assert first.dtype == torch.float32 and first.shape == clean.shape and not torch.equal(first, clean)
    assert first.min() >= 0 and first.max() <= 1 and torch.equal(clean, one.images[index].float() / 255)


@pytest.mark.parametrize("perturb", [{"augmix": {}}, LEFT_OUT], ids=str)
def test_teacher_and_student_see_the_same_changed_images(perturb):
    seen: list[torch.Tensor] = []

    class Watching(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(784, 10)

        def forward(self, x):
            seen.append(x)
            return self.layer(x.flatten(1))

    data = MNISTDataModule("mnist5k", perturb=perturb)
    assert not data.carry_outputs(Watching()) and not seen
    batch = next(iter(data.train_dataloader()))
    DistillationModule(Watching(), Watching(), LogitDistillation()).training_step(batch, 0)
    assert len(seen) == 2 and seen[0] is seen[1] is batch[0]


def test_several_changes_act_in_one_order_however_they_are_named():
    images, one = torch.rand(5, 1, 28, 28), {"rotation": {"severity": 2}, "gaussian_blur": {"severity": 3}}

    def changed(perturb):
        seen, generator = images, seeded_generator(7)
        for change in augmentation.make_augmentations(perturb):
            seen = change(seen, generator)
        return seen

    assert torch.equal(changed(one), perturb(images, {"rotation": 2, "gaussian_blur": 3}, 7))
    for wanted in (one, one | {"augmix": {}}, {"augmix": {}} | LEFT_OUT):
        assert torch.equal(changed(wanted), changed(dict(reversed(wanted.items()))))


@pytest.mark.parametrize("name", augmentation.RANDOM_AUGMENTATIONS)
def test_yaml_and_constructor_have_the_same_defaults(name):
    written = yaml.safe_load((run_config.folder() / "perturb" / f"{name}.yaml").read_text())
    made = find(augmentation.RANDOM_AUGMENTATIONS[name], "perturb")
    defaults = {k: p.default for k, p in inspect.signature(made).parameters.items()} if names_of(made) else {}
    assert written == {name: {k: list(v) if isinstance(v, tuple) else v for k, v in defaults.items()}}


@pytest.mark.parametrize(
    ("perturb", "message"),
    [
        ({"augmx": {}}, "perturb=augmx: allowed are .*did you mean augmix"),
        ({"rotation": {"angle": 3}}, r"perturb.rotation.angle: no such key; allowed is severity"),
        ({"augmix": {"widht": 3}}, "perturb.augmix.widht=3: .*did you mean width"),
        ({"augmix": {"width": 0}}, "perturb.augmix.width=0: must be a whole number, 1 or more"),
        ({"augmix": {"depth": 1.5}}, "perturb.augmix.depth=1.5: must be a whole number"),
        ({"augmix": {"alpha": 0}}, "perturb.augmix.alpha=0: must be above 0"),
        ({"augmix": {"severity": 6}}, "perturb.augmix.severity=6: must be 1 to 5"),
        ({"augmix": {"operations": []}}, "perturb.augmix.operations=\\[\\]: name one or more of gaussian_noise"),
        ({"augmix": {"operations": ["elastik"]}}, "perturb.augmix.operations: no .*'elastik'.*did you mean elastic"),
        (
            {"leave_one_out": {}},
            "perturb.leave_one_out.left_out: name the corruption that is judged, one of shot_noise",
        ),
        ({"leave_one_out": {"left_out": "rotation"}}, "left_out=rotation: allowed are .*did you mean rotate"),
        ({"leave_one_out": {"left_out": "fog", "severity": 0}}, "severity=0: must be 1 to 5, or null"),
        ({"leave_one_out": {"left_out": "fog", "clean": 1}}, "clean=1: must be a share of the images"),
    ],
)
def test_impossible_changes_are_refused(perturb, message):
    with pytest.raises(UserError, match=message):
        MNISTDataModule("mnist5k", perturb=perturb)
