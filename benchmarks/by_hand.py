"""What a user would write by hand: a plain Lightning script on torchvision's DataLoader, torch's default threads.

The other side of speed.py; the same mathematics as lcomp's baseline and students.

    python benchmarks/by_hand.py --root ../data --epochs 10 --temperatures 1 3
"""

import argparse

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, random_split
from torchvision import transforms
from torchvision.datasets import MNIST


def lenet5():
    return nn.Sequential(
        nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(256, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip


def student():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(676, 16), nn.ReLU(), nn.Linear(16, 10)
    )


class Module(pl.LightningModule):
    def __init__(self, network, teacher=None, temperature=1.0, alpha=0.1):
        super().__init__()
        self.network, self.teacher, self.temperature, self.alpha = network, teacher, temperature, alpha

    def training_step(self, batch, batch_idx):
        images, labels = batch
        logits = self.network(images)
        loss = F.cross_entropy(logits, labels)
        if self.teacher is not None:
            with torch.no_grad():
                expected = self.teacher(images)
            t = self.temperature
            soft = F.kl_div((logits / t).log_softmax(1), (expected / t).softmax(1), reduction="batchmean")
            loss = self.alpha * loss + (1 - self.alpha) * t**2 * soft
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val_accuracy", (self.network(batch[0]).argmax(1) == batch[1]).float().mean())

    test_step = validation_step

    def configure_optimizers(self):
        trained = self.network.parameters()
        return torch.optim.Adam(trained, lr=1e-3)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--root", required=True)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--temperatures", type=float, nargs="*", default=[])
    given = parser.parse_args()
    pl.seed_everything(0)
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])
    training, validation = random_split(MNIST(given.root, transform=transform), [54_000, 6_000])
    loaders = DataLoader(training, 256, shuffle=True), DataLoader(validation, 256)
    test = DataLoader(MNIST(given.root, train=False, transform=transform), 256)

    def fit(module):
        trainer = pl.Trainer(
            max_epochs=given.epochs, logger=False, enable_checkpointing=False, enable_progress_bar=False
        )
        trainer.fit(module, *loaders)
        trainer.test(module, test, verbose=False)
        return module.network

    teacher = fit(Module(lenet5())).eval().requires_grad_(False)
    for temperature in given.temperatures:
        fit(Module(student(), teacher, temperature))


if __name__ == "__main__":
    main()
