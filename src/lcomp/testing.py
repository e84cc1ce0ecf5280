"""TechniqueContract: what every technique must keep, for lcomp's own and for yours.

    contract = TechniqueContract(["prune=scheduled"], data, teacher, tmp_path)
    contract.trains(); contract.resumes(); contract.exports()

Each promise is a method that raises AssertionError where it is broken. The contract knows no technique: what one needs
to act within 40 optimizer steps stands in its class, as `short` (`lcomp.techniques.short_training`), and what it
promises of the exported network in its `broken_promise`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import onnx
import pytorch_lightning as pl
import torch
from omegaconf import OmegaConf
from onnx import numpy_helper
from pytorch_lightning.utilities.types import STEP_OUTPUT
from torch import Tensor, nn
from torch.nn.utils import parametrize

from lcomp.config.composition import compose
from lcomp.config.instantiation import build, find
from lcomp.config.run_config import FAMILIES
from lcomp.config.run_spec import RunSpec, parse
from lcomp.data.protocol import Data
from lcomp.evaluation import measurement
from lcomp.export.onnx_export import export
from lcomp.modules import BaselineModule
from lcomp.record.interruption import StopRequest
from lcomp.runtimes import ONNXRuntime
from lcomp.techniques.short_training import ShortTraining, short_training
from lcomp.techniques.technique import Batch, StoredWeight
from lcomp.training import components
from lcomp.training.checkpoint_files import CheckpointFiles
from lcomp.training.checkpoints import Checkpoints
from lcomp.training.epochs import Epochs


@dataclass
class TechniqueContract:
    """The promises of what `overrides` choose.

    Args:
        overrides: as on the command line, such as ["prune=scheduled", "quant=qat"].
        data: a DataModule whose training loader gives batches of inputs and labels; 20 of them are used an epoch.
        teacher: a trained network for the same data.
        folder: an empty folder for checkpoints and artifacts.
        least: accuracy, 0 to 1, that 40 steps must exceed; None: what the techniques' classes say, 0.3 unless they do.
        config_dir: a folder with YAMLs of your own, such as prune/mine.yaml; as with `--config-dir`.
        agreement: share of the artifact's predictions that are the network's, 0 to 1.
        model: of the student, `_target_` and arguments, for data that are no digits.
    """

    overrides: Sequence[str]
    data: Data
    teacher: nn.Module
    folder: Path
    least: float | None = None
    config_dir: Path | str | None = None
    agreement: float = 0.99  # the tests of each technique ask for more
    model: Mapping[str, Any] = field(default_factory=lambda: {"_target_": "lcomp.models.SmallCNN"})

    def trains(self) -> BaselineModule:
        """Loss falls, every value stays finite, and the checkpoint's keys do not change between first and last step."""
        module = self.module()
        keys = KeysOfEachStep()
        trainer = self.fit(module, keys)
        assert keys.same, "the checkpoint's keys change while training"
        assert all(value.isfinite().all() for value in module.state_dict().values()), "a value is not finite"
        assert trainer.global_step == 40
        assert self.accuracy(module.network) > self.lowest, "nothing was learned"
        return module

    def resumes(self) -> None:
        """A run that stops, after an epoch or within one, and goes on from its checkpoint ends with the same bits, and
        so does the network that is exported."""
        whole = self.module()
        saver = EveryTenSteps(self.folder / "checkpoints", whole, self.data)
        self.fit(whole, saver)
        found = saver.files.found()
        assert [one.name.split("-")[2] for one in found] == ["within", "epoch", "within"], "not as many checkpoints"
        expected = self.states(whole)
        for path in found:
            resumed = self.module()
            again = EveryTenSteps(self.folder / path.stem, resumed, self.data)
            again.begin(torch.load(path, weights_only=True))
            self.fit(resumed, again, ckpt_path=path)
            for before, after in zip(expected, self.states(resumed), strict=True):
                assert before.keys() == after.keys()
                different = [key for key in before if not torch.equal(before[key], after[key])]
                assert not different, f"a run that goes on from {path.name} differs in {different}"

    def states(self, module: BaselineModule) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Of the module as training left it, and of the network that is exported."""
        trained = {name: value.clone() for name, value in module.state_dict().items()}
        return trained, module.finalize(module.calibration(self.data)).state_dict()

    def exports(self) -> tuple[nn.Module, Path]:
        """The finalized network has no parametrization or hook left, keeps what its techniques promise, and its
        artifact gives its outputs, at any batch size; returns both."""
        module, task = self.trains(), self.data.task
        network = module.finalize(module.calibration(self.data))
        assert not any(parametrize.is_parametrized(m) for m in network.modules()), "a parametrization is left"
        assert not any(m._forward_pre_hooks for m in network.modules()), "a hook is left"
        path = self.folder / "artifact.onnx"
        export(network, path, task)
        session, test = ONNXRuntime().session(path), measurement.split_of(self.data.test_dataloader(), task)
        own, expected = (
            measurement.artifact_outputs(session, test.inputs),
            measurement.predict_outputs(network, test.inputs),
        )
        agreement = task.fidelity(own, expected)["agreement"]
        assert agreement >= self.agreement, f"the artifact agrees with the network on {agreement:.2%}"
        seven = {name: values.numpy() for name, values in task.example_inputs(7).items()}
        assert session(seven).shape == (7, task.output_size)
        weights = stored_weights(network, path)
        for technique in module.techniques:
            broken = technique.broken_promise(self.network(), network, weights)
            assert not broken, f"{type(technique).__name__}: {broken}"
        return network, path

    @cached_property
    def spec(self) -> RunSpec:
        """What the overrides compose to, with what the techniques' classes need to act within 40 steps, unless an
        override says otherwise."""
        cfg = compose(self.overrides, self.config_dir)
        stated = {override.lstrip("+").partition("=")[0] for override in self.overrides}
        for place, made in self.classes(cfg).items():
            for key, value in short_training(made).settings.items():
                if key in OmegaConf.select(cfg, place) and f"{place}.{key}" not in stated:
                    OmegaConf.update(cfg, f"{place}.{key}", value)
        return parse(cfg)

    @property
    def lowest(self) -> float:
        """Accuracy, 0 to 1, that 40 steps must exceed."""
        if self.least is not None:
            return self.least
        return min(
            (short_training(made).least for made in self.classes(self.spec.config).values()),
            default=ShortTraining.least,
        )

    @staticmethod
    def classes(config: Mapping[str, Any]) -> dict[str, Any]:
        """The class of each family that is chosen, and of each part of it, by its key."""

        def found(node: Any, key: str) -> dict[str, Any]:
            if not isinstance(node, Mapping):
                return {}
            own = {key: find(node["_target_"], f"{key}._target_")} if "_target_" in node else {}
            return own | {inner: made for name in node for inner, made in found(node[name], f"{key}.{name}").items()}

        return {key: made for family in FAMILIES for key, made in found(config[family], family).items()}

    def network(self) -> nn.Module:
        """A small student, untrained; the layers of a `SmallCNN` are conv, relu, fc1 and fc2."""
        torch.manual_seed(0)
        network: nn.Module = build(self.model, "model", **self.data.task.arguments)
        return network

    def module(self) -> BaselineModule:
        """A small student with what the overrides choose."""
        objective, techniques = components.make_techniques(self.spec)
        return components.make_module(self.spec, self.data, self.network(), self.teacher, objective, techniques)

    def fit(
        self,
        module: BaselineModule,
        *callbacks: pl.Callback,
        ckpt_path: Path | None = None,
    ) -> pl.Trainer:
        torch.manual_seed(0)
        trainer = pl.Trainer(
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=any(isinstance(one, Checkpoints) for one in callbacks),
            max_epochs=2,
            limit_train_batches=20,
            num_sanity_val_steps=0,
            accelerator="cpu",
            devices=1,
            callbacks=list(callbacks),
        )
        batches, held_out = module.batches(self.data), self.data.val_dataloader()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r".*dataloader is not resumable.*")  # it is read anew
            trainer.fit(module, batches, held_out, ckpt_path=ckpt_path, weights_only=True)
        return trainer

    def accuracy(self, network: nn.Module) -> float:
        task, batch = self.data.task, next(iter(self.data.val_dataloader()))
        with torch.no_grad():
            outputs = network.eval()(*task.inputs(batch).values())
        return float((outputs.argmax(1) == task.labels(batch)).float().mean())


def stored_weights(network: nn.Module, path: Path) -> list[StoredWeight]:
    """The weights of a finalized network's layers: integers as its artifact at `path` holds them, others as floats.
    Equal ones, such as matrices of zeros, the artifact holds once: they count as often as it reads them."""
    graph = onnx.load(path).graph
    constants = {constant.name: numpy_helper.to_array(constant) for constant in graph.initializer}
    read = [constants[name] for node in graph.node for name in node.input if name in constants]
    integers = [array for array in read if array.dtype.itemsize == 1 and array.ndim > 1]
    return integers + [p.detach().numpy() for p in network.parameters() if p.dim() > 1]


def pairwise_rows(choices: Mapping[str, Sequence[str]]) -> list[dict[str, str]]:
    """Rows of one choice for each of three families, in which every pair of choices stands at least once: as many rows
    as the two families with the most choices have pairs, which is the least possible.

    Args:
        choices: of each family.
    """
    (first, a), (second, b), (third, c) = sorted(choices.items(), key=lambda family: -len(family[1]))
    return [
        {first: one, second: other, third: c[(i + j) % len(c)]} for i, one in enumerate(a) for j, other in enumerate(b)
    ]


class EveryTenSteps(Checkpoints):
    """Writes a checkpoint within each epoch, and one between them, and keeps them all."""

    def __init__(self, folder: Path, module: BaselineModule, data: Data):
        files = AllCheckpoints(folder, "contract", minutes=1.0)
        super().__init__(files, Epochs(), None, [data], StopRequest())
        self.steps: Callable[[], int] = lambda: module.trainer.global_step

    @property
    def is_due(self) -> bool:
        return self.steps() % 10 == 0


class AllCheckpoints(CheckpointFiles):
    """Keeps what is written."""

    def keep(self, newest: Path) -> None:
        """Removes nothing."""


class KeysOfEachStep(pl.Callback):
    """Whether the module's state has the same keys on every step."""

    def __init__(self) -> None:
        self.first: list[str] | None = None
        self.same = True

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: STEP_OUTPUT, batch: Batch, batch_idx: int
    ) -> None:
        keys = list(pl_module.state_dict())
        self.first = self.first or keys
        self.same = self.same and keys == self.first
