"""What a user's data and network may be: input by input, what is read of it, or what the refusal says."""

import copy
import dataclasses
import itertools
from collections import namedtuple
from functools import partial

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from omegaconf import OmegaConf
from quickly import first_quickly
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from lcomp.data import content_hash, loaders
from lcomp.errors import UserError
from lcomp.evaluation import measurement
from lcomp.export.onnx_export import export
from lcomp.models import LeNet5
from lcomp.runtimes import ONNXRuntime
from lcomp.training import components, preflight
from lcomp.training.fit import NotFinite, fit

Pair = namedtuple("Pair", ["inputs", "targets"])


@dataclasses.dataclass
class Batch:
    image: torch.Tensor
    label: torch.Tensor


class Digits(pl.LightningDataModule):
    """Three small splits of digits in the shape of somebody's data: `change` makes the batch of (pixels, labels)."""

    num_classes, input_shape = 10, (1, 28, 28)

    def __init__(self, digits, change=None, **replaced):
        super().__init__()
        self.change = change or (lambda x, y: (x, y))
        self.parts = {}
        for name, part, count in (
            ("train", digits.train, 96),
            ("val", digits.validation, 70),
            ("test", digits.test, 70),
        ):
            self.parts[name] = (part.images[:count].float() / 255, part.labels[:count].clone())
        for name, value in replaced.items():
            setattr(self, name, value)

    def loader(self, name):
        def collate(rows):
            x, y = zip(*rows, strict=True)
            return self.change(torch.stack(x), torch.stack(y))

        return DataLoader(TensorDataset(*self.parts[name]), 32, collate_fn=collate)

    def train_dataloader(self):
        return self.loader("train")

    def val_dataloader(self):
        return self.loader("val")

    def test_dataloader(self):
        return self.loader("test")


def set_up(data):
    name = "data._target_=mine.Data"
    loaders.begin(data, name)
    task = components.make_task({"_target_": "lcomp.tasks.ImageClassification"}, data, name)
    return loaders.set_up(data, name, task)


def refused(call, *arguments):
    with pytest.raises(UserError) as caught:
        call(*arguments)
    assert "\x1b" not in str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)


ACCEPTED = {
    "float64 pixels": lambda x, y: (x.double(), y),
    "bytes": lambda x, y: ((x * 255).round().byte(), y),
    "NumPy arrays": lambda x, y: (x.numpy(), y.numpy()),
    "pixels with a gradient": lambda x, y: (x.clone().requires_grad_(), y),
    "not contiguous": lambda x, y: (x.transpose(2, 3).contiguous().transpose(2, 3), y),
    "channels last in memory": lambda x, y: (x.to(memory_format=torch.channels_last), y),
    "a tensor's subclass": lambda x, y: (x.as_subclass(type("Image", (torch.Tensor,), {})), y),
    "int32 labels": lambda x, y: (x, y.int()),
    "uint8 labels": lambda x, y: (x, y.byte()),
    "whole numbers as floats": lambda x, y: (x, y.float()),
    "a column of labels": lambda x, y: (x, y[:, None]),
    "a column of bytes": lambda x, y: (x, y[:, None].byte()),
    "one-hot": lambda x, y: (x, F.one_hot(y, 10)),
    "one-hot floats": lambda x, y: (x, F.one_hot(y, 10).float()),
    "a list of numbers": lambda x, y: (x, y.tolist()),
    "a list": lambda x, y: [x, y],
    "a dictionary": lambda x, y: {"image": x, "label": y},
    "a dictionary with more": lambda x, y: {"index": y * 0, "pixel_values": x, "labels": y, "path": ["a"] * len(y)},
    "a dictionary of other names": lambda x, y: {"a": x, "b": y},
    "a dictionary in a tuple": lambda x, y: ({"image": x, "weight": x.mean((1, 2, 3))}, y),
    "a named tuple": lambda x, y: Pair(x, y),
    "a dataclass": Batch,
    "labels first": lambda x, y: (y, x),
    "further parts": lambda x, y: (x, y, y * 0),
}


