"""A network of one's own: pixels to logits, and nothing of lcomp in it."""

from collections.abc import Sequence

from torch import Tensor, nn


class Block(nn.Module):
    """Adds what two convolutions make of their input to it."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(x + self.conv2(self.relu(self.conv1(x))))


class Net(nn.Module):
    """A stem that quarters the image, a residual block, a linear layer.

    Args:
        width: channels of the block.
        num_classes: logits; the data say how many, and lcomp passes it on, because the name stands here.
        input_shape: (channels, height, width) of an image, likewise.
    """

    def __init__(self, width: int = 12, num_classes: int = 10, input_shape: Sequence[int] = (1, 28, 28)):
        super().__init__()
        channels, height, across = input_shape
        self.stem = nn.Sequential(nn.Conv2d(channels, width, 4, stride=4), nn.ReLU())
        self.block = Block(width)
        self.classifier = nn.Linear(width * (height // 4) * (across // 4), num_classes)

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels (N, C, H, W) in [0, 1] to logits (N, num_classes)."""
        return self.classifier(self.block(self.stem(pixels)).flatten(1))
