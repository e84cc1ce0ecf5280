"""What is added is one Python file and one YAML: a technique, data, a network, a task, an optimizer, a scheduler, a
callback, in a package of the user's own and his `--config-dir`."""

import json

import numpy as np
import pytest
import torch
from test_command_line import ask_each

from lcomp.config.composition import compose
from lcomp.config.run_spec import parse
from lcomp.errors import UserError
from lcomp.testing import TechniqueContract
from lcomp.training.optimization import make_optimization

TECHNIQUE = """
import torch

from lcomp.techniques.short_training import ShortTraining
from lcomp.techniques.technique import Technique, layers

class Dead(torch.nn.Module):
    def __init__(self, weight):
        super().__init__()
        self.register_buffer("alive", torch.ones(len(weight), dtype=torch.bool))

    def forward(self, weight):
        return weight * self.alive.view(-1, *[1] * (weight.dim() - 1))

class LastOutputs(Technique):
    \"\"\"Zeroes the last `count` outputs of the first layer from step `begin` on.\"\"\"

    short = ShortTraining({"begin": 5})

    def __init__(self, count: int = 1, begin: int = 100):
        self.count, self.begin = count, begin

    def first(self, network):
        return next(layer for _, layer in layers(network))

    def prepare(self, network):
        layer = self.first(network)
        if not torch.nn.utils.parametrize.is_parametrized(layer):
            torch.nn.utils.parametrize.register_parametrization(layer, "weight", Dead(layer.weight))

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == self.begin:
            self.first(pl_module.network).parametrizations.weight[0].alive[-self.count:] = False

    def broken_promise(self, before, after, weights):
        gone = (self.first(after).weight.flatten(1) == 0).all(1)
        return "" if gone.sum() == self.count and gone[-self.count :].all() else f"{gone} outputs are zero"

    def finalize(self, network, calibration=()):
        torch.nn.utils.parametrize.remove_parametrizations(self.first(network), "weight")
        return network
"""
DATA = """
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, TensorDataset

from lcomp.data import MNISTDataModule

class Sevens(pl.LightningDataModule):
    \"\"\"Whether a digit is `label`.\"\"\"

    num_classes, input_shape = 2, (1, 28, 28)

    def __init__(self, seed: int = 0, label: int = 7):
        super().__init__()
        self.seed, self.label = seed, label

    def setup(self, stage):
        self.digits = MNISTDataModule(dataset="mnist5k", seed=self.seed)

    def loader(self, name, **settings):
        part = getattr(self.digits, name)
        return DataLoader(TensorDataset(part.images / 255, (part.labels == self.label).long()), 175, **settings)

    def train_dataloader(self):
        return self.loader("train", shuffle=True)

    def val_dataloader(self):
        return self.loader("validation")

    def test_dataloader(self):
        return self.loader("test")
"""
PICTURES = """
import numpy as np

from lcomp.data import ImageDataModule

class Squares(ImageDataModule):
    \"\"\"In which corner of a noisy picture a red square lies.\"\"\"

    num_classes, mean, std = 4, (0.30, 0.25, 0.25), (0.22, 0.15, 0.15)

    def __init__(self, seed: int = 0, count: int = 600, **settings):
        random = np.random.default_rng(seed)
        labels = random.integers(4, size=count)
        images = random.integers(128, size=(count, 3, 12, 12), dtype=np.uint8)
        for image, label in zip(images, labels):
            down, across = 6 * (label // 2), 6 * (label % 2)
            image[0, down : down + 6, across : across + 6] += 127
        parts = ((images[rows], labels[rows]) for rows in (slice(200, None), slice(100), slice(100, 200)))
        super().__init__(*parts, seed=seed, **settings)
"""
MODEL = """
from torch import nn

class Perceptron(nn.Sequential):
    def __init__(self, width: int = 8, num_classes: int = 10, input_shape=(1, 28, 28)):
        channels, height, across = input_shape
        super().__init__(
            nn.Flatten(), nn.Linear(channels * height * across, width), nn.ReLU(), nn.Linear(width, num_classes)
        )
"""
TASK = """
import torch
import torch.nn.functional as F

from lcomp.tasks import Metric, Task

class Balanced(Task):
    \"\"\"Classes that are not equally many: judged by the mean of their recalls.\"\"\"

    metric = Metric("balanced_accuracy", percent=True)
    output = "logits"

    def __init__(self, num_classes, input_shape):
        self.output_size, self.shape = num_classes, tuple(input_shape)

    output_size = 0

    @property
    def arguments(self):
        return {"num_classes": self.output_size, "input_shape": list(self.shape)}

    def inputs(self, batch):
        return {"picture": batch[0]}

    def labels(self, batch):
        return batch[1]

    def loss(self, outputs, labels):
        return F.cross_entropy(outputs, labels)

    def metrics(self, outputs, labels):
        right = (outputs.argmax(1) == labels).float()
        return {"balanced_accuracy": torch.stack([right[labels == label].mean() for label in labels.unique()]).mean()}

    def example_inputs(self, n):
        return {"picture": torch.zeros(n, *self.shape)}
"""
OPTIMIZER = """
import torch

class SignDescent(torch.optim.Optimizer):
    def __init__(self, params, lr: float = 0.1, decay: float = 0.0):
        super().__init__(params, {"lr": lr, "decay": decay})

    @torch.no_grad()
    def step(self, closure=None):
        with torch.enable_grad():
            loss = closure()
        for group in self.param_groups:
            for one in group["params"]:
                if one.grad is not None:
                    one.mul_(1 - group["lr"] * group["decay"]).sub_(group["lr"] * one.grad.sign())
        return loss
"""
SCHEDULER = """
from torch.optim.lr_scheduler import LambdaLR

class Sawtooth(LambdaLR):
    \"\"\"Falls from the optimizer's rate to `low` of it, `teeth` times.\"\"\"

    def __init__(self, optimizer, total_steps: int, teeth: int = 2, low: float = 0.0):
        length = total_steps / teeth
        super().__init__(optimizer, lambda step: 1 - (1 - low) * (step % length) / length)
"""
CALLBACK = """
import json

import pytorch_lightning as pl

class Rates(pl.Callback):
    \"\"\"Writes the learning rate of each step to a file.\"\"\"

    def __init__(self, file: str = "rates.json"):
        self.file, self.rates = file, []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.rates.append(optimizer.param_groups[0]["lr"])

    def on_train_end(self, trainer, pl_module):
        with open(self.file, "w") as file:
            json.dump(self.rates, file)
"""
ADDED = {  # the two files of each: its name in the package, its group, and what the YAML says
    "last_outputs": (TECHNIQUE, "prune", "_target_: own.last_outputs.LastOutputs\ncount: 2\nbegin: 10\n"),
    "sevens": (DATA, "data", "_target_: own.sevens.Sevens\nseed: ${seed}\nlabel: 7\n"),
    "perceptron": (MODEL, "model", "_target_: own.perceptron.Perceptron\nwidth: 12\n"),
    "balanced": (TASK, "task", "_target_: own.balanced.Balanced\n"),
    "sign_descent": (OPTIMIZER, "optimizer", "_target_: own.sign_descent.SignDescent\ndecay: 0.01\n"),
    "sawtooth": (SCHEDULER, "scheduler", "_target_: own.sawtooth.Sawtooth\nlow: 0.5\n"),
    "rates": (CALLBACK, "callbacks", "rates:\n  _target_: own.rates.Rates\n"),
}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder with the package `own`, and with the user's choices in `conf`."""
    site = tmp_path_factory.mktemp("site")
    (site / "own").mkdir()
    for name, (code, group, choice) in ADDED.items():
        (site / "own" / f"{name}.py").write_text(code)
        (site / "conf" / group).mkdir(parents=True)
        (site / "conf" / group / f"{name}.yaml").write_text(choice)
    (site / "own" / "squares.py").write_text(PICTURES)
    given = "seed: ${seed}\nperturb: ${perturb}\nbatch_size: 50\ncount: 600\neval_perturbations: []\n"
    (site / "conf" / "data" / "squares.yaml").write_text(f"_target_: own.squares.Squares\n{given}")
    return site