@pytest.mark.parametrize("kind", ACCEPTED)
def test_a_harmless_batch_is_read_as_pixels_and_labels(digits, kind):
    plain = Digits(digits)
    data = set_up(Digits(digits, ACCEPTED[kind]))
    for part in ("train", "val", "test"):
        read = list(getattr(data, f"{part}_dataloader")())
        x, y = torch.cat([batch[0] for batch in read]), torch.cat([batch[1] for batch in read])
        assert x.dtype == torch.float32 and y.dtype == torch.int64 and not x.requires_grad and type(x) is torch.Tensor
        torch.testing.assert_close(x, plain.parts[part][0], rtol=0, atol=1e-7)
        assert torch.equal(y, plain.parts[part][1])
    split = measurement.split_of(data.test_dataloader(), data.task)
    assert split.pixels.dtype == np.float32 and split.labels.tolist() == plain.parts["test"][1].tolist()
    seen = content_hash.dataset_record(data)
    assert (seen["name"], seen["train"], seen["val"], seen["test"]) == ("Digits", 96, 70, 70)


def test_a_batch_that_is_right_is_passed_on_as_it_is(digits):
    given = (torch.rand(4, 1, 28, 28), torch.arange(4), "more")
    data = set_up(Digits(digits, val_dataloader=lambda: [given]))
    [seen] = data.val_dataloader()
    assert seen is given


def test_lcomps_own_data_are_not_wrapped(digits):
    assert loaders.set_up(digits, "data", digits.task) is digits
    assert type(digits.train_dataloader()) is DataLoader and "val_dataloader" not in vars(digits)


