"""Somebody else's package: a network with batch norm and a residual addition, a DataModule, a technique's failure."""

import json
import subprocess
import sys
import textwrap

import pytest

PYPROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "throwaway"
version = "1"
"""
NETWORK = """
from torch import nn

class Residual(nn.Module):
    def __init__(self, width=8, num_classes=10, input_shape=(1, 28, 28)):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(input_shape[0], width, 3, 2, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.block = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width),
        )
        self.pool, self.flatten, self.head = nn.MaxPool2d(2), nn.Flatten(), nn.Linear(width * 36, num_classes)

    def forward(self, x):
        x = self.stem(x)
        return self.head(self.flatten(self.pool(nn.functional.relu(x + self.block(x)))))

class Silent(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(784, 10)

    def forward(self, x):
        return self.linear(x.flatten(1)) * float("nan")

class Lazy(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.out = nn.LazyConv2d(8, 3, 2), nn.LazyLinear(10)

    def forward(self, x):
        logits = self.out(nn.functional.relu(self.conv(x)).flatten(1))
        return {"logits": logits, "probabilities": logits.softmax(1)}

class Branching(Silent):
    def forward(self, x):
        if x.mean() > 0.5:
            x = 1 - x
        return self.linear(x.flatten(1))
"""
DATA = """
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, TensorDataset
from lcomp.data import MNISTDataModule

class ThreeDigits(pl.LightningDataModule):
    num_classes, input_shape = 3, (1, 14, 14)

    def setup(self, stage):
        digits = MNISTDataModule(dataset="mnist5k")
        self.parts = {}
        for name in ("train", "validation", "test"):
            part = getattr(digits, name)
            few = part.labels < 3
            images = part.images[few].float().div(255)
            self.parts[name] = TensorDataset(torch.nn.functional.avg_pool2d(images, 2), part.labels[few])

    def train_dataloader(self):
        return DataLoader(self.parts["train"], 32, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.parts["validation"], 100)

    def test_dataloader(self):
        return DataLoader(self.parts["test"], 100)

class Named(pl.LightningDataModule):
    num_classes, input_shape = 10, (1, 28, 28)

    def setup(self, stage):
        self.digits = MNISTDataModule(dataset="mnist5k")

    def loader(self, name, count):
        part = getattr(self.digits, name)
        rows = [{"image": part.images[i], "label": part.labels[i, None].int()} for i in range(count)]
        return DataLoader(rows, 50, shuffle=name == "train")

    def train_dataloader(self):
        return self.loader("train", 2000)

    def val_dataloader(self):
        return self.loader("validation", 500)

    def test_dataloader(self):
        return self.loader("test", 1000)

class NoShape(ThreeDigits):
    num_classes = property(lambda self: (_ for _ in ()).throw(AttributeError("num_classes")))
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder with the throwaway package installed into it."""
    source, site = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    (source / "throwaway").mkdir()
    for name, text in (("__init__", ""), ("network", NETWORK), ("data", DATA)):
        (source / "throwaway" / f"{name}.py").write_text(textwrap.dedent(text))
    (source / "pyproject.toml").write_text(PYPROJECT)
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--target", site, source]
    subprocess.run(pip, check=True, capture_output=True, timeout=300)
    return site


def record(folder):
    [path] = folder.glob("multirun/run-*/result.json")
    return json.loads(path.read_text())


@pytest.mark.slow
def test_a_users_network_is_pruned_and_quantized_in_one_fit(lcomp_in, tmp_path, site, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(site))
    lcomp = lcomp_in(tmp_path, fresh=True)
    done = lcomp("model._target_=throwaway.network.Residual", "+model.width=6", "prune.sparsity=0.7", "quant.bits=8")
    assert done.returncode == 0, done.stderr
    metrics = record(tmp_path)["metrics"]
    assert metrics["agreement"] >= 0.999 and metrics["test_accuracy"] > 0.8
    weights = 6 * 9 + 2 * 36 * 9 + 10 * 6 * 36
    assert round(0.7 * weights) <= metrics["sparsity"] * weights + 1e-6
    assert metrics["parameters"] == weights + 3 * 6 + 10  # the batch norms are folded into integers and biases


@pytest.mark.slow
def test_a_users_data_decide_classes_and_shape(lcomp, tmp_path, site, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(site))
    done = lcomp("kd.temperature=2", "model=small_cnn", "data._target_=throwaway.data.ThreeDigits")
    assert done.returncode == 0, done.stderr
    seen = record(tmp_path)
    assert seen["dataset"]["name"] == "ThreeDigits" and seen["dataset"]["test"] < 400
    assert seen["metrics"]["parameters"] == 4 * 9 + 4 + 4 * 36 * 16 + 16 + 3 * 16 + 3
    assert seen["metrics"]["test_accuracy"] > 0.8 and "[ThreeDigits]" in done.stdout


def test_a_key_that_a_users_class_does_not_take_is_refused_with_the_nearest(lcomp, site, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(site))
    done = lcomp("model._target_=throwaway.network.Residual", "+model.widht=6")
    assert done.returncode == 1 and "model.widht=6: throwaway.network.Residual takes" in done.stdout
    assert "did you mean width?" in done.stdout


def test_data_without_a_class_count_are_refused(lcomp, tmp_path, site, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(site))
    done = lcomp("data._target_=throwaway.data.NoShape")
    assert done.returncode == 1 and "give it an attribute num_classes, such as 10" in done.stdout


def test_nan_is_a_result_with_its_cause_and_an_exit_code(lcomp, tmp_path, site, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(site))
    done = lcomp("model._target_=throwaway.network.Silent")
    assert done.returncode == 1
    seen = record(tmp_path)
    assert seen["status"] == "nan" and "the training loss is nan at step" in seen["error"]
    assert "nan: " in done.stdout and not list(tmp_path.glob("multirun/run-*/artifact.onnx"))


@pytest.mark.slow
def test_bytes_in_dictionaries_and_lazy_layers_learn_as_pixels_and_weights_do(lcomp, tmp_path, site, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(site))
    done = lcomp(
        "data._target_=throwaway.data.Named", "model._target_=throwaway.network.Lazy", "prune.sparsity=0.5", "quant=qat"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    seen = record(tmp_path)
    assert seen["dataset"]["train"] == 2000 and seen["dataset"]["test"] == 1000
    assert seen["metrics"]["test_accuracy"] > 0.8 and seen["metrics"]["agreement"] > 0.99
    assert seen["metrics"]["parameters"] == 8 * 9 + 8 + 8 * 169 * 10 + 10
    assert "bytes, read as pixels from 0 to 1" in done.stderr and "'logits' is taken for the logits" in done.stderr


def test_what_cannot_be_exported_is_said_before_the_baseline_trains(lcomp, tmp_path, site, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(site))
    done = lcomp("model._target_=throwaway.network.Branching", f"baseline.cache={tmp_path}/cache")
    assert done.returncode == 1
    error = record(tmp_path)["error"]
    assert error.startswith("Branching cannot be exported: GuardOnDataDependentSymNode: Could not guard on data-dep")
    assert "at network.py:" in error and "if x.mean() > 0.5:" in error and "\x1b" not in error
    assert "training the baseline" not in done.stderr and not list((tmp_path / "cache").rglob("entry.json"))