@pytest.fixture
def mine(lcomp, site, monkeypatch):
    """A run of lcomp that finds both."""
    monkeypatch.setenv("PYTHONPATH", str(site))
    return lambda *overrides: lcomp("--config-dir", str(site / "conf"), *overrides)


def record(folder):
    [path] = folder.glob("multirun/run-*/result.json")
    return json.loads(path.read_text())


def test_each_is_chosen_and_runs_with_the_others(mine, tmp_path):
    chosen = [f"{group}={name}" for name, (_, group, _) in ADDED.items()]
    done = mine(*chosen, "trainer.max_epochs=5", "trainer.learning_rate=0.003")
    assert done.returncode == 0, done.stdout + done.stderr
    seen = record(tmp_path)
    assert seen["dataset"]["name"] == "Sevens" and seen["steps"] == 100
    assert seen["choices"]["prune"] == "last_outputs" and seen["params"]["prune.count"] == 2
    assert seen["metrics"]["parameters"] == 784 * 12 + 12 + 12 * 2 + 2
    assert seen["metrics"]["sparsity"] == pytest.approx(2 * 784 / (784 * 12 + 24))
    assert seen["metrics"]["test_balanced_accuracy"] > 0.8  # 0.5 is that of who never says 7
    expected = [0.003 * (1 - 0.5 * (step % 50) / 50) for step in range(100)]
    assert json.loads((tmp_path / "rates.json").read_text()) == pytest.approx(expected)
    assert (seen["params"]["scheduler.low"], seen["params"]["callbacks.rates"]) == (0.5, "Rates")
    assert seen["metric"]["name"] == "balanced_accuracy" and "test_accuracy" not in seen["metrics"]


