"""How far a digit is turned: a task of one's own, with data and a distillation objective for it."""

from typing import Any, ClassVar

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset
from torchvision.transforms.functional import rotate

from lcomp.data import MNISTDataModule
from lcomp.tasks import Metric, Task

LARGEST = 45.0  # degrees, to either side


class AngleRegression(Task):
    """Images to one number, the angle over `LARGEST`; learned by squared error, judged by degrees.

    Args:
        input_shape: (C, H, W) of an image, which the data say.
    """

    metric: ClassVar[Metric] = Metric("angle_error", higher_is_better=False, percent=False)
    output_size = 1
    output = "angle"

    def __init__(self, input_shape: tuple[int, ...]):
        self.input_shape = tuple(input_shape)

    @property
    def arguments(self) -> dict[str, Any]:
        return {"num_classes": 1, "input_shape": list(self.input_shape)}

    def inputs(self, batch: Any) -> dict[str, Tensor]:
        return {"image": batch["image"]}

    def labels(self, batch: Any) -> Tensor:
        return batch["angle"]

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        return F.mse_loss(outputs, labels)

    def metrics(self, outputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return {"angle_error": LARGEST * (outputs - labels).abs().mean()}

    def example_inputs(self, n: int) -> dict[str, Tensor]:
        return {"image": torch.zeros(n, *self.input_shape)}


class TurnedDigits(pl.LightningDataModule):
    """The digits of mnist5k, each turned by an angle that is drawn once; batches are dictionaries."""

    name = "turned digits"
    input_shape = (1, 28, 28)

    def __init__(self, examples: int = 2_000, seed: int = 0):
        super().__init__()
        self.examples, self.seed = examples, seed

    def setup(self, stage: str) -> None:
        digits = MNISTDataModule(dataset="mnist5k", seed=self.seed)
        draw = torch.Generator().manual_seed(self.seed)
        self.parts = {}
        for name in ("train", "validation", "test"):
            part = getattr(digits, name)
            images = part.images[: self.examples].float() / 255
            angles = 2 * torch.rand(len(images), 1, generator=draw) - 1
            turned = [rotate(image, LARGEST * float(angle)) for image, angle in zip(images, angles, strict=True)]
            self.parts[name] = TensorDataset(torch.stack(turned), angles)

    def loader(self, name: str, **settings: Any) -> DataLoader[Any]:
        def collate(rows: list[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
            images, angles = map(torch.stack, zip(*rows, strict=True))
            return {"image": images, "angle": angles}

        return DataLoader(self.parts[name], 100, collate_fn=collate, **settings)

    def train_dataloader(self) -> DataLoader[Any]:
        return self.loader("train", shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:
        return self.loader("validation")

    def test_dataloader(self) -> DataLoader[Any]:
        return self.loader("test")


class SquaredError:
    """alpha MSE(student, labels) + (1 - alpha) MSE(student, teacher): distillation of plain numbers.

    Args:
        alpha: weight of the labels, 0 to 1.
    """

    def __init__(self, alpha: float = 0.5):
        self.alpha = alpha

    def __call__(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        return self.alpha * F.mse_loss(student, labels) + (1 - self.alpha) * F.mse_loss(student, teacher)
