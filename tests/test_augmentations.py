"""What crops, mirror images, holes, mixup and TrivialAugment do, by what law; that all of it repeats under a seed."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torchvision.transforms.v2 import functional

from lcomp.data import ImageDataModule, MNISTDataModule, trivial_augment
from lcomp.data.crops import Crop, Cutout, Flip
from lcomp.data.mixup import Mixup
from lcomp.data.perturbations import seeded_generator
from lcomp.data.trivial_augment import TrivialAugment
from lcomp.errors import UserError
from lcomp.modules import BaselineModule, DistillationModule
from lcomp.tasks import ImageClassification
from lcomp.tasks.image_batches import Form
from lcomp.techniques.distillation import LogitDistillation
from lcomp.training.fit import fit

ALL = {"crop": {"padding": 2}, "flip": {}, "trivial_augment": {}, "cutout": {"size": 3}, "mixup": {"alpha": 1.0}}


def colours(count=60, size=8):
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, 3, size, size), np.uint8))


def pixels(count=2000, channels=3, height=6, width=7):
    return torch.rand(count, channels, height, width, generator=seeded_generator(1)) * 0.9 + 0.1


@pytest.mark.parametrize("mode", ["zero", "reflect"])
def test_a_crop_is_the_image_moved_by_each_distance_with_equal_chance(mode):
    images = pixels()[:1].repeat(5000, 1, 1, 1)
    crops = Crop(1, mode)(images, seeded_generator(0))
    wide = F.pad(images[:1], [1] * 4, mode="constant" if mode == "zero" else "reflect")[0]
    places = [wide[:, y : y + 6, x : x + 7] for y in range(3) for x in range(3)]
    counts = [int((crops == place).all(3).all(2).all(1).sum()) for place in places]
    assert sum(counts) == 5000 and min(counts) > 450 and max(counts) < 660


def test_each_image_is_mirrored_or_as_it_was():
    images = pixels()
    seen = Flip(0.25)(images, seeded_generator(0))
    mirrored, same = ((seen == one).all(3).all(2).all(1) for one in (images.flip(3), images))
    assert (mirrored ^ same).all() and 0.2 < mirrored.float().mean() < 0.3
    assert torch.equal(Flip(0)(images, seeded_generator(0)), images)
    assert torch.equal(Flip(1)(images, seeded_generator(0)), images.flip(3))


def test_cutout_is_a_square_with_its_centre_anywhere():
    seen = Cutout(3, 0.0)(pixels(), seeded_generator(0))
    assert torch.equal(seen[seen != 0], pixels()[seen != 0])
    holes = (seen == 0).all(1)
    rows, columns = holes.any(2).sum(1), holes.any(1).sum(1)
    assert torch.equal(holes.sum((1, 2)), rows * columns) and set(rows.tolist()) == set(columns.tolist()) == {2, 3}
    assert (rows == 2).float().mean() == pytest.approx(2 / 6, abs=0.04)  # the centre on either edge
    assert (columns == 2).float().mean() == pytest.approx(2 / 7, abs=0.04)
    assert set(Cutout(40)(pixels(), seeded_generator(0)).unique().tolist()) == {0.5}


def test_mixup_mixes_labels_as_it_mixes_images():
    labels = torch.eye(10)[torch.arange(2000) % 10]
    images = labels[:, :, None, None].expand(2000, 10, 2, 2)
    mixed, shares = Mixup(1.0)(images, labels, seeded_generator(0))
    assert torch.allclose(mixed[:, :, 0, 0], shares, atol=1e-6) and torch.allclose(shares.sum(1), torch.ones(2000))
    own = shares[labels.bool()][(shares < 1).all(1)]  # m, where it met another class
    assert own.mean() == pytest.approx(0.5, abs=0.03) and own.std() == pytest.approx(12**-0.5, abs=0.02)
    almost = Mixup(0.01)(images, labels, seeded_generator(0))[1]
    assert ((almost.max(1).values) > 0.99).float().mean() > 0.9


BYTES = colours(8, 32)
TORCHVISION = {
    "brightness": lambda x, m: functional.adjust_brightness(x, 1 + 0.99 * m),
    "colour": lambda x, m: functional.adjust_saturation(x, 1 + 0.99 * m),
    "contrast": lambda x, m: functional.adjust_contrast(x, 1 + 0.99 * m),
    "sharpness": lambda x, m: functional.adjust_sharpness(x, 1 + 0.99 * m),
    "posterize": lambda x, m: functional.posterize(x, 8 - round(6 * m)),
    "solarize": lambda x, m: functional.solarize(x, 255 * (1 - m)),
    "autocontrast": lambda x, m: functional.autocontrast(x),
    "equalize": lambda x, m: functional.equalize(x),
}


@pytest.mark.parametrize("name", TORCHVISION)
@pytest.mark.parametrize("amount", [0.0, 0.3, 0.7, 1.0, -0.6])
def test_colours_change_as_torchvision_changes_them(name, amount):
    if amount < 0 and name in ("posterize", "solarize"):
        return
    dim = (BYTES.float() * 0.5 + 40).to(torch.uint8)  # room to be stretched
    seen = getattr(trivial_augment, name)(dim.float() / 255, torch.full((8, 1, 1, 1), amount)) * 255
    expected = TORCHVISION[name](dim, amount).float()
    assert (seen - expected).abs().max() < 2.01  # bytes are cut and rounded on the way there


def test_shapes_change_by_the_papers_most():
    cross = torch.zeros(1, 1, 65, 65)
    cross[:, :, 32] = cross[:, :, :, 32] = 1
    amount = torch.ones(1, 1, 1, 1)
    for name, kept in (("shear_x", 3), ("shear_y", 2)):
        seen = getattr(trivial_augment, name)(cross, amount)
        middle = seen[0, 0, 32] if kept == 3 else seen[0, 0, :, 32]
        assert middle.min() > 0.9  # the line that is sheared along itself
        assert (
            seen[0, 0].diagonal().mean() > 0.8 or seen[0, 0].flip(1).diagonal().mean() > 0.8
        )  # the other, by 45 degrees
    for name, axis in (("translate_x", 3), ("translate_y", 2)):
        seen = getattr(trivial_augment, name)(cross, amount)
        assert torch.allclose(seen, cross.roll(-32, axis) * (seen > 0), atol=1e-3) and seen.sum() > 60
    turned = trivial_augment.rotate(cross, amount)  # by 135 degrees
    assert turned[0, 0].diagonal().mean() > 0.7 and turned[0, 0].flip(1).diagonal().mean() > 0.7


def test_trivial_augment_draws_each_change_equally_often():
    counts = dict.fromkeys(range(len(trivial_augment.CHANGES)), 0)

    def counting(number):
        def change(images, amount):
            assert images.shape[0] == amount.shape[0]
            counts[number] += len(images)
            least = -1 if trivial_augment.CHANGES[number][1] else 0
            assert amount.min() >= least and amount.max() <= 1
            return images

        return change

    monkey = pytest.MonkeyPatch()
    changes = tuple((counting(n), two) for n, (_, two) in enumerate(trivial_augment.CHANGES))
    with monkey.context() as patch:
        images = pixels(14_000, 1, 2, 2)
        patch.setattr(trivial_augment, "CHANGES", changes)
        assert torch.equal(TrivialAugment()(images, seeded_generator(0)), images)
    assert len(counts) == 14 and min(counts.values()) > 880 and max(counts.values()) < 1120


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ALL)
def test_what_is_changed_repeats_under_a_seed_stays_in_range_and_leaves_the_original(name, channels):
    images = pixels(300, channels, 9, 11)
    kept = images.clone()
    data = MNISTDataModule("mnist5k", perturb={name: ALL[name]})
    [change] = data.train.changes
    more = (torch.eye(300),) if name == "mixup" else ()

    def changed(seed):
        seen = change(images, *more, seeded_generator(seed))
        return seen[0] if more else seen

    assert torch.equal(changed(3), changed(3)) and not torch.equal(changed(3), changed(4))
    assert torch.equal(images, kept) and changed(3).shape == images.shape and changed(3).dtype == torch.float32
    assert changed(3).min() >= 0 and changed(3).max() <= 1


def own(**settings):
    part = colours(), torch.arange(60) % 4
    return ImageDataModule(part, part, part, **settings)


@pytest.mark.parametrize("batch_size", [1, 16])
def test_another_epoch_sees_other_crops_and_a_resumed_one_the_same(batch_size):
    def epoch(number, data):
        loader = data.train_dataloader()
        loader.sampler.set_epoch(number)
        order = torch.cat(list(loader.sampler)).argsort()
        return torch.cat([images for images, _ in loader])[order]

    one, other = own(batch_size=batch_size, perturb={"crop": {}}), own(batch_size=batch_size, perturb={"crop": {}})
    first, second = epoch(0, one), epoch(1, one)
    assert (first != second).flatten(1).any(1).float().mean() > 0.9
    assert torch.equal(epoch(1, other), second) and torch.equal(epoch(0, one), first)


def test_labels_become_shares_where_examples_are_mixed_and_the_rest_stays_whole():
    data = own(batch_size=16, perturb=ALL)
    images, labels = next(iter(data.train_dataloader()))
    assert images.shape == (16, 3, 8, 8) and labels.shape == (16, 4) and labels.dtype == torch.float32
    assert torch.allclose(labels.sum(1), torch.ones(16)) and ((labels > 0.01) & (labels < 0.99)).any()
    assert next(iter(data.val_dataloader()))[1].dtype == torch.int64
    task, outputs = data.task, torch.randn(16, 4)
    assert torch.allclose(task.loss(outputs, labels), -(labels * outputs.log_softmax(1)).sum(1).mean())
    assert task.metrics(outputs, labels) == task.metrics(outputs, labels.argmax(1))
    hard = torch.arange(16) % 4
    assert torch.allclose(task.loss(outputs, hard), task.loss(outputs, torch.eye(4)[hard]))


def test_a_student_under_a_teacher_sees_the_mixed_labels_and_the_teacher_the_mixed_images():
    data = own(batch_size=16, perturb=ALL)
    linear = lambda: torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 4))  # noqa: E731
    student, teacher = linear(), linear()
    assert not data.carry_outputs(teacher)
    batch = next(iter(data.train_dataloader()))
    module = DistillationModule(student, teacher, LogitDistillation(2.0, 0.3), task=data.task)
    soft = F.kl_div((student(batch[0]) / 2).log_softmax(1), (teacher(batch[0]) / 2).softmax(1), reduction="batchmean")
    labels = -(batch[1] * student(batch[0]).log_softmax(1)).sum(1).mean()
    assert torch.allclose(module.training_step(batch, 0), 0.3 * labels + 0.7 * 4 * soft, atol=1e-6)
    fit(BaselineModule(student, task=data.task), data, 2, seed=0, progress=False)


def test_a_users_loader_may_give_shares_in_training_alone():
    shares = torch.tensor([[0.3, 0.7], [1.0, 0.0]])
    batch = torch.zeros(2, 1, 2, 2), shares
    task = ImageClassification(2, (1, 2, 2))
    assert torch.equal(task.reader("own: train_dataloader")(batch)[1], shares)
    assert task.reader("own: train_dataloader")((batch[0], torch.eye(2)))[1].tolist() == [0, 1]
    with pytest.raises(UserError, match="rows of labels with other than a single 1"):
        task.reader("own: val_dataloader")(batch)
    for wrong in ([[0.3, 0.6], [1.0, 0.0]], [[1.5, -0.5], [1.0, 0.0]]):
        with pytest.raises(UserError, match="rows of labels"):
            Form("own", (1, 2, 2), 2, mixed=True).read((batch[0], torch.tensor(wrong)))


@pytest.mark.parametrize(
    ("perturb", "message"),
    [
        ({"crop": {"padding": 0}}, "perturb.crop.padding=0: pixels, 1 or more"),
        ({"crop": {"mode": "wrap"}}, "perturb.crop.mode=wrap: allowed are zero, reflect"),
        ({"flip": {"probability": 2}}, "perturb.flip.probability=2: a chance"),
        ({"cutout": {"size": 0}}, "perturb.cutout.size=0: pixels"),
        ({"cutout": {"fill": 2}}, "perturb.cutout.fill=2: a grey"),
        ({"mixup": {"alpha": 0}}, "perturb.mixup.alpha=0: must be above 0"),
        ({"trivial_augment": {"bins": 3}}, "perturb.trivial_augment.bins=3"),
    ],
)
def test_impossible_changes_are_refused(perturb, message):
    with pytest.raises(UserError, match=message):
        own(perturb=perturb)


def test_a_margin_wider_than_the_image_cannot_be_reflected():
    with pytest.raises(UserError, match=r"perturb.crop.padding=8: an image of 8 x 8 .* at most 7"):
        next(iter(own(perturb={"crop": {"padding": 8, "mode": "reflect"}}).train_dataloader()))