def test_images_of_ones_own_are_arrays_in_one_class_with_all_that_is_done_to_images(mine, tmp_path):
    given = ["data=squares", "data.count=700", "perturb=[crop,mixup]", "perturb.crop.padding=1", "kd=logit"]
    asked = ["robustness=cifar10_c", "robustness.attributions=4", "data.eval_perturbations=[rotation:1]"]
    model = ["model=small_cnn", "baseline.trainer.max_epochs=6", "baseline.trainer.learning_rate=0.01"]
    done = mine(*given, *asked, *model, "trainer.max_epochs=2")
    assert done.returncode == 0, done.stdout + done.stderr
    seen = record(tmp_path)
    assert seen["dataset"] | {"sha256": ""} == {"name": "Squares", "sha256": "", "train": 500, "val": 100, "test": 100}
    assert seen["steps"] == 20 and seen["baseline"]["test_accuracy"] > 0.9
    assert seen["metrics"]["accuracy/cifar10_c/zoom_blur"] > 0.5 < seen["metrics"]["accuracy/rotation:1"]
    assert -1 <= seen["metrics"]["attribution_correlation"] <= 1
    assert np.load(next(tmp_path.glob("multirun/run-*/predictions.npz")))["pixels"].shape[1:] == (3, 12, 12)


@pytest.mark.slow
def test_the_optimizer_that_is_chosen_moves_the_weights_of_the_student_and_not_of_the_baseline(mine, tmp_path):
    for optimizer in ("adam", "sign_descent", "sgd"):
        done = mine("kd=logit", f"optimizer={optimizer}", f"hydra.run.dir=multirun/{optimizer}")
        assert done.returncode == 0, done.stdout + done.stderr
    found = {path.parent.name: json.loads(path.read_text()) for path in tmp_path.glob("multirun/*/result.json")}
    assert len({one["artifact"]["sha256"] for one in found.values()}) == len(found) == 3
    assert len({one["baseline_artifact"]["sha256"] for one in found.values()}) == 1
    state = torch.load(tmp_path / "multirun" / "sign_descent" / "checkpoint.ckpt", weights_only=True)
    [group] = state["optimizer_states"][0]["param_groups"]
    assert group["decay"] == 0.01 and group["initial_lr"] == 0.003  # the trainer's, for the optimizer has none
    done = mine("optimizer=sign_descent", "optimizer@baseline.optimizer=sgd", "+baseline.optimizer.lr=0.05")
    assert done.returncode == 0 and "training the baseline once" in done.stderr, done.stdout + done.stderr
    assert "nothing trains in this run: optimizer=sign_descent has no effect" in done.stderr


