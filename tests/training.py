"""Short trainings for the tests, on a few real digits: bare Trainers, and the configuration of a run."""

import copy

import hydra
import pytorch_lightning as pl
import torch
from omegaconf import OmegaConf
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lcomp.config import run_config

QUIET = {
    "accelerator": "cpu",
    "devices": 1,
    "logger": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "enable_checkpointing": False,
    "num_sanity_val_steps": 0,
}


def loaders(digits, steps=20, batch=64):
    """(training, validation) DataLoaders of a bare Trainer: plain tensors of real digits."""
    images, labels = digits.train.images[: steps * batch].float() / 255, digits.train.labels[: steps * batch]
    held_out = TensorDataset(digits.validation.images.float() / 255, digits.validation.labels)
    return DataLoader(TensorDataset(images, labels), batch), DataLoader(held_out, 500)


def train(module, digits, epochs=1, steps=20, **settings):
    """Fits `module` for `epochs` of `steps` batches; returns the Trainer."""
    trainer = pl.Trainer(**QUIET | {"max_epochs": epochs} | settings)
    trainer.fit(module, *loaders(digits, steps))
    return trainer


class Watch(pl.Callback):
    """Keeps what `look(module)` says before each optimizer step's forward pass, and at the end of training."""

    def __init__(self, look):
        self.look, self.seen = look, []

    def on_train_batch_end(self, trainer, pl_module, *_):
        self.seen.append(self.look(pl_module))


def weights(network: nn.Module) -> dict[str, torch.Tensor]:
    """Copies of the network's weight tensors of layers, as its forward pass sees them."""
    return {
        name: copy.deepcopy(layer.weight.detach())
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Conv2d | nn.Linear)
    }


def compose(*overrides):
    """(configuration, choices) of a short run on mnist5k."""
    short = ["data=mnist5k", "data.epoch_examples=5400", "baseline.trainer.max_epochs=1", "logger=none"]
    with hydra.initialize_config_dir(str(run_config.folder().resolve()), version_base="1.3"):
        cfg = hydra.compose("config", [*short, *overrides], return_hydra_config=True)
    return OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"]), run_config.choices(cfg.hydra)