REFUSED = {
    "labels from 1": (lambda x, y: (x, y + 1), "a label is 10; num_classes=10 allows 0 to 9: count from 0"),
    "negative labels": (lambda x, y: (x, y - 1), "a label is -1; num_classes=10 allows 0 to 9"),
    "soft labels": (lambda x, y: (x, F.one_hot(y, 10) * 0.9 + 0.01), "rows of labels with other than a single 1"),
    "fractions": (lambda x, y: (x, y + 0.5), "give whole numbers, classes"),
    "integer pixels": (lambda x, y: ((x * 255).long(), y), "pixels of int64; give float32 from 0 to 1, or uint8"),
    "no number": (lambda x, y: (x / 0, y), "a pixel is not a finite number"),
    "channels last": (lambda x, y: (x.permute(0, 2, 3, 1), y), "channels come first: pixels.permute(0, 3, 1, 2)"),
    "no channel": (lambda x, y: (x[:, 0], y), "the channel is missing: pixels.unsqueeze(1)"),
    "another shape": (
        lambda x, y: (x[..., :20], y),
        "0 (32, 1, 28, 20) float32, 1 (32,) int64: no part of it is pixels",
    ),
    "no labels": (lambda x, y: x, "no one part of it is the labels of the images, (32,); give (pixels, labels)"),
    "nothing": (lambda x, y: None, "gives NoneType: no part of it is pixels (N, 1, 28, 28)"),
    "two labels": (lambda x, y: {"a": x, "b": y, "c": y}, "a (32, 1, 28, 28) float32, b (32,) int64, c (32,) int64"),
    "two views": (lambda x, y: {"a": x, "b": x, "label": y}, "more than one part may be the pixels"),
    "a tuple of images": (lambda x, y: (tuple(x), y), "no part of it is pixels"),
    "labels of others": (lambda x, y: (x, y[:-1]), "no one part of it is the labels of the images"),
    "a failure": (lambda x, y: {}["image"], "reading a batch fails: KeyError: 'image', at test_preflight.py:"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_batch_that_cannot_be_read_is_refused_by_name(digits, kind):
    change, words = REFUSED[kind]
    message = refused(set_up, Digits(digits, change))
    loader = "val" if kind == "soft labels" else "train"  # training may mix labels
    assert message.startswith(f"data._target_=mine.Data: {loader}_dataloader") and words in message


def test_a_label_out_of_range_is_found_wherever_it_stands(digits):
    data = Digits(digits)
    data.parts["test"][1][-1] = 10
    refused_words = "test_dataloader: a label is 10; num_classes=10"
    assert refused_words in refused(set_up, data)


class Stream(IterableDataset):
    def __init__(self, images, labels, endless=False):
        self.rows, self.endless = list(zip(images, labels, strict=True)), endless

    def __iter__(self):
        return itertools.cycle(self.rows) if self.endless else iter(self.rows)


def test_streams_without_a_length_are_counted_and_train(digits):
    data = Digits(digits)
    for name in ("train", "val", "test"):
        setattr(data, f"{name}_dataloader", partial(DataLoader, Stream(*data.parts[name]), 32))
    set_up(data)
    assert len(data.train_dataloader()) == 3 and len(data.val_dataloader()) == 3
    seen = content_hash.dataset_record(data)
    assert (seen["train"], seen["val"], seen["test"]) == (96, 70, 70)
    module = components.BaselineModule(LeNet5(), schedule="cosine")  # a schedule needs an end
    assert fit(module, data, 2, 0, progress=False) == 6


def test_a_stream_without_an_end_is_refused(digits, monkeypatch):
    monkeypatch.setattr(loaders, "MOST", 500)
    data = Digits(digits)
    data.train_dataloader = partial(DataLoader, Stream(*data.parts["train"], endless=True), 32)
    assert "train_dataloader: no end after 512 images" in refused(len, set_up(data).train_dataloader())


def test_one_loader_in_a_list_is_that_loader(digits):
    one = Digits(digits)
    data = set_up(Digits(digits, val_dataloader=lambda: [one.loader("val")]))
    assert sum(len(batch[1]) for batch in data.val_dataloader()) == 70


TWO = {"a": DataLoader([0]), "b": DataLoader([0])}
LOADERS = {
    "two": ({"val_dataloader": lambda: list(TWO.values())}, "val_dataloader gives 2 loaders; give one"),
    "two by name": ({"test_dataloader": lambda: TWO}, "test_dataloader gives 2 loaders; give one"),
    "combined": (
        {"train_dataloader": lambda: pl.utilities.CombinedLoader(TWO)},
        "train_dataloader gives 2 loaders; give one",
    ),
    "none": ({"val_dataloader": lambda: None}, "val_dataloader gives a NoneType; give a DataLoader"),
    "no method": ({"test_dataloader": None}, "test_dataloader is missing"),
    "once": (
        {"train_dataloader": lambda: iter([1])},
        "give a DataLoader, or a list of batches, that can be read again",
    ),
    "empty": ({"val_dataloader": lambda: DataLoader([])}, "val_dataloader is empty"),
    "raises": (
        {"val_dataloader": lambda: 1 / 0},
        "val_dataloader fails: ZeroDivisionError: division by zero, at test_",
    ),
    "one class": ({"num_classes": 1}, "num_classes=1; a whole number, 2 or more"),
    "classes": ({"num_classes": "10"}, "num_classes=10; a whole number"),
    "a number for a shape": ({"input_shape": 28}, "input_shape=28; say (channels, height, width)"),
    "a hook": ({"on_after_batch_transfer": lambda batch, i: batch}, "does not call its on_after_batch_transfer"),
}


@pytest.mark.parametrize("kind", LOADERS)
def test_what_is_no_loader_or_no_shape_is_refused_by_name(digits, kind):
    replaced, words = LOADERS[kind]
    assert words in refused(set_up, Digits(digits, **replaced))


def test_a_method_that_lightning_leaves_empty_is_missing(digits):
    class Two(pl.LightningDataModule):
        num_classes, input_shape = 10, (1, 28, 28)

        def train_dataloader(self):
            return Digits(digits).loader("train")

    assert "val_dataloader is missing" in refused(set_up, Two())


def test_images_that_are_measured_in_another_order_each_time_are_refused(digits):
    data = Digits(digits)
    data.test_dataloader = partial(DataLoader, TensorDataset(*data.parts["test"]), 32, shuffle=True)
    assert "test_dataloader gives other examples each time it is read" in refused(set_up, data)


class Net(nn.Module):
    """A body of one layer; what is asked of `forward` stands in the subclasses."""

    def __init__(self, num_classes=10, input_shape=(1, 28, 28)):
        super().__init__()
        self.fc = nn.Linear(784, num_classes)

    def forward(self, x):
        return self.fc(x.flatten(1))

    @classmethod
    def of(cls, forward):
        return type("Net", (cls,), {"forward": forward})()


def plain(self, x):
    return Net.forward(self, x)


class Lazy(nn.Sequential):
    def __init__(self):
        super().__init__(nn.LazyConv2d(4, 3, 2), nn.LazyBatchNorm2d(), nn.ReLU(), nn.Flatten(), nn.LazyLinear(10))


class Auxiliary(nn.Module):
    """As GoogLeNet does: in training, logits beside those of a head that only learns."""

    Outputs = namedtuple("Outputs", ["logits", "aux_logits"])

    def __init__(self):
        super().__init__()
        self.fc, self.aux = nn.Linear(784, 10), nn.Linear(784, 10)

    def forward(self, x):
        x = x.flatten(1)
        return self.Outputs(self.fc(x), self.aux(x)) if self.training else self.fc(x)


@dataclasses.dataclass
class Output:
    logits: torch.Tensor
    features: torch.Tensor


NETWORKS = {
    "float64": lambda: Net().double(),
    "float64 inside": lambda: Net.of(lambda self, x: plain(self, x).double()),
    "a tuple": lambda: Net.of(lambda self, x: (plain(self, x), x.flatten(1))),
    "a list": lambda: Net.of(lambda self, x: [plain(self, x)]),
    "a dictionary": lambda: Net.of(
        lambda self, x: {"logits": plain(self, x), "probabilities": plain(self, x).softmax(1)}
    ),
    "a dataclass": lambda: Net.of(lambda self, x: Output(plain(self, x), x)),
    "an auxiliary head": Auxiliary,
    "lazy": Lazy,
    "one that draws in training": lambda: Net.of(lambda self, x: F.dropout(plain(self, x), 0.5, self.training)),
}


@pytest.mark.parametrize("kind", first_quickly(NETWORKS, 4))
def test_a_harmless_network_gives_its_logits_learns_and_exports(digits, tmp_path, kind):
    data = set_up(Digits(digits))
    torch.manual_seed(3)
    made = NETWORKS[kind]()
    names = type(made).__name__, [name for name, _ in made.named_modules()]
    network = preflight.accept(made, "model._target_=mine.Net", data)
    assert names == (type(network).__name__, [name for name, _ in network.named_modules()])
    assert all(p.dtype == torch.float32 for p in network.parameters()) and network.training
    before = [p.detach().clone() for p in network.parameters()]
    x = data.parts["test"][0]
    for training in (True, False):
        seen = network.train(training)(x)
        assert seen.shape == (70, 10) and seen.dtype == torch.float32
    if hasattr(network, "fc"):
        torch.testing.assert_close(network(x), network.fc(x.flatten(1)))
    torch.manual_seed(3)
    again = preflight.accept(NETWORKS[kind](), "model._target_=mine.Net", data)
    assert all(torch.equal(one, other) for one, other in zip(before, again.parameters(), strict=True))
    fit(components.BaselineModule(network), data, 1, 0, progress=False)
    export(network, tmp_path / "a.onnx", data.task)
    logits = torch.from_numpy(ONNXRuntime().session(tmp_path / "a.onnx")({"pixels": x.numpy()}))
    torch.testing.assert_close(logits, network.eval()(x).detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("normalize", [nn.utils.parametrizations.weight_norm, nn.utils.spectral_norm])
def test_a_weight_that_is_computed_at_each_call_is_accepted(digits, normalize):
    network = Net()
    normalize(network.fc)
    before = network.fc.weight.detach().clone()
    assert preflight.accept(network, "model", digits) is network
    assert torch.equal(network.fc.weight, before) and copy.deepcopy(network).fc.in_features == 784


def test_a_network_that_is_right_stays_as_it_is(digits):
    network = LeNet5()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    state = torch.get_rng_state()
    assert preflight.accept(network, "model", digits) is network and type(network) is LeNet5 and network.training
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state) and all(p.grad is None for p in network.parameters())


def changed(self, x):
    x -= 0.5
    return plain(self, x)


def kept(self, x):
    self.features = plain(self, x.clone().requires_grad_()) if self.training else None
    self.features = self.features if self.training else torch.enable_grad()(plain)(self, x)
    return plain(self, x)


def named(self, x):
    return plain(self, x) + self.missing


WRONG = {
    "one logit": (lambda: Net(1), "one logit; lcomp learns by cross-entropy: give one for each class, (N, 10)"),
    "no axis": (lambda: Net.of(lambda self, x: plain(self, x)[:, 0]), "one logit; lcomp learns by cross-entropy"),
    "other classes": (lambda: Net(7), "(16, 7) float32; the data have 10 classes: give (N, 10)"),
    "more classes": (lambda: Net(1000), "the data have 10 classes: give (N, 10)"),
    "a map": (lambda: nn.Conv2d(1, 10, 1), "gives (16, 10, 28, 28) float32; give logits (N, 10)"),
    "two logits": (
        lambda: Net.of(lambda self, x: (plain(self, x), plain(self, x))),
        "0 (16, 10) float32, 1 (16, 10) float32; more than one of these may be the logits",
    ),
    "no output": (lambda: Net.of(lambda self, x: None), "gives NoneType; give logits (N, 10)"),
    "draws": (lambda: Net.of(lambda self, x: F.dropout(plain(self, x), 0.5)), "it draws at random, or keeps something"),
    "in place": (lambda: Net.of(changed), "changes the pixels that it is given"),
    "the batch's largest": (
        lambda: Net.of(lambda self, x: plain(self, x / x.max())),
        "depend on the examples beside",
    ),
    "squeezed": (lambda: Net.of(lambda self, x: plain(self, x).squeeze()), "gives (10,) for a single example"),
    "another on one": (
        lambda: Net.of(lambda self, x: plain(self, x) * (2 if len(x) == 1 else 1)),
        "depend on the examples beside",
    ),
    "a minimum": (
        lambda: Net.of(lambda self, x: plain(self, x.view(-1, 2, 784)[:, 0].repeat_interleave(2, 0))),
        "fails: RuntimeError: shape '[-1, 2, 784]' is invalid for input of size 784, at test_preflight.py:",
    ),
    "an attribute": (lambda: Net.of(named), "'Net' object has no attribute 'missing', at test_preflight.py:"),
    "another size": (
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(700, 10)),
        "cannot be multiplied (16x784 and 700x10)",
    ),
    "frozen": (lambda: Net().requires_grad_(False), "nothing in it learns"),
    "kept": (lambda: Net.of(kept), "it keeps features, computed in forward: keep features.detach()"),
    "no module": (lambda: lambda x: x, "gives a function, not an nn.Module"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_network_that_cannot_be_trained_or_measured_is_refused_by_name(digits, kind):
    make, words = WRONG[kind]
    message = refused(preflight.accept, make(), "model._target_=mine.Net", digits)
    assert message.startswith("model._target_=mine.Net: ") and words in message


def test_a_network_whose_first_logits_are_not_finite_ends_as_nan(digits):
    with pytest.raises(NotFinite, match="the training loss is nan at step 0"):
        preflight.accept(Net.of(lambda self, x: plain(self, x) / 0), "model", digits)


class Normed(Net):
    def __init__(self):
        super().__init__()
        self.fc = nn.Sequential(nn.Linear(784, 10), nn.BatchNorm1d(10))


@pytest.mark.parametrize(
    ("size", "drop_last", "count"), [(1, False, 96), (32, False, 65), (5, False, 96), (32, True, 65)]
)
def test_a_training_batch_of_one_image_is_refused_where_the_network_cannot_take_it(digits, size, drop_last, count):
    data = Digits(digits)
    split = TensorDataset(*(part[:count] for part in data.parts["train"]))
    data.train_dataloader = partial(DataLoader, split, size, drop_last=drop_last)
    set_up(data)
    preflight.accept(Net(), "model", data)
    if drop_last:
        preflight.accept(Normed(), "model", data)
        return
    message = refused(preflight.accept, Normed(), "model", data)
    assert "Expected more than 1 value per channel when training" in message
    assert message.endswith("a training batch has one example: choose another batch size, or drop_last=True")


def forward(self, x):
    return plain(self, x) + torch.linalg.svd(x.squeeze(1))[1].sum(1, keepdim=True)


UNEXPORTED = {
    "a branch on a value": (
        lambda self, x: plain(self, x if x[:, 0, 0, 0].abs().sum() < 1e9 else -x),
        "Could not guard on data-dependent expression",
    ),
    "an operation that ONNX lacks": (
        forward,
        "No ONNX function found for <OpOverload(op='aten._linalg_svd', overload='default')>",
    ),
    "a loop over images": (
        lambda self, x: torch.stack([self.fc(one.flatten()) for one in x]),
        "its exported network fails: ",
    ),
    "another network while exported": (
        lambda self, x: plain(self, x) * (2 if torch.compiler.is_exporting() else 1),
        "its exported network gives other logits than itself",
    ),
}


@pytest.mark.parametrize("kind", first_quickly(UNEXPORTED, 2))
def test_what_cannot_be_exported_is_refused_with_its_line_before_training(digits, kind):
    forward, words = UNEXPORTED[kind]
    network = preflight.accept(Net.of(forward), "model", digits)
    message = refused(preflight.try_export, network, OmegaConf.create({"_target_": "mine.Net", "kind": kind}), digits)
    assert words in message and "step 1/3" not in message and len(message) < 700
    if "cannot be exported" in message:
        place = message.partition(", at test_preflight.py:")[2]
        assert place[0].isdigit() and "plain(self, x" in place


def test_an_export_is_tried_once_and_not_of_lcomps_own(digits, monkeypatch):
    calls, network = [], LeNet5()
    monkeypatch.setattr(preflight, "export", lambda *given: (calls.append(given[0]), export(*given)))
    for target in ("mine.Once", "mine.Once", "lcomp.models.LeNet5", "mine.Twice"):
        preflight.try_export(network, OmegaConf.create({"_target_": target}), digits)
    assert len(calls) == 2