def test_the_default_optimizer_is_adam_with_the_trainers_rate_and_a_rate_of_its_own_goes_first():
    weight = torch.nn.Parameter(torch.zeros(1))
    for overrides, rate, kind in (
        ([], 0.003, torch.optim.Adam),
        (["optimizer=sgd", "trainer.learning_rate=0.2"], 0.2, torch.optim.SGD),
        (["optimizer=adamw", "+optimizer.lr=0.5"], 0.5, torch.optim.AdamW),
    ):
        made = optimization(*overrides)
        optimizer = made["optimizer"]([weight], lr=made["learning_rate"])
        assert type(optimizer) is kind and optimizer.defaults["lr"] == rate
    default = optimization()["optimizer"]([weight], lr=0.1)
    assert default.defaults == torch.optim.Adam([weight], lr=0.1, fused=True).defaults


def optimization(*overrides):
    spec = parse(compose(list(overrides)))
    return make_optimization(spec)


def no_optimizer(params, lr):
    return params


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("torch.nn.Linear", r"optimizer: torch.nn.Linear cannot be made \(TypeError: .*'lr'"),
        (
            f"{__name__}.no_optimizer",
            rf"optimizer._target_={__name__}.no_optimizer: must be a torch.optim.Optimizer with a learning rate",
        ),
        ("torch.optim.Sgd", r"optimizer._target_=torch.optim.Sgd: cannot be imported \(torch.optim, .*has no Sgd"),
    ],
)
def test_what_is_no_optimizer_is_refused(target, words):
    with pytest.raises(UserError, match=words):
        optimization(f"optimizer._target_={target}")


@pytest.mark.slow
def test_the_baseline_has_a_scheduler_and_callbacks_of_its_own(mine, tmp_path):
    done = mine("baseline.scheduler=sawtooth", "baseline.callbacks=[rates,ema]", "baseline.cache=own_cache")
    assert done.returncode == 0, done.stdout + done.stderr
    rates = json.loads((tmp_path / "rates.json").read_text())
    steps = len(rates)
    assert rates == pytest.approx([0.001 * (1 - 0.5 * (step % (steps / 2)) / (steps / 2)) for step in range(steps)])
    again = mine("baseline.cache=own_cache", "baseline.callbacks=rates")
    assert again.returncode == 0 and "training the baseline once" in again.stderr  # another baseline
    assert json.loads((tmp_path / "rates.json").read_text()) == [0.001] * steps
    assert len(list(tmp_path.glob("own_cache/*/entry.json"))) == 2


def test_a_value_that_an_optimizer_refuses_is_said_before_the_baseline_trains(mine, tmp_path):
    done = mine("optimizer=sgd", "optimizer.momentum=-1", "baseline.cache=own_cache")
    assert done.returncode == 1 and not list(tmp_path.glob("own_cache/*/entry.json"))
    said = "optimizer: torch.optim.SGD cannot be made (ValueError: Invalid momentum value: -1)"
    assert record(tmp_path)["error"] == said


def test_each_is_listed_named_where_another_is_meant_and_composed(site, tmp_path_factory):
    flags = ["--config-dir", str(site / "conf")]
    slips = [[f"{group}={name[:-1]}"] for name, (_, group, _) in ADDED.items()]
    commands = [[*flags, *asked] for asked in (["--help"], *slips)]
    (seen, _), *answers = ask_each([tmp_path_factory.mktemp("asked") for _ in commands], commands)
    listed = dict(line.split(": ", 1) for line in seen.splitlines() if ": " in line)
    for (name, (_, group, _)), (_, said) in zip(ADDED.items(), answers, strict=True):
        assert name in listed[group].split(", ")
        assert f"{group}={name[:-1]}: no such choice; allowed are " in said and f"did you mean {name}?" in said


def test_the_technique_keeps_the_contract(site, digits, trained, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(site))
    contract = TechniqueContract(["prune=last_outputs"], digits, trained, tmp_path, config_dir=site / "conf")
    assert contract.spec.prune["begin"] == 5  # what its class says it needs within 40 steps
    contract.resumes()
    contract.exports()
    late = TechniqueContract(
        ["prune=last_outputs", "prune.begin=99"], digits, trained, tmp_path, config_dir=site / "conf"
    )
    with pytest.raises(AssertionError, match=r"LastOutputs: .* outputs are zero"):
        late.exports()
